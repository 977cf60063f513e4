"""What each kind of error costs: the AP that results would have without it, after Ronchi and Perona (ICCV 2017), §3-4.

Every correction is made alone, on the results as they are, and COCO's own evaluation measures it. So gains do not add
up: a person with a swap and a miss gains little from either correction, and much from both. Corrected keypoints move to
the true place. (Theirs move only as near as the kind of error allows, and they correct one kind after another.)
"""

import numpy as np
from tqdm import tqdm

from mpn.evaluation.coco import as_coco, evaluate_keypoints
from mpn.evaluation.errors.pose_errors import INVERSION, JITTER, MISS, SWAP

# What can be corrected, and what that means.
CORRECTIONS = {
    "jitter": "keypoints near their place go there",
    "inversion": "keypoints on the other side of the same person go to their own",
    "swap": "keypoints at another person's go to their own person's",
    "miss": "keypoints near nothing go to their place",
    "all keypoints": "the four above at once",
    "outside the box": "those of the four whose place the PRN cannot see, outside the enlarged box",
    "scores": "each detection's score is its largest OKS: the best pose of everybody ranks first",
    "duplicates": "detections of people who have one with a better score are removed",
    "background": "detections of nobody are removed",
    "not found": "people without any detection do not count",
}
_OF_KEYPOINTS = {"jitter": [JITTER], "inversion": [INVERSION], "swap": [SWAP], "miss": [MISS]}
_OF_KEYPOINTS["all keypoints"] = _OF_KEYPOINTS["outside the box"] = [JITTER, INVERSION, SWAP, MISS]

METRICS = ("AP", "AP50", "AP75", "APM", "APL")


def gains(ground_truth, results, image_ids, diagnosis):
    """COCO's metrics before and after each correction.

    Args:
        ground_truth, results, image_ids: as for `diagnose`.
        diagnosis: the Diagnosis of these.

    Returns:
        dict of "as it is" and CORRECTIONS to dicts of METRICS in 0-1 and, of corrections, "gain", by how much AP
        rises. None stands where nobody is left to measure: none of that size, say. A gain may be below 0: where the
        worse one of two detections of a person has the better score, the better one is removed as a duplicate.
    """
    rows = {"as it is": _measure(ground_truth, results, image_ids)}
    for name in tqdm(CORRECTIONS, desc="what errors cost", unit="evaluation"):
        truth = without(ground_truth, diagnosis.missed) if name == "not found" else ground_truth
        row = _measure(truth, correct(results, diagnosis, name), image_ids)
        both = row["AP"], rows["as it is"]["AP"]
        rows[name] = row | {"gain": None if None in both else both[0] - both[1]}
    return rows


def correct(results, diagnosis, name):
    """New results without one of CORRECTIONS; "not found" concerns people and leaves results as they are."""
    corrected = [{key: r[key] for key in ("image_id", "category_id", "keypoints", "score")} for r in results]
    if name in _OF_KEYPOINTS:
        for match in diagnosis.matches:
            wrong = np.isin(match.errors, _OF_KEYPOINTS[name])
            if name == "outside the box":
                wrong &= match.outside
            keypoints = np.reshape(corrected[match.result]["keypoints"], match.truth.shape).astype(np.float64)
            keypoints[wrong, :2] = match.truth[wrong, :2]
            corrected[match.result]["keypoints"] = keypoints.ravel().tolist()
    elif name == "scores":
        for result, oks in zip(corrected, diagnosis.oks, strict=True):
            result["score"] = float(oks)
    elif name in ("duplicates", "background"):
        gone = set(getattr(diagnosis, name))
        corrected = [result for index, result in enumerate(corrected) if index not in gone]
    return corrected


def without(ground_truth, annotations):
    """A COCO object of the same images without the people whose annotation ids `annotations` holds.

    People whom no detection reaches at `MATCHING_OKS` have none at COCO's thresholds either: nothing else changes.
    """
    kept = [item for item in ground_truth.dataset["annotations"] if item["id"] not in annotations]
    return as_coco(ground_truth.dataset | {"annotations": kept})


def _measure(ground_truth, results, image_ids):
    metrics = evaluate_keypoints(ground_truth, results, image_ids)
    return {name: metrics[name] if metrics[name] >= 0 else None for name in METRICS}
