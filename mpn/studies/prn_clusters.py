"""Poses that the PRN has learned (§3.4, Fig. 2 right): its outputs as skeletons, clustered by k-means with OKS.

Poses are in units of the RoI grid, as in `mpn.roi`: x in [0, 36], y in [0, 56], cell (r, c) having its centre at
(c + 1/2, r + 1/2). Symbols: P poses, C clusters.
"""

import math
import pathlib

import cv2
import numpy as np
from tqdm import tqdm

from mpn.data.coco import annotation_file, load_annotations
from mpn.data.prn import collect_people, gather_people
from mpn.demo.drawing import draw_people
from mpn.errors import UserError
from mpn.files import make_replaceable
from mpn.images import write_image
from mpn.model_directory import load_networks
from mpn.people import Person
from mpn.roi import LABEL_SIGMA, ROI_HEIGHT, ROI_WIDTH, encode_rois, enlarge_boxes, highest_cells
from mpn.skeleton import NUM_KEYPOINTS, OKS_SIGMAS

# People with fewer labelled keypoints, or fewer that the PRN is sure of, make no picture of a pose.
LEAST_KEYPOINTS = 8

# The PRN is sure of a keypoint where its output reaches half of the height that labels have. In a PRN trained on
# COCO that holds for 94 % of labelled keypoints, and for 13 % of the others, whose places are guesses.
SURE = 0.5 / (2 * math.pi * LABEL_SIGMA**2)

# What OKS takes as the area of a pose, in square cells: the whole RoI. COCO's is the silhouette's, about a quarter of
# that; with it people are so far from every mean (an OKS of .42 instead of .69 on COCO val2017) that starts of k-means
# end apart, and the people turned left and right fall in with others.
ROI_AREA = float(ROI_HEIGHT * ROI_WIDTH)

# k-means ends in one of many local optima: the best of so many starts is taken.
STARTS = 10

# A cluster's skeleton has the keypoints that the PRN is sure of in this share of its members or more.
LEAST_SHARE = 0.5

_BOXES_AT_A_TIME = 256

# In pixels of the picture: a panel, the largest skeleton inside it, the line under it, and what is between panels.
_PANEL, _SKELETON, _CAPTION, _GAP = (280, 400), (210, 340), 40, 16
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_PAPER, _GROUND, _INK = (255, 255, 255), (38, 40, 44), (30, 30, 30)
# A box to the upper left of every picture: `draw_people` then draws no box, and limbs as thick as of a large person.
_NO_BOX = np.array([-1e6, -1e6, -1, -1], np.float32)


def draw_prn_clusters(options):
    """What `evaluate.py --prn-clusters` does: needs labels and a trained PRN, no images.

    Args:
        options: namespace of `evaluate.py`.

    Raises:
        UserError: what a user can put right, such as a split without labels.
    """
    if options.split == "test-dev":
        raise UserError("--split test-dev has no keypoints: --prn-clusters needs val, train or --annotations")
    path = pathlib.Path(options.prn_clusters)
    _check_name(path)
    networks = load_networks(options.model[0], ("prn",))
    records = load_annotations(options.annotations or annotation_file(options.coco, options.split), limit=options.limit)
    make_replaceable(path)
    _, counts = prn_clusters(networks, records, options.clusters, path=path)
    print(f"{counts.sum()} people in {len(counts)} clusters in {path}; warm limbs are left ones, cool limbs right ones")


def prn_clusters(model, records, clusters=6, seed=0, path="prn_clusters.png"):
    """Runs the PRN over labelled people, clusters what comes out, and draws the cluster means.

    Args:
        model: Networks, or anything with its `prn` and `config`.
        records: list of ImageRecord; images are not needed.
        clusters: how many; the paper shows six.
        seed: of k-means.
        path: the PNG to make or replace, atomically; its folder must exist.

    Returns:
        means: (C, 17, 3) float32 and counts: (C,) int, see `cluster_poses`.

    Raises:
        UserError: `path` is no PNG's, or there are fewer people than clusters.
    """
    _check_name(path)
    poses, weights, boxes = prn_poses(model, collect_people(records))
    enough = weights.sum(axis=1) >= LEAST_KEYPOINTS
    if enough.sum() < clusters:
        raise UserError(
            f"{clusters} clusters need as many people, and only {enough.sum()} of the {len(poses)} with "
            f"{LEAST_KEYPOINTS} labelled keypoints have {LEAST_KEYPOINTS} that the PRN is sure of: take more images, "
            "fewer --clusters, or train the PRN longer"
        )
    means, counts, assignment = cluster_poses(poses[enough], weights[enough], clusters, seed)
    sides = (boxes[:, 2:] - boxes[:, :2])[enough]
    proportions = [np.median(sides[assignment == c, 1] / sides[assignment == c, 0]) for c in range(clusters)]
    write_image(path, draw_clusters(means, counts, np.array(proportions)))
    return means, counts


