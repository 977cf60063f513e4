"""Draws the poses that a PRN has learned (§3.4; Fig. 2, right): clusters of its outputs by k-means with OKS.

`python -m mpn.studies.prn_clusters clusters.png --model DIR --annotations FILE`; it needs no images. Poses are in cells
of the RoI grid (`mpn.roi`): x in [0, 36], y in [0, 56]. P poses, C clusters.
"""

import math

import numpy as np
from tqdm import tqdm

from mpn.cli.script import import_tensorflow, run
from mpn.cli.settings import add_options, module_parser
from mpn.data.coco import annotation_file, load_annotations
from mpn.errors import UserError
from mpn.evaluation.charts import INK, new_figure, save
from mpn.files import make_replaceable
from mpn.kinds import positive_int
from mpn.oks import keypoint_similarities
from mpn.roi import LABEL_SIGMA, ROI_HEIGHT, ROI_WIDTH, encode_rois, enlarge_boxes, highest_cells
from mpn.skeleton import LIMB_COLOURS, LIMBS, NUM_KEYPOINTS
from mpn.training.settings import PrnTraining

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
_MOST_ROUNDS = 100

# A drawn skeleton has the keypoints that the PRN is sure of in at least this share of the cluster's members.
LEAST_SHARE = 0.5

_BOXES_AT_A_TIME = 256


def prn_clusters(model, records, clusters=6, seed=0):
    """Runs the PRN of `model` (Networks) on the labelled people of `records`, and clusters the poses.

    Returns the means and counts of `cluster_poses`, and proportions (C,): the median height / width of the members'
    labelled boxes. Raises UserError where there are fewer people than clusters.
    """
    from mpn.data.prn import collect_people

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
    proportions = [np.median(sides[assignment == c, 1] / sides[assignment == c, 0]) for c in range(len(counts))]
    return means, counts, np.array(proportions)


def prn_poses(model, people):
    """Finds the PRN's highest cells for those of `people` (PrnPeople) who have LEAST_KEYPOINTS labelled keypoints.

    Returns poses, (P, 17, 2) float32, x and y of the cells' centres; weights, (P, 17) float32, 1 where the PRN is sure
    of the keypoint, else 0; and the labelled boxes, (P, 4) float32 [x1, y1, x2, y2] in image pixels.
    """
    from mpn.data.prn import gather_people

    labelled = (people.keypoints[people.targets, :, 2] > 0).sum(axis=1)
    targets = people.targets[labelled >= LEAST_KEYPOINTS]
    poses, weights = (np.zeros((len(targets), NUM_KEYPOINTS, *more), np.float32) for more in ((2,), ()))
    for start in tqdm(range(0, len(targets), _BOXES_AT_A_TIME), desc="PRN", unit="batch", disable=None):
        rows = slice(start, start + _BOXES_AT_A_TIME)
        positions, scores, _, _, boxes = gather_people(people, targets[rows])
        rois = encode_rois(positions, scores, enlarge_boxes(boxes, model.config.prn_margin))
        # The grid is its own box, so positions are in cells.
        grids = np.tile(np.array([0, 0, ROI_WIDTH, ROI_HEIGHT], np.float32), (len(boxes), 1))
        cells, values = highest_cells(np.moveaxis(model.prn(rois, training=False), 3, 1), grids)
        poses[rows], weights[rows] = cells, np.asarray(values) >= SURE
    return poses, weights, people.boxes[targets]


def pose_similarity(poses, means, weights):
    """Computes the OKS of poses (P, 17, 2) with means (C, 17, 2) as (P, C) float32.

    `weights`, (P, 17) and not negative, says how much each keypoint counts; a pose without weight has an OKS of 0.
    """
    poses, means, weights = (np.asarray(values, np.float32) for values in (poses, means, weights))
    similarities = keypoint_similarities(poses[:, None], means[None], np.float32(ROI_AREA))
    return np.einsum("pck,pk->pc", similarities, weights) / np.maximum(weights.sum(axis=1), 1e-9)[:, None]


