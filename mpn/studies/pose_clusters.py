"""Turns outputs of a PRN into poses, clusters these by k-means with OKS, and draws the clusters (Fig. 2, right).

Poses are in cells of the RoI grid (`mpn.roi`): x in [0, 36], y in [0, 56]. P poses, C clusters.
"""

import math

import cv2
import numpy as np
from tqdm import tqdm

from mpn.data.prn import collect_people, gather_people
from mpn.demo.drawing import draw_people
from mpn.errors import UserError
from mpn.oks import keypoint_similarities
from mpn.people import Person
from mpn.roi import LABEL_SIGMA, ROI_HEIGHT, ROI_WIDTH, encode_rois, enlarge_boxes, highest_cells
from mpn.skeleton import NUM_KEYPOINTS

# People count if they have at least this many labelled keypoints and the PRN is sure of as many.
LEAST_KEYPOINTS = 8

# The PRN is sure of a keypoint where its output reaches half the height of a label. With a PRN trained on COCO this
# holds for 94 % of labelled keypoints, and for 13 % of the others.
SURE = 0.5 / (2 * math.pi * LABEL_SIGMA**2)

# The area of a pose for OKS is the whole RoI, in square cells. COCO takes the person's own area, about a quarter of it.
# With that, people are so far from every mean (OKS .42 instead of .69 on COCO val2017) that the starts of k-means
# disagree, and people who face left or right share clusters with others.
ROI_AREA = float(ROI_HEIGHT * ROI_WIDTH)

# k-means ends in one of many local optima, so the best of several starts counts.
STARTS = 10

# A drawn skeleton has the keypoints that the PRN is sure of in at least this share of the cluster's members.
LEAST_SHARE = 0.5

_BOXES_AT_A_TIME = 256

# In pixels: a panel, the largest skeleton in it, the line under it, and the gap between panels.
_PANEL, _SKELETON, _CAPTION, _GAP = (280, 400), (210, 340), 40, 16
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_PAPER, _GROUND, _INK = (255, 255, 255), (38, 40, 44), (30, 30, 30)
# Outside every picture: `draw_people` draws no box, and limbs as thick as those of a large person.
_NO_BOX = np.array([-1e6, -1e6, -1, -1], np.float32)


def prn_clusters(model, records, clusters=6, seed=0):
    """Runs the PRN of `model` (Networks) on the labelled people of `records`, and clusters the poses.

    Returns the means and counts of `cluster_poses`, and proportions (C,): the median height / width of the members'
    labelled boxes. Raises UserError where there are fewer people than clusters.
    """
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
    return means, counts, np.array(proportions)


def prn_poses(model, people):
    """Finds the PRN's highest cells for those of `people` (PrnPeople) who have LEAST_KEYPOINTS labelled keypoints.

    Returns:
        poses: (P, 17, 2) float32, x and y of the cells' centres.
        weights: (P, 17) float32, 1 where the PRN is sure of the keypoint and 0 elsewhere.
        boxes: (P, 4) float32, the labelled [x1, y1, x2, y2] in image pixels.
    """
    labelled = (people.keypoints[people.targets, :, 2] > 0).sum(axis=1)
    targets = people.targets[labelled >= LEAST_KEYPOINTS]
    poses = np.zeros((len(targets), NUM_KEYPOINTS, 2), np.float32)
    weights = np.zeros((len(targets), NUM_KEYPOINTS), np.float32)
    for start in tqdm(range(0, len(targets), _BOXES_AT_A_TIME), desc="PRN", unit="batch", disable=None):
        rows = slice(start, start + _BOXES_AT_A_TIME)
        positions, scores, _, _, boxes = gather_people(people, targets[rows])
        rois = encode_rois(positions, scores, enlarge_boxes(boxes, model.config.prn_margin))
        # The grid is its own box, so positions are in cells.
        grids = np.tile(np.array([0, 0, ROI_WIDTH, ROI_HEIGHT], np.float32), (len(boxes), 1))
        cells, values = highest_cells(np.moveaxis(model.prn(rois, training=False), 3, 1), grids)
        poses[rows], weights[rows] = cells, np.asarray(values) >= SURE
    return poses, weights, people.boxes[targets]


