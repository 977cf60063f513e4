"""The errors of poses, after Ronchi and Perona (ICCV 2017), §3.1: of keypoints, people not found, detections of nobody.

Their paper is "Benchmarking and Error Diagnosis in Multi-Instance Pose Estimation". Their ks is the similarity of a
detected keypoint with a labelled one, see `keypoint_similarities`. A labelled keypoint is

* good: ks with it is .85 or more, where annotators differ as well;
* jitter: ks with it is from .5 to .85;
* inversion: ks with it is below .5, but .5 or more with its left-right counterpart of the same person;
* swap: ks with it is below .5, but .5 or more with the same keypoint or its counterpart of another person;
* miss: ks with all of these is below .5.

If both inversion and swap hold, the larger ks decides. (In their program, coco-analyze, the largest ks of all decides:
good or jittered keypoints become swaps there if another person is nearer.)

pycocotools matches detections to people from an OKS of .1 up, as in coco-analyze. From COCO's .5 up, the worst errors
would be lost: a person whose left and right are exchanged would count as not found.

K = 17, N people of an image, D results. Coordinates are COCO's pixel indices, in labels and results alike.
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

# Boxes overlap from this IoU up.
OVERLAP_IOU = 0.1


@dataclasses.dataclass(frozen=True)
class Match:
    """A labelled person and the matching detection."""

    result: int  # index of the detection in the results
    oks: float
    truth: np.ndarray  # (K, 3) float64: the person's x, y and v
    errors: np.ndarray  # (K,) int: indices into ERRORS, or NOT_LABELLED
    outside: np.ndarray  # (K,) bool: labelled keypoints outside the enlarged box, where the PRN cannot see them
    overlapping: int  # how many other people's boxes overlap this person's


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """The matched and unmatched people and detections of some images. Detections are indices of results."""

    matches: list  # of Match
    missed: dict  # annotation ids of people without a detection -> how many others overlap them
    duplicates: list  # of people who have a result with a better score
    background: list  # the OKS with everybody is below MATCHING_OKS
    ignored: list  # of crowds and of people without labelled keypoints: they do not count
    oks: np.ndarray  # (D,) float64: each result's largest OKS with a labelled person, 0 if the image has none


def diagnose(ground_truth, results, image_ids, margin=np.inf):
    """Matches detections to people and classifies the keypoints of each match: a Diagnosis.

    Arguments are as for `evaluate_keypoints`, with at most 20 results an image; `margin` is the share of their size by
    which the PRN's boxes grow on each side.
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
    """Adds one of COCOeval's `evalImgs` to a Diagnosis; `similarity` is (detections by score, N), or empty."""
    place = {person["id"]: index for index, person in enumerate(people)}
    counted = np.array([not person["ignore"] for person in people], bool)
    truth = np.array([person["keypoints"] for person in people], np.float64).reshape(-1, NUM_KEYPOINTS, 3)
    areas = np.array([person["area"] for person in people], np.float64)
    overlapping = count_overlapping(people)
    for row, (identity, match, ignored) in enumerate(
        zip(image["dtIds"], image["dtMatches"][0], image["dtIgnore"][0], strict=True)
    ):
        index = identity - 1
        if index == len(results):  # `accumulate` adds this one where there are no results
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
            oks, others = float(similarity[row][person]), int(overlapping[person])
            diagnosis.matches.append(Match(index, oks, truth[person], errors, outside, others))
        else:
            (diagnosis.duplicates if oks >= MATCHING_OKS else diagnosis.background).append(index)
    for identity, match, ignored in zip(image["gtIds"], image["gtMatches"][0], image["gtIgnore"], strict=True):
        if not match and not ignored:
            diagnosis.missed[identity] = int(overlapping[place[identity]])


def keypoint_errors(found, truth, areas, person):
    """The error of each keypoint of a person: (K,) int, indices into ERRORS, or NOT_LABELLED.

    `found`, (K, 2), is the detection of `person`, an index into `truth`, (N, K, 3), and `areas`, (N,) square pixels, of
    everybody in the image, crowds with keypoints included.
    """
    labelled = truth[..., 2] > 0
    same = np.where(labelled, keypoint_similarities(found, truth[..., :2], areas), 0)
    # Left and right have one sigma. The nose is its own mirror image.
    mirrored = np.where(labelled[:, MIRROR], keypoint_similarities(found, truth[:, MIRROR, :2], areas), 0)
    own, inverted = same[person], mirrored[person]
    others = np.delete(np.maximum(same, mirrored), person, axis=0).max(axis=0, initial=0)
    kinds = {
        NOT_LABELLED: ~labelled[person],
        GOOD: own >= GOOD_SIMILARITY,
        JITTER: own >= NEAR_SIMILARITY,
        INVERSION: (inverted >= NEAR_SIMILARITY) & (inverted >= others),
        SWAP: others >= NEAR_SIMILARITY,
    }
    return np.select(list(kinds.values()), list(kinds), MISS)


def outside_box(keypoints, box, margin):
    """(K,) bool: which labelled keypoints (K, 3) lie outside a box [x, y, w, h] that has grown by `margin`."""
    corner, size = np.reshape(box, (2, 2))
    shares = (keypoints[:, :2] + 0.5 - corner) / size  # the box has continuous coordinates
    return ((shares < -margin) | (shares > 1 + margin)).any(axis=1) & (keypoints[:, 2] > 0)


def count_overlapping(people):
    """For each of an image's annotations, (N,) int: how many others overlap its box; crowds overlap nobody."""
    if not people:
        return np.zeros(0, int)
    boxes = np.array([person["bbox"] for person in people], np.float64)
    overlaps = coco_mask.iou(boxes, boxes, [0] * len(boxes)) >= OVERLAP_IOU
    single = np.array([not person["iscrowd"] for person in people], bool)
    return (overlaps & single & ~np.eye(len(boxes), dtype=bool)).sum(axis=1)
