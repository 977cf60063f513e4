"""COCO's official metrics, computed by pycocotools."""

import contextlib
import io

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mpn.data.coco import PERSON_CATEGORY
from mpn.errors import UserError
from mpn.files import read_json
from mpn.skeleton import NUM_KEYPOINTS

# Names of the numbers in `COCOeval.stats`, in its order.
KEYPOINT_METRICS = ("AP", "AP50", "AP75", "APM", "APL", "AR", "AR50", "AR75", "ARM", "ARL")
BOX_METRICS = ("AP", "AP50", "AP75", "APS", "APM", "APL", "AR1", "AR10", "AR100", "ARS", "ARM", "ARL")

# A coordinate in pixels, so far from every image that nobody is near.
_NOWHERE = -1e6


def load_ground_truth(path):
    """An annotations file, plain or .gz, as a pycocotools COCO object.

    What pycocotools needs and small files leave out is filled in: categories, ids of annotations, areas, crowd flags
    and numbers of keypoints.

    Raises:
        UserError: the file is missing or not JSON, or has no images or annotations, or ids that are no integers.
    """
    content = read_json(path, "COCO annotations")
    if not isinstance(content, dict) or not content.get("images") or not isinstance(content.get("annotations"), list):
        raise UserError(f"{path} has no images or no annotations to evaluate against")
    content.setdefault("info", {})
    content.setdefault("categories", [{"id": PERSON_CATEGORY, "name": "person"}])
    for number, annotation in enumerate(content["annotations"], start=1):
        width, height = annotation["bbox"][2:]
        annotation.setdefault("id", number)
        annotation.setdefault("category_id", PERSON_CATEGORY)
        annotation.setdefault("iscrowd", 0)
        annotation.setdefault("area", width * height)
        annotation.setdefault("keypoints", [0] * (3 * NUM_KEYPOINTS))
        annotation.setdefault("num_keypoints", sum(v > 0 for v in annotation["keypoints"][2::3]))
    if not all(isinstance(item["id"], int) for item in (*content["images"], *content["annotations"])):
        raise UserError(f"{path} has ids that are not whole numbers")
    return as_coco(content)


def as_coco(content):
    """The content of an annotations file, complete as `load_ground_truth` makes it, as a pycocotools COCO object."""
    coco = COCO()
    coco.dataset = content
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


def accumulate(ground_truth, results, image_ids, kind="keypoints", thresholds=None):
    """pycocotools' own evaluation of the person category, for those who need more of it than its numbers.

    Args:
        ground_truth, image_ids: as for `evaluate_keypoints`.
        results: as for `evaluate_keypoints` or `evaluate_boxes`. They stay as they are, and the id of one is its index
            + 1, as the attribute `cocoDt` and whatever names a detection has it.
        kind: "keypoints" or "bbox".
        thresholds: of OKS or IoU, ascending; None takes COCO's ten, .50 to .95.

    Returns:
        COCOeval, evaluated and accumulated. Without any results it has one, of score 0, that matches nothing.
    """
    # loadRes cannot take an empty list, and writes into what it takes.
    placeholder = {"image_id": image_ids[0], "category_id": PERSON_CATEGORY, "score": 0.0}
    placeholder |= {"bbox": [0, 0, 0, 0]} if kind == "bbox" else {"keypoints": [_NOWHERE] * (3 * NUM_KEYPOINTS)}
    with contextlib.redirect_stdout(io.StringIO()):
        found = ground_truth.loadRes([dict(result) for result in results] or [placeholder])
        evaluation = COCOeval(ground_truth, found, kind)
        evaluation.params.imgIds = sorted(image_ids)
        evaluation.params.catIds = [PERSON_CATEGORY]
        if thresholds is not None:
            evaluation.params.iouThrs = np.asarray(thresholds, np.float64)
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def _evaluate(ground_truth, results, image_ids, kind, names):
    evaluation = accumulate(ground_truth, results, image_ids, kind)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.summarize()
    return {name: float(value) for name, value in zip(names, np.asarray(evaluation.stats), strict=True)}
