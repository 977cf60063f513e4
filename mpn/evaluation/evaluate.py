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
    NETWORK,
    box_source,
    keypoint_source,
    oracle_people,
)
from mpn.files import make_writable, write_json
from mpn.inference.predictor import MultiPoseNet

# Images whose people are grouped together where the network is not needed.
IMAGES_AT_A_TIME = 64


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
    image_ids = [record.id for record in records]
    add_boxes = box_source(options.boxes, image_ids)
    model = MultiPoseNet.load(
        options.model,
        image_size=options.image_size,
        precision=options.precision,
        grouping="max" if options.grouping == "oracle" else options.grouping,
        parts=_parts(options),
        nms_threshold=options.nms_threshold,
        square=options.square,
        window=options.window,
        assignment=options.assignment,
    )
    poses, boxes = [], []
    add_keypoints = keypoint_source(options.keypoints, model.config.image_size, image_ids)
    found = find_people(model, records, add_keypoints, add_boxes, options.grouping == "oracle")
    progress = tqdm(records, desc=f"{options.split}, {options.grouping}", unit="image")
    for record, people in zip(progress, found, strict=True):
        poses += keypoint_results(record.id, people)
        boxes += box_results(record.id, people)
    write_keypoint_results(poses_path, poses, image_ids, zipped=options.split == "test-dev")
    boxes_path = poses_path.with_name(poses_path.name.replace("person_keypoints", "person_boxes"))
    write_json(boxes_path, boxes)
    print(f"{len(poses)} poses in {poses_path}, {len(boxes)} boxes in {boxes_path}")
    metrics = {}
    if options.split != "test-dev":
        metrics["keypoints"] = evaluate_keypoints(ground_truth, poses, image_ids)
        if options.boxes != GROUND_TRUTH:
            metrics["boxes"] = evaluate_boxes(ground_truth, boxes, image_ids)
    metrics["settings"] = {
        "images": len(records),
        "annotations": str(path),
        **{key: getattr(options, key) for key in ("split", "keypoints", "boxes", "grouping")},
        "image_size": list(model.config.image_size),
        "precision": model.precision,
        "nms_threshold": model.nms_threshold,
        "square": model.square,
        "window": model.config.prn_window,
        "assignment": model.assignment,
    }
    _print(metrics)
    if options.metrics:
        write_json(options.metrics, metrics, indent=2)
    return metrics


def find_people(model, records, add_keypoints=None, add_boxes=None, oracle=False):
    """People of some images, from the network or from elsewhere, or part from each.

    Args:
        model: MultiPoseNet.
        records: list of ImageRecord.
        add_keypoints, add_boxes: see `keypoint_source` and `box_source`; None takes what the network finds.
        oracle: the best grouping there can be instead of the model's; it needs true boxes.

    Yields:
        lists of Person, one an image.
    """
    if add_keypoints is add_boxes is None:
        yield from (model.predict(read_record(record)) for record in records)
        return
    network = add_keypoints is None or add_boxes is None

    def detections_of(record):
        found = model.detect(read_record(record)) if network else EMPTY
        for add in (add_keypoints, add_boxes):
            found = add(found, record) if add else found
        return found

    at_a_time = 1 if network else IMAGES_AT_A_TIME
    for start in range(0, len(records), at_a_time):
        batch = records[start : start + at_a_time]
        detections = [detections_of(record) for record in batch]
        if oracle:
            yield from (oracle_people(*pair) for pair in zip(detections, batch, strict=True))
        else:
            yield from model.group_all(detections)


def _check(options):
    images_needed = NETWORK in (options.keypoints, options.boxes)
    if options.split == "test-dev" and {options.keypoints, options.boxes} & {GROUND_TRUTH, GROUND_TRUTH_HEATMAPS}:
        raise UserError("--split test-dev has no ground truth: --keypoints and --boxes must be network or files")
    if options.grouping == "oracle" and options.boxes != GROUND_TRUTH:
        raise UserError("--grouping oracle compares with the ground truth: it needs --boxes ground-truth")
    if options.annotations and images_needed:
        raise UserError(
            "--annotations has no images: --keypoints and --boxes must come from the ground truth or from files"
        )


def _records(options):
    """Records and the annotations file they come from."""
    if options.annotations:
        return load_annotations(options.annotations, limit=options.limit), options.annotations
    path = annotation_file(options.coco, options.split)
    if NETWORK in (options.keypoints, options.boxes):
        return load_coco(options.coco, options.split, options.limit), path
    return load_annotations(path, limit=options.limit), path


def _parts(options):
    """The stages whose weights an evaluation needs."""
    parts = []
    if NETWORK in (options.keypoints, options.boxes):
        parts += ["keypoints", "person"]
    if options.grouping in ("prn", "prn-argmax", "ucr", "geometric"):
        parts += ["prn"]
    return parts


def _print(metrics):
    settings = metrics["settings"]
    print(
        f"{settings['images']} images of {settings['split']}; keypoints: {settings['keypoints']}, "
        f"boxes: {settings['boxes']}, grouping: {settings['grouping']}"
    )
    if {settings["keypoints"], settings["boxes"]} <= {GROUND_TRUTH, GROUND_TRUTH_HEATMAPS}:
        print("keypoints and boxes are ground truth: this measures grouping alone, not the whole system")
    for kind in ("keypoints", "boxes"):
        if kind in metrics:
            print(f"{kind:>9}  " + "  ".join(f"{name} {value:.4f}" for name, value in metrics[kind].items()))