def prn_poses(model, people):
    """The PRN's outputs as poses: of each keypoint the most activated cell.

    Args:
        model: see `prn_clusters`.
        people: PrnPeople, of whom those with LEAST_KEYPOINTS labelled keypoints count.

    Returns:
        poses: (P, 17, 2) float32, cell centres, x and y in cells.
        weights: (P, 17) float32, 1 where the PRN is sure of the keypoint and 0 elsewhere.
        boxes: (P, 4) float32, [x1, y1, x2, y2] in image pixels, as labelled.
    """
    labelled = (people.keypoints[people.targets, :, 2] > 0).sum(axis=1)
    targets = people.targets[labelled >= LEAST_KEYPOINTS]
    poses = np.zeros((len(targets), NUM_KEYPOINTS, 2), np.float32)
    weights = np.zeros((len(targets), NUM_KEYPOINTS), np.float32)
    for start in tqdm(range(0, len(targets), _BOXES_AT_A_TIME), desc="PRN", unit="batch", disable=None):
        rows = slice(start, start + _BOXES_AT_A_TIME)
        positions, scores, _, _, boxes = gather_people(people, targets[rows])
        rois = encode_rois(positions, scores, enlarge_boxes(boxes, model.config.prn_margin))
        # The grid itself as the box, so that cells are the unit.
        grids = np.tile(np.array([0, 0, ROI_WIDTH, ROI_HEIGHT], np.float32), (len(boxes), 1))
        cells, values = highest_cells(np.moveaxis(model.prn(rois, training=False), 3, 1), grids)
        poses[rows], weights[rows] = cells, np.asarray(values) >= SURE
    return poses, weights, people.boxes[targets]


def pose_similarity(poses, means, weights=None, area=ROI_AREA):
    """Object keypoint similarity of poses with means, as COCO computes it for labels and predictions.

    Args:
        poses: (P, 17, 2) float, x and y in cells.
        means: (C, 17, 2) float, x and y in cells.
        weights: (P, 17) float of 0 or more, how much each keypoint of a pose counts: COCO's is 1 for a labelled one
            and 0 for others. None counts all alike.
        area: of a pose in square cells, the scale on which distances are near or far.

    Returns:
        (P, C) float32 in [0, 1]; 0 for a pose none of whose keypoints count.
    """
    poses, means = np.asarray(poses, np.float32), np.asarray(means, np.float32)
    weights = np.ones(poses.shape[:2], np.float32) if weights is None else np.asarray(weights, np.float32)
    squares = np.square(poses[:, None] - means).sum(axis=-1)
    similarities = np.exp(-squares / (2 * area * np.square(2 * OKS_SIGMAS)))
    return np.einsum("pck,pk->pc", similarities, weights) / np.maximum(weights.sum(axis=1), 1e-9)[:, None]


def cluster_poses(poses, weights, clusters, seed=0, iterations=100):
    """k-means with 1 - OKS as the distance: the best of STARTS k-means++ starts.

    Args:
        poses: (P, 17, 2) float, x and y in cells.
        weights: (P, 17) float of 0 or more, how much each keypoint of a pose counts.
        clusters: how many; at most P.
        seed: equal seeds give equal clusters.
        iterations: at most so many a start; 1 or more.

    Returns:
        means: (C, 17, 3) float32, x and y in cells, and the mean weight of the keypoint in the cluster; where
            that is 0, x and y are the mean of all poses. The largest cluster comes first.
        counts: (C,) int, poses in each cluster; 1 or more.
        assignment: (P,) int, the cluster of each pose.

    Raises:
        UserError: there are fewer poses than clusters.
    """
    if len(poses) < clusters:
        raise UserError(f"{clusters} clusters need as many poses, and there are {len(poses)}")
    poses, weights = np.asarray(poses, np.float32), np.asarray(weights, np.float32)
    common = _mean(poses, weights, poses.mean(axis=0))[:, :2]
    best = -1.0
    for start in range(STARTS):
        rng = np.random.default_rng([seed, start])
        found = _k_means(poses, weights, _first_means(poses, weights, clusters, common, rng), common, iterations)
        if found[0] > best:
            best, means, assignment = found
    counts = np.bincount(assignment, minlength=clusters)
    order = np.argsort(-counts, kind="stable")
    return means[order], counts[order], np.argsort(order)[assignment]


def _first_means(poses, weights, clusters, common, rng):
    """k-means++: poses drawn with probabilities in proportion to their distance from those drawn before.

    Returns:
        (C, 17, 2) float32; keypoints of no weight are where `common`, (17, 2), has them.
    """
    complete = np.where(weights[..., None] > 0, poses, common)
    means = [complete[rng.integers(len(poses))]]
    distances = np.full(len(poses), np.inf)
    while len(means) < clusters:
        latest = 1.0 - pose_similarity(poses, means[-1][None], weights)[:, 0].astype(np.float64)
        distances = np.minimum(distances, latest.clip(0))
        total = distances.sum()
        means.append(complete[rng.choice(len(poses), p=distances / total if total > 0 else None)])
    return np.stack(means)


