"""COCO's official metrics, computed by pycocotools."""

import contextlib
import io

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mpn.data.coco import PERSON_CATEGORY
from mpn.files import read_json

# Names of the numbers in `COCOeval.stats`, in its order.
KEYPOINT_METRICS = ("AP", "AP50", "AP75", "APM", "APL", "AR", "AR50", "AR75", "ARM", "ARL")
BOX_METRICS = ("AP", "AP50", "AP75", "APS", "APM", "APL", "AR1", "AR10", "AR100", "ARS", "ARM", "ARL")


def load_ground_truth(path):
    """An annotations file, plain or .gz, as a pycocotools COCO object.

    Raises:
        UserError: the file is missing or not JSON.
    """
    coco = COCO()
    coco.dataset = read_json(path, "COCO annotations")
    coco.dataset.setdefault("info", {})  # loadRes copies it, and small files leave it out
    for annotation in coco.dataset.get("annotations", ()):
        annotation.setdefault("iscrowd", 0)
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def evaluate_keypoints(ground_truth, results, image_ids):
    """The ten official keypoint numbers.

    Args:
        ground_truth: COCO object.
        results: list of dicts {image_id, category_id, keypoints (51 numbers), score}.
        image_ids: images to count; those without results count as empty.

    Returns:
        dict of KEYPOINT_METRICS to floats in 0-1; -1 where no person is of that size.
    """
    return _evaluate(ground_truth, results, image_ids, "keypoints", KEYPOINT_METRICS)


def evaluate_boxes(ground_truth, results, image_ids):
    """The twelve official detection numbers for the person category.

    Args:
        ground_truth, image_ids: as for `evaluate_keypoints`.
        results: list of dicts {image_id, category_id, bbox [x, y, w, h], score}.

    Returns:
        dict of BOX_METRICS to floats in 0-1; -1 where no person is of that size.
    """
    return _evaluate(ground_truth, results, image_ids, "bbox", BOX_METRICS)


def _evaluate(ground_truth, results, image_ids, kind, names):
    with contextlib.redirect_stdout(io.StringIO()):
        # loadRes cannot take an empty list: one result that matches nothing stands in.
        placeholder = {"image_id": image_ids[0], "category_id": PERSON_CATEGORY, "score": 0.0}
        placeholder |= {"bbox": [0, 0, 0, 0]} if kind == "bbox" else {"keypoints": [0] * 51}
        found = ground_truth.loadRes(results or [placeholder])
        evaluation = COCOeval(ground_truth, found, kind)
        evaluation.params.imgIds = sorted(image_ids)
        evaluation.params.catIds = [PERSON_CATEGORY]
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return {name: float(value) for name, value in zip(names, np.asarray(evaluation.stats), strict=True)}
