"""What is wrong with the poses of a result file: errors of keypoints, people not found, detections of nobody.

Kinds and thresholds are those of Ronchi and Perona, "Benchmarking and Error Diagnosis in Multi-Instance Pose
Estimation" (ICCV 2017), §3.1. Their ks is the similarity of a detected keypoint with a labelled one, in the scale of
the labelled one's person, see `keypoint_similarities`. A labelled keypoint is

* good: ks with it is .85 or more, where people who annotate differ as well;
* jitter: ks with it is from .5 to .85;
* inversion: ks with it is below .5, and from .5 on with its mirror image (left, right) of the same person;
* swap: ks with it is below .5, and from .5 on with the same keypoint or its mirror image of another person;
* miss: ks with all of these is below .5.

Where inversion and swap both hold, the larger ks decides. (Their program, coco-analyze, lets the largest ks of all
decide even where ks with the keypoint itself is .5 or more: with somebody else nearer, what is jitter or good here is
a swap there.)

Detections are matched to people by pycocotools, in the order of their scores, each to the person with the largest OKS,
from an OKS of .1 up as in their program. From .5 up, where COCO begins, the worst errors would be left out: a person
whose left and right are exchanged would count as not found.

Symbols: K = 17, N people of an image. Coordinates are COCO's pixel indices, in labels and results alike.
"""

import dataclasses

import numpy as np
from pycocotools import mask as coco_mask

from mpn.evaluation.coco import accumulate
from mpn.oks import keypoint_similarities
from mpn.skeleton import MIRROR, NUM_KEYPOINTS

ERRORS = ("good", "jitter", "inversion", "swap", "miss")
GOOD, JITTER, INVERSION, SWAP, MISS = range(len(ERRORS))
NOT_LABELLED = -1

GOOD_SIMILARITY, NEAR_SIMILARITY = 0.85, 0.5
MATCHING_OKS = 0.1

# From this IoU up, another person's box overlaps.
OVERLAP_IOU = 0.1


@dataclasses.dataclass(frozen=True)
class Match:
    """A labelled person and the detection that is theirs.

    Attributes:
        result: int, index of the detection in the results.
        oks: float, that of the two.
        truth: (K, 3) float64, the person's x, y and v.
        errors: (K,) int, indices into ERRORS, or NOT_LABELLED.
        outside: (K,) bool, whether the true place lies outside the person's enlarged box, where the PRN cannot see it.
        overlapping: int, how many other people's boxes overlap this person's.
    """

    result: int
    oks: float
    truth: np.ndarray
    errors: np.ndarray
    outside: np.ndarray
    overlapping: int


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """What became of the labelled people and of the detections of some images.

    Attributes:
        matches: list of Match.
        missed: dict of the annotation ids of people without a detection to how many other people overlap them.
        duplicates: indices of results, of people who have a result with a better score.
        background: indices of results whose OKS with everybody is below MATCHING_OKS.
        ignored: indices of results that do not count, of crowds and of people without labelled keypoints.
        oks: (D,) float64, the largest OKS of each detection with a labelled person, 0 where the image has none.
    """

    matches: list
    missed: dict
    duplicates: list
    background: list
    ignored: list
    oks: np.ndarray


def diagnose(ground_truth, results, image_ids, margin=np.inf):
    """Matches detections to people, and finds the errors of those that match.

    Args:
        ground_truth: COCO object.
        results: list of D dicts {image_id, category_id, keypoints (51 numbers), score}, at most 20 an image.
        image_ids: images that count.
        margin: by which the PRN's boxes grow on each side, as a share of their size.

    Returns:
        Diagnosis.
    """
    evaluation = accumulate(ground_truth, results, image_ids, thresholds=[MATCHING_OKS])
    whole = evaluation.params.areaRng[evaluation.params.areaRngLbl.index("all")]
    diagnosis = Diagnosis([], {}, [], [], [], np.zeros(len(results)))
    for image in evaluation.evalImgs:
        if image is not None and image["aRng"] == whole:
            similarity = evaluation.ious[image["image_id"], image["category_id"]]
            people = evaluation._gts[image["image_id"], image["category_id"]]
            _diagnose_image(diagnosis, results, image, people, similarity, margin)
    return diagnosis


