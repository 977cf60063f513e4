"""The cost of each kind of error: the AP gained without it, after Ronchi and Perona (ICCV 2017), §3-4.

Each correction is made alone, on the original results, and measured by COCO's evaluation. So gains do not add up: a
person with a swap and a miss gains little from either correction, and much from both. Corrected keypoints move to the
true place. (In the paper they move only as near as the error allows, and one correction follows another.)
"""

import numpy as np
from tqdm import tqdm

from mpn.evaluation.coco import as_coco, evaluate_keypoints
from mpn.evaluation.errors.pose_errors import INVERSION, JITTER, MISS, SWAP
from mpn.evaluation.tables import as_share

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
    """COCO's metrics as they are and after each correction: "as it is" and CORRECTIONS -> {metric: value}.

    Metrics are METRICS in 0-1, or -1 where there is nobody to measure, and for corrections "gain", the rise of AP, or
    None. A gain may be negative: of two detections of a person, "duplicates" removes the one of lower score, even if it
    fits better.
    """
    before = evaluate_keypoints(ground_truth, results, image_ids)
    rows = {"as it is": {metric: before[metric] for metric in METRICS}}
    for name in tqdm(CORRECTIONS, desc="what errors cost", unit="evaluation"):
        truth = without(ground_truth, diagnosis.missed) if name == "not found" else ground_truth
        after = evaluate_keypoints(truth, correct(results, diagnosis, name), image_ids)
        rows[name] = {metric: after[metric] for metric in METRICS}
        rows[name]["gain"] = None if min(before["AP"], after["AP"]) < 0 else after["AP"] - before["AP"]
    return rows


def in_words(gain):
    """A gain as text, such as +.012; a dash for None."""
    return "-" if gain is None else as_share(gain, signed=True)


def correct(results, diagnosis, name):
    """New results with one of CORRECTIONS made; "not found" concerns people and leaves results as they are."""
    corrected = [dict(result) for result in results]
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
    """A COCO object of the same images without the people of these annotation ids.

    For people without a detection at `MATCHING_OKS`, this changes nothing else: they have none at COCO's thresholds.
    """
    kept = [item for item in ground_truth.dataset["annotations"] if item["id"] not in annotations]
    return as_coco(ground_truth.dataset | {"annotations": kept})
