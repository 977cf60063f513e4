"""What `evaluate.py` does: predictions for a COCO split, official metrics and result files."""

import pathlib

from tqdm import tqdm

from mpn.data.coco import annotation_file, load_annotations, load_coco, read_record
from mpn.errors import UserError
from mpn.evaluation.coco import evaluate_boxes, evaluate_keypoints, load_ground_truth
from mpn.evaluation.results import box_results, keypoint_results, results_file, write_keypoint_results
from mpn.evaluation.sources import (
    EMPTY,
    GROUND_TRUTH,
    GROUND_TRUTH_HEATMAPS,
    oracle_people,
    with_true_boxes,
    with_true_heatmaps,
    with_true_keypoints,
)
from mpn.files import make_writable, write_json
from mpn.inference.predictor import MultiPoseNet


def evaluate(options):
    """Runs a model over a split, prints the metrics and writes the result files.

    Args:
        options: namespace of `evaluate.py`.

    Returns:
        dict {"keypoints": {...}, "boxes": {...}, "settings": {...}}, metrics in 0-1; only settings for test-dev.

    Raises:
        UserError: what a user can put right, such as options that do not go together.
    """
    _check(options)
    records, path = _records(options)
    folder = pathlib.Path(options.output)
    poses_path = results_file(folder, options.split, options.name)
    ground_truth = None if options.split == "test-dev" else load_ground_truth(path)
    for needed in (folder, pathlib.Path(options.metrics or folder / "metrics").parent):
        make_writable(needed)  # before hours of predictions, not after
    model = MultiPoseNet.load(
        options.model,
        image_size=options.image_size,
        precision=options.precision,
        grouping="max" if options.grouping == "oracle" else options.grouping,
        parts=_parts(options),
        nms_threshold=options.nms_threshold,
        square=options.square,
    )
    poses, boxes = [], []
    for record in tqdm(records, desc=f"{options.split}, {options.grouping}", unit="image"):
        people = find_people(model, record, options.keypoints, options.boxes, options.grouping)
        poses += keypoint_results(record.id, people)
        boxes += box_results(record.id, people)
    image_ids = [record.id for record in records]
    write_keypoint_results(poses_path, poses, image_ids, zipped=options.split == "test-dev")
    boxes_path = poses_path.with_name(poses_path.name.replace("person_keypoints", "person_boxes"))
    write_json(boxes_path, boxes)
    print(f"{len(poses)} poses in {poses_path}, {len(boxes)} boxes in {boxes_path}")
    metrics = {}
    if options.split != "test-dev":
        metrics["keypoints"] = evaluate_keypoints(ground_truth, poses, image_ids)
        if options.boxes == "network":
            metrics["boxes"] = evaluate_boxes(ground_truth, boxes, image_ids)
    metrics["settings"] = {
        "images": len(records),
        "annotations": str(path),
        **{key: getattr(options, key) for key in ("split", "keypoints", "boxes", "grouping")},
        "image_size": list(model.config.image_size),
        "precision": model.precision,
        "nms_threshold": model.nms_threshold,
        "square": model.square,
    }
    _print(metrics)
    if options.metrics:
        write_json(options.metrics, metrics, indent=2)
    return metrics


def find_people(model, record, keypoints="network", boxes="network", grouping="prn"):
    """People of one image, from the network or from the ground truth, or part from each.

    Args:
        model: MultiPoseNet.
        record: ImageRecord.
        keypoints: of KEYPOINT_SOURCES.
        boxes: of BOX_SOURCES.
        grouping: of GROUPINGS, or "oracle", which needs true boxes.

    Returns:
        list of Person.
    """
    if keypoints == boxes == "network":
        return model.predict(read_record(record))
    detections = EMPTY if "network" not in (keypoints, boxes) else model.detect(read_record(record))
    if keypoints == GROUND_TRUTH:
        detections = with_true_keypoints(detections, record)
    elif keypoints == GROUND_TRUTH_HEATMAPS:
        detections = with_true_heatmaps(detections, record, model.config.image_size)
    if boxes == GROUND_TRUTH:
        detections = with_true_boxes(detections, record)
    return oracle_people(detections, record) if grouping == "oracle" else model.group(detections)


def _check(options):
    images_needed = "network" in (options.keypoints, options.boxes)
    if options.split == "test-dev" and (options.keypoints, options.boxes) != ("network", "network"):
        raise UserError("--split test-dev has no ground truth: --keypoints and --boxes must be network")
    if options.grouping == "oracle" and options.boxes != GROUND_TRUTH:
        raise UserError("--grouping oracle compares with the ground truth: it needs --boxes ground-truth")
    if options.annotations and images_needed:
        raise UserError("--annotations has no images: it needs --keypoints and --boxes from the ground truth")


def _records(options):
    """Records and the annotations file they come from."""
    if options.annotations:
        return load_annotations(options.annotations, limit=options.limit), options.annotations
    path = annotation_file(options.coco, options.split)
    if "network" in (options.keypoints, options.boxes):
        return load_coco(options.coco, options.split, options.limit), path
    return load_annotations(path, limit=options.limit), path


def _parts(options):
    """The stages whose weights an evaluation needs."""
    parts = []
    if "network" in (options.keypoints, options.boxes):
        parts += ["keypoints", "person"]
    if options.grouping in ("prn", "prn-argmax", "ucr"):
        parts += ["prn"]
    return parts


def _print(metrics):
    settings = metrics["settings"]
    print(
        f"{settings['images']} images of {settings['split']}; keypoints: {settings['keypoints']}, "
        f"boxes: {settings['boxes']}, grouping: {settings['grouping']}"
    )
    if "network" not in (settings["keypoints"], settings["boxes"]):
        print("keypoints and boxes are ground truth: this measures grouping alone, not the whole system")
    for kind in ("keypoints", "boxes"):
        if kind in metrics:
            print(f"{kind:>9}  " + "  ".join(f"{name} {value:.4f}" for name, value in metrics[kind].items()))