def _diagnose_image(diagnosis, results, image, people, similarity, margin):
    """Adds one of COCOeval's `evalImgs` to a Diagnosis; similarity is (detections by score, N), or empty."""
    place = {person["id"]: index for index, person in enumerate(people)}
    counted = np.array([not person["ignore"] for person in people], bool)
    truth = np.array([person["keypoints"] for person in people], np.float64).reshape(-1, NUM_KEYPOINTS, 3)
    areas = np.array([person["area"] for person in people], np.float64)
    overlapping = count_overlapping(people)
    for row, (identity, match, ignored) in enumerate(
        zip(image["dtIds"], image["dtMatches"][0], image["dtIgnore"][0], strict=True)
    ):
        index = identity - 1
        if index == len(results):  # what stands in for no results at all
            continue
        oks = similarity[row][counted].max(initial=0) if len(similarity) else 0.0
        diagnosis.oks[index] = oks
        if ignored:
            diagnosis.ignored.append(index)
        elif match:
            person = place[match]
            found = np.reshape(results[index]["keypoints"], (NUM_KEYPOINTS, 3))[:, :2]
            errors = keypoint_errors(found, truth, areas, person)
            outside = outside_box(truth[person], people[person]["bbox"], margin)
            oks = float(similarity[row][person])
            diagnosis.matches.append(Match(index, oks, truth[person], errors, outside, int(overlapping[person])))
        else:
            (diagnosis.duplicates if oks >= MATCHING_OKS else diagnosis.background).append(index)
    for identity, match, ignored in zip(image["gtIds"], image["gtMatches"][0], image["gtIgnore"], strict=True):
        if not match and not ignored:
            diagnosis.missed[identity] = int(overlapping[place[identity]])


def keypoint_errors(found, truth, areas, person):
    """What became of each labelled keypoint of a person: (K,) int, indices into ERRORS, or NOT_LABELLED.

    Args:
        found: (K, 2) float, x and y of the person's detection.
        truth: (N, K, 3) float, x, y and v of everybody in the image, crowds too where they have keypoints.
        areas: (N,) float, square pixels.
        person: index of the person.
    """
    labelled = truth[..., 2] > 0
    same = np.where(labelled, keypoint_similarities(found, truth[..., :2], areas), 0)
    # Left and right have one sigma. The nose is its own mirror image.
    mirrored = np.where(labelled[:, MIRROR], keypoint_similarities(found, truth[:, MIRROR, :2], areas), 0)
    own, inverted = same[person], mirrored[person]
    others = np.delete(np.maximum(same, mirrored), person, axis=0).max(axis=0, initial=0)
    return np.select(
        [
            ~labelled[person],
            own >= GOOD_SIMILARITY,
            own >= NEAR_SIMILARITY,
            (inverted >= NEAR_SIMILARITY) & (inverted >= others),
            others >= NEAR_SIMILARITY,
        ],
        [NOT_LABELLED, GOOD, JITTER, INVERSION, SWAP],
        MISS,
    )


def outside_box(keypoints, box, margin):
    """(K,) bool: which labelled keypoints (K, 3) lie outside a box [x, y, w, h] that has grown by `margin`."""
    corner, size = np.reshape(box, (2, 2))
    shares = (keypoints[:, :2] + 0.5 - corner) / size  # the box has continuous coordinates
    return ((shares < -margin) | (shares > 1 + margin)).any(axis=1) & (keypoints[:, 2] > 0)


def count_overlapping(people):
    """(N,) int: how many other people's boxes overlap each person's with an IoU of OVERLAP_IOU or more.

    `people` are the annotations of one image; crowds overlap nobody.
    """
    if not people:
        return np.zeros(0, int)
    boxes = np.array([person["bbox"] for person in people], np.float64)
    overlaps = coco_mask.iou(boxes, boxes, [0] * len(boxes)) >= OVERLAP_IOU
    single = np.array([not person["iscrowd"] for person in people], bool)
    return (overlaps & single & ~np.eye(len(boxes), dtype=bool)).sum(axis=1)
