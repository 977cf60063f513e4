"""COCO's official metrics, computed by pycocotools."""

import contextlib
import io

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mpn.data.annotations import PERSON_CATEGORY, read_annotations
from mpn.data.coco import image_records
from mpn.errors import UserError
from mpn.skeleton import NUM_KEYPOINTS

# Names of the numbers in `COCOeval.stats`, in its order.
KEYPOINT_METRICS = ("AP", "AP50", "AP75", "APM", "APL", "AR", "AR50", "AR75", "ARM", "ARL")
BOX_METRICS = ("AP", "AP50", "AP75", "APS", "APM", "APL", "AR1", "AR10", "AR100", "ARS", "ARM", "ARL")

# A pixel coordinate far from everybody in every image.
_NOWHERE = -1e6


def load_labels(path, limit=None):
    """ImageRecords, without paths, of the first `limit` images of an annotations file, and all its ground truth.

    Raises as `read_annotations` and `check_labelled`.
    """
    annotations = read_annotations(path)
    records = image_records(annotations, limit=limit)
    check_labelled(records, path)
    return records, ground_truth(annotations)


def ground_truth(annotations):
    """Annotations as a pycocotools COCO object, with the file's image ids and PERSON_CATEGORY for people.

    People are numbered from 1 in the file's order, since 0 means "no match" to pycocotools.
    """
    columns = {
        "image_id": [annotations.image_ids[owner] for owner in annotations.owners],
        "bbox": annotations.boxes.tolist(),
        "area": annotations.areas.tolist(),
        "iscrowd": annotations.crowd.astype(int).tolist(),
        "keypoints": annotations.keypoints.reshape(-1, 3 * NUM_KEYPOINTS).tolist(),
        "num_keypoints": np.count_nonzero(annotations.keypoints[..., 2], axis=1).tolist(),
    }
    people = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    for number, person in enumerate(people, start=1):
        person |= {"id": number, "category_id": PERSON_CATEGORY}
    images = [
        {"id": identity, "width": width, "height": height}
        for identity, (width, height) in zip(annotations.image_ids, annotations.sizes.tolist(), strict=True)
    ]
    categories = [{"id": PERSON_CATEGORY, "name": "person"}]
    return as_coco({"info": {}, "categories": categories, "images": images, "annotations": people})


def check_labelled(records, path):
    """Raises UserError if nobody has a labelled keypoint: COCO's metrics would be -1."""
    if not any(record.labelled.any() for record in records):
        raise UserError(
            f"nobody in the {len(records)} images taken of {path} has a labelled keypoint, so there is nothing to "
            "measure poses by: take more images, or annotations with keypoints"
        )


def as_coco(content):
    """The content of an annotations file as a pycocotools COCO object."""
    coco = COCO()
    coco.dataset = content
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def evaluate_keypoints(ground_truth, results, image_ids):
    """The ten official keypoint metrics: KEYPOINT_METRICS -> float in 0-1, or -1 where nobody has that size.

    `ground_truth` is a COCO object; `results` are dicts {image_id, category_id, keypoints (51 numbers), score}. Only
    `image_ids` count; those without results count as empty.
    """
    return _evaluate(ground_truth, results, image_ids, "keypoints", KEYPOINT_METRICS)


def evaluate_boxes(ground_truth, results, image_ids):
    """The twelve BOX_METRICS of results with bbox [x, y, w, h]; otherwise as `evaluate_keypoints`."""
    return _evaluate(ground_truth, results, image_ids, "bbox", BOX_METRICS)


def accumulate(ground_truth, results, image_ids, kind="keypoints", thresholds=None):
    """pycocotools' COCOeval, evaluated and accumulated, for more than the metrics; arguments as `evaluate_keypoints`.

    It numbers results from 1 and leaves the list unchanged; for an empty list it has one result that matches nothing.
    `kind` is "keypoints" or "bbox". `thresholds` of OKS or IoU ascend; None takes COCO's ten, .50 to .95.
    """
    # loadRes fails on an empty list and changes the dicts it is given.
    placeholder = {"image_id": image_ids[0], "category_id": PERSON_CATEGORY, "score": 0.0}
    placeholder |= {"bbox": [0, 0, 0, 0]} if kind == "bbox" else {"keypoints": [_NOWHERE] * (3 * NUM_KEYPOINTS)}
    with contextlib.redirect_stdout(io.StringIO()):
        found = ground_truth.loadRes([dict(result) for result in results] or [placeholder])
        evaluation = COCOeval(ground_truth, found, kind)
        # pycocotools sorts ids with NumPy, whose integers are below 2^63; objects keep Python's.
        evaluation.params.imgIds = np.array(sorted(image_ids), object)
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
    return dict(zip(names, map(float, evaluation.stats), strict=True))