def _k_means(poses, weights, means, common, iterations):
    """From first means, (C, 17, 2), to the sum of all similarities, means (C, 17, 3) and assignment (P,)."""
    assignment = None
    for _ in range(iterations):
        similarities = pose_similarity(poses, means[..., :2], weights)
        nearest = _without_empty(similarities)
        if assignment is not None and (nearest == assignment).all():
            break
        assignment = nearest
        members = [assignment == cluster for cluster in range(len(means))]
        means = np.stack([_mean(poses[those], weights[those], common) for those in members])
    return float(similarities[np.arange(len(poses)), assignment].sum()), means, assignment


def _without_empty(similarities):
    """(P,) int, the most similar cluster of each pose; an empty one is given the pose that is worst off elsewhere."""
    assignment = similarities.argmax(axis=1)
    own = similarities.max(axis=1)
    clusters = similarities.shape[1]
    for empty in np.flatnonzero(np.bincount(assignment, minlength=clusters) == 0):
        alone = np.bincount(assignment, minlength=clusters)[assignment] == 1
        assignment[np.where(alone, np.inf, own).argmin()] = empty
    return assignment


def _mean(poses, weights, otherwise):
    """(17, 3) float32: weighted mean x and y, `otherwise` (17, 2) where nobody has weight, and mean weight."""
    total = weights.sum(axis=0)[:, None]
    places = (poses * weights[..., None]).sum(axis=0) / np.maximum(total, 1e-9)
    return np.concatenate([np.where(total > 0, places, otherwise), total / len(poses)], axis=1).astype(np.float32)


def draw_clusters(means, counts, proportions=None):
    """A picture of cluster means, one skeleton a panel, its share of people underneath.

    Limbs have the colours of `mpn.skeleton`, warm on the left and cool on the right, and are the fainter the fewer
    members have them. Skeletons have equal size, as far as their shapes allow.

    Args:
        means: (C, 17, 3) float, as `cluster_poses` gives them.
        counts: (C,) int, people in each cluster.
        proportions: (C,) float, height over width of the clusters' boxes in the image. The grid stretches every box
            to one shape, and this undoes it. None leaves skeletons as the grid has them.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    columns = math.ceil(math.sqrt(len(means)))
    rows = math.ceil(len(means) / columns)
    pitch = np.array([_PANEL[0] + _GAP, _PANEL[1] + _CAPTION + _GAP])
    width, height = pitch * (columns, rows) + _GAP
    sheet = np.full((height, width, 3), _PAPER, np.uint8)
    grid = ROI_HEIGHT / ROI_WIDTH
    people = []
    for index, (mean, count) in enumerate(zip(means, counts, strict=True)):
        x, y = (int(v) for v in pitch * (index % columns, index // columns) + _GAP)
        cv2.rectangle(sheet, (x, y), (x + _PANEL[0] - 1, y + _PANEL[1] - 1), _GROUND, cv2.FILLED)
        _write_centred(sheet, f"{100 * count / np.sum(counts):.0f} %", x + _PANEL[0] / 2, y + _PANEL[1])
        stretch = 1.0 if proportions is None else float(proportions[index]) / grid
        keypoints = _placed(mean * (1, stretch, 1), np.array([x, y]) + np.array(_PANEL) / 2)
        people.append(Person(_NO_BOX, 1.0, keypoints, 1.0))
    return draw_people(sheet, people, LEAST_SHARE)


def _placed(mean, centre):
    """Scales a mean, (17, 3), to the size of a skeleton, and moves its middle to `centre`, (2,) pixels."""
    drawn = mean[mean[:, 2] >= LEAST_SHARE, :2]
    if not len(drawn):
        return mean
    low, high = drawn.min(axis=0), drawn.max(axis=0)
    scale = (np.array(_SKELETON) / np.maximum(high - low, 1.0)).min()
    return np.concatenate([(mean[:, :2] - (low + high) / 2) * scale + centre, mean[:, 2:]], axis=1)


def _write_centred(sheet, text, x, y):
    """Writes a line, in place, in the middle of the caption whose upper edge has its centre at (x, y) pixels."""
    (width, height), _ = cv2.getTextSize(text, _FONT, 0.8, 2)
    corner = round(x - width / 2), y + (_CAPTION + height) // 2
    cv2.putText(sheet, text, corner, _FONT, 0.8, _INK, 2, cv2.LINE_AA)


def _check_name(path):
    if pathlib.Path(path).suffix.lower() != ".png":
        raise UserError(f"--prn-clusters writes a PNG: end the name {path} with .png")