def cluster_poses(poses, weights, clusters, seed=0):
    """Clusters poses by k-means with the distance 1 - OKS, and keeps the best of STARTS k-means++ starts.

    `poses` and `weights` are those of `pose_similarity`. C is less than `clusters` if there are fewer different poses.
    Returns means, (C, 17, 3) float32, x, y and mean weight of each keypoint, the largest cluster first; where the
    weight is 0, x and y are the mean of all poses. And counts, (C,) int, the poses in each cluster, and the cluster of
    each pose, (P,) int.
    """
    poses, weights = np.asarray(poses, np.float32), np.asarray(weights, np.float32)
    common = _mean(poses, weights, poses.mean(axis=0))[:, :2]
    rngs = [np.random.default_rng([seed, start]) for start in range(STARTS)]
    starts = [_first_means(poses, weights, clusters, common, rng) for rng in rngs]
    found = [_k_means(poses, weights, means, common) for means in starts]
    _, means, assignment = max(found, key=lambda one: one[0])
    counts = np.bincount(assignment)
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


def _k_means(poses, weights, means, common):
    """Returns the sum of all similarities, the means (C, 17, 3) and the assignment (P,); empty clusters vanish."""
    assignment = None
    for _ in range(_MOST_ROUNDS):
        similarities = pose_similarity(poses, means[..., :2], weights)
        _, nearest = np.unique(similarities.argmax(axis=1), return_inverse=True)
        if assignment is not None and (nearest == assignment).all():
            break
        assignment = nearest
        members = [assignment == cluster for cluster in range(assignment.max() + 1)]
        means = np.stack([_mean(poses[those], weights[those], common) for those in members])
    return float(similarities.max(axis=1).sum()), means, assignment


def _mean(poses, weights, otherwise):
    """Weighted mean x and y (`otherwise` where no pose has weight) and mean weight of each keypoint: (17, 3)."""
    total = weights.sum(axis=0)[:, None]
    places = (poses * weights[..., None]).sum(axis=0) / np.maximum(total, 1e-9)
    return np.concatenate([np.where(total > 0, places, otherwise), total / len(poses)], axis=1).astype(np.float32)


def draw_clusters(means, counts, proportions):
    """Draws the results of `prn_clusters`: a matplotlib Figure with a skeleton and its share of people in each panel.

    `proportions` undoes the stretching of boxes to the grid. Limbs that fewer members have are fainter.
    """
    columns = math.ceil(math.sqrt(len(means)))
    rows = math.ceil(len(means) / columns)
    figure = new_figure(2.2 * columns, 3.2 * rows)
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in panels:
        axes.set_axis_off()
    for axes, mean, count, proportion in zip(panels, means, counts, proportions, strict=False):
        places = mean[:, :2] * (1, proportion * ROI_WIDTH / ROI_HEIGHT)
        for limb, colour in zip(map(list, LIMBS), LIMB_COLOURS, strict=True):
            share = mean[limb, 2].min()
            if share >= LEAST_SHARE:
                axes.plot(*places[limb].T, "o-", color=np.divide(colour, 255), alpha=float(share), linewidth=4)
        axes.set_title(f"{100 * count / np.sum(counts):.0f} %", color=INK)
        axes.set_aspect("equal")
        axes.margins(0.1)
        axes.invert_yaxis()
    return figure


def main(argv=None):
    parser = module_parser(__spec__, __doc__)
    parser.add_argument("picture", metavar="FILE.png", help="the picture to write")
    add_options(parser, PrnTraining, "model", "coco", "annotations", "limit")
    parser.add_argument("--clusters", type=positive_int, default=6, help="default: 6, as in the paper")
    options = parser.parse_args(argv)
    if not options.picture.lower().endswith(".png"):
        raise UserError(f"the picture is a PNG: end the name {options.picture} with .png")
    import_tensorflow()
    from mpn.model_directory import load_networks

    networks = load_networks(options.model, ("prn",))
    records = load_annotations(options.annotations or annotation_file(options.coco, "val"), limit=options.limit)
    make_replaceable(options.picture)
    means, counts, proportions = prn_clusters(networks, records, options.clusters)
    save(draw_clusters(means, counts, proportions), options.picture)
    print(f"{counts.sum()} people in {len(counts)} clusters in {options.picture}; left limbs are warm, right ones cool")


if __name__ == "__main__":
    run(main)