def pose_similarity(poses, means, weights, area=ROI_AREA):
    """Computes the OKS of poses (P, 17, 2) with means (C, 17, 2) as (P, C) float32.

    `weights`, (P, 17) and not negative, says how much each keypoint counts; a pose without weight has an OKS of 0.
    `area` is a pose's, in square cells.
    """
    poses, means, weights = (np.asarray(values, np.float32) for values in (poses, means, weights))
    similarities = keypoint_similarities(poses[:, None], means[None], np.float32(area))
    return np.einsum("pck,pk->pc", similarities, weights) / np.maximum(weights.sum(axis=1), 1e-9)[:, None]


def cluster_poses(poses, weights, clusters, seed=0, iterations=100):
    """Clusters poses by k-means with the distance 1 - OKS, and keeps the best of STARTS k-means++ starts.

    `poses` and `weights` are those of `pose_similarity`. Raises UserError where there are fewer poses than clusters.

    Returns:
        means: (C, 17, 3) float32, x, y and mean weight of each keypoint; where the weight is 0, x and y are the mean of
            all poses. The largest cluster comes first.
        counts: (C,) int, poses in each cluster; 1 or more.
        assignment: (P,) int, the cluster of each pose.
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
    """Draws (C, 17, 2) means by k-means++; keypoints without weight take their places in `common` (17, 2)."""
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
    """Returns the sum of all similarities, the means (C, 17, 3) and the assignment (P,)."""
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
    """Assigns each pose to its most similar cluster, and to each empty cluster the pose that fits worst elsewhere."""
    assignment = similarities.argmax(axis=1)
    own = similarities.max(axis=1)
    clusters = similarities.shape[1]
    for empty in np.flatnonzero(np.bincount(assignment, minlength=clusters) == 0):
        alone = np.bincount(assignment, minlength=clusters)[assignment] == 1
        assignment[np.where(alone, np.inf, own).argmin()] = empty
    return assignment


def _mean(poses, weights, otherwise):
    """Weighted mean x and y (`otherwise` where no pose has weight) and mean weight of each keypoint: (17, 3)."""
    total = weights.sum(axis=0)[:, None]
    places = (poses * weights[..., None]).sum(axis=0) / np.maximum(total, 1e-9)
    return np.concatenate([np.where(total > 0, places, otherwise), total / len(poses)], axis=1).astype(np.float32)


def draw_clusters(means, counts, proportions):
    """Draws the results of `prn_clusters` as an RGB picture: a skeleton and its share of people in each panel.

    `proportions` undoes the stretching of boxes to the grid. Limbs that fewer members have are fainter.
    """
    columns = math.ceil(math.sqrt(len(means)))
    rows = math.ceil(len(means) / columns)
    pitch = np.array([_PANEL[0] + _GAP, _PANEL[1] + _CAPTION + _GAP])
    width, height = pitch * (columns, rows) + _GAP
    sheet = np.full((height, width, 3), _PAPER, np.uint8)
    people = []
    for index, (mean, count, proportion) in enumerate(zip(means, counts, proportions, strict=True)):
        x, y = (int(v) for v in pitch * (index % columns, index // columns) + _GAP)
        cv2.rectangle(sheet, (x, y), (x + _PANEL[0] - 1, y + _PANEL[1] - 1), _GROUND, cv2.FILLED)
        _write_centred(sheet, f"{100 * count / np.sum(counts):.0f} %", x + _PANEL[0] / 2, y + _PANEL[1])
        stretched = mean * (1, float(proportion) * ROI_WIDTH / ROI_HEIGHT, 1)
        people.append(Person(_NO_BOX, 1.0, _placed(stretched, np.array([x, y]) + np.array(_PANEL) / 2), 1.0))
    return draw_people(sheet, people, LEAST_SHARE)


def _placed(mean, centre):
    """Scales a mean to the size of a skeleton, and moves its middle to `centre` in pixels."""
    drawn = mean[mean[:, 2] >= LEAST_SHARE, :2]
    if not len(drawn):
        return mean
    low, high = drawn.min(axis=0), drawn.max(axis=0)
    scale = (np.array(_SKELETON) / np.maximum(high - low, 1.0)).min()
    return np.concatenate([(mean[:, :2] - (low + high) / 2) * scale + centre, mean[:, 2:]], axis=1)


def _write_centred(sheet, text, x, y):
    """Writes a caption under a panel; (x, y) is the middle of the panel's lower edge."""
    (width, height), _ = cv2.getTextSize(text, _FONT, 0.8, 2)
    corner = round(x - width / 2), y + (_CAPTION + height) // 2
    cv2.putText(sheet, text, corner, _FONT, 0.8, _INK, 2, cv2.LINE_AA)
