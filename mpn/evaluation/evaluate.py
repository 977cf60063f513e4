"""What `evaluate.py` does: predictions for a COCO split, official metrics and result files."""

import pathlib

from tqdm import tqdm

from mpn.data.annotations import read_annotations
from mpn.data.coco import annotation_file, check_images, hold_out, image_records, read_record, split_files
from mpn.errors import UserError
from mpn.evaluation.coco import check_labelled, evaluate_boxes, evaluate_keypoints, ground_truth
from mpn.evaluation.curves import write_curves
from mpn.evaluation.errors.report import write_error_report
from mpn.evaluation.models import check_models, load_model, model_settings
from mpn.evaluation.results import box_results, keypoint_results, of_category, results_file, write_keypoint_results
from mpn.evaluation.segmentation import count_pixels, silhouette_metrics
from mpn.evaluation.sources import (
    EMPTY,
    GROUND_TRUTH,
    GROUND_TRUTH_HEATMAPS,
    NETWORK,
    box_source,
    keypoint_source,
    oracle_people,
)
from mpn.files import make_replaceable, make_writable, write_json

# Images whose people are grouped together where the network is not needed.
IMAGES_AT_A_TIME = 64


def evaluate(options):
    """Runs a model over a split, prints the metrics and writes the result files.

    Args:
        options: namespace of `evaluate.py`.

    Returns:
        dict {"keypoints": {...}, "boxes": {...}, "silhouettes": {...}, "settings": {...}}, metrics in 0-1; only
        settings for test-dev. Boxes are measured unless they are the ground truth, silhouettes where keypoints are the
        network's.

    Raises:
        UserError: what a user can put right, such as options that do not go together.
    """
    _check(options)
    labelled = options.split != "test-dev"
    records, annotations = _records(options)
    if labelled:
        check_labelled(records, annotations.path)
        truth = ground_truth(annotations)
    folder = pathlib.Path(options.output)
    poses_path = results_file(folder, options.split, options.name)
    boxes_path = poses_path.with_name(poses_path.name.replace("person_keypoints", "person_boxes"))
    curves, errors = (pathlib.Path(name) if name else None for name in (options.curves, options.errors))
    for needed in filter(None, (folder, curves, errors)):  # before hours of predictions, not after
        make_writable(needed)
    for needed in filter(None, (poses_path, boxes_path, options.metrics)):
        make_replaceable(needed)
    image_ids = [record.id for record in records]
    add_boxes = box_source(options.boxes, image_ids, annotations.category)
    model = load_model(options, _parts(options), "max" if options.grouping == "oracle" else None)
    settings = model_settings(model, options)
    poses, boxes, silhouettes = [], [], []
    measured = labelled and options.keypoints == NETWORK
    add_keypoints = keypoint_source(options.keypoints, settings["image_size"], image_ids)
    found = find_people(model, records, add_keypoints, add_boxes, options.grouping == "oracle", with_silhouettes=True)
    progress = tqdm(records, desc=f"{options.split}, {options.grouping}", unit="image")
    for record, (people, silhouette_map) in zip(progress, found, strict=True):
        poses += keypoint_results(record.id, people)
        boxes += box_results(record.id, people)
        if measured:
            silhouettes.append(count_pixels(record, silhouette_map.mask(threshold=options.silhouette_threshold)))
    write_keypoint_results(poses_path, poses, image_ids, not labelled, annotations.category)
    write_json(boxes_path, of_category(boxes, annotations.category))
    metrics = {}
    if labelled:
        metrics["keypoints"] = evaluate_keypoints(truth, poses, image_ids)
        if options.boxes != GROUND_TRUTH:
            metrics["boxes"] = evaluate_boxes(truth, boxes, image_ids)
    if measured:
        metrics["silhouettes"] = silhouette_metrics(silhouettes)
    metrics["settings"] = {
        "images": len(records),
        "annotations": str(annotations.path),
        **{key: getattr(options, key) for key in ("split", "keypoints", "boxes", "grouping")},
        "held_out": options.held_out,
        "seed": None if options.held_out is None else options.seed,
        **settings,
        "silhouette_threshold": options.silhouette_threshold if measured else None,
    }
    if options.metrics:
        write_json(options.metrics, metrics, indent=2)
    print(f"{len(poses)} poses in {poses_path}, {len(boxes)} boxes in {boxes_path}")
    _print(metrics)
    if curves:
        write_curves(curves, truth, poses, image_ids)
    if errors:
        write_error_report(errors, truth, poses, image_ids, metrics["settings"])
    return metrics


def find_people(model, records, add_keypoints=None, add_boxes=None, oracle=False, with_silhouettes=False):
    """People of some images, from the network or from elsewhere, or part from each.

    Args:
        model: MultiPoseNet; an Ensemble too where the network finds both keypoints and boxes.
        records: list of ImageRecord.
        add_keypoints, add_boxes: see `keypoint_source` and `box_source`; None takes what the network finds.
        oracle: the best grouping there can be instead of the model's; it needs true boxes.
        with_silhouettes: also give the silhouettes of each image, which it has even where nobody was found.

    Yields:
        lists of Person, one an image; with silhouettes, pairs of such a list and the image's SilhouetteMap, or None
        where the network did not run.
    """
    if add_keypoints is add_boxes is None:
        yield from (model.predict(read_record(record), with_silhouettes) for record in records)
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
            people = [oracle_people(*pair) for pair in zip(detections, batch, strict=True)]
        else:
            people = model.group_all(detections)
        silhouettes = [found.silhouettes for found in detections]
        yield from zip(people, silhouettes, strict=True) if with_silhouettes else people


def _check(options):
    images_needed = NETWORK in (options.keypoints, options.boxes)
    if options.split == "test-dev" and {options.keypoints, options.boxes} & {GROUND_TRUTH, GROUND_TRUTH_HEATMAPS}:
        raise UserError("--split test-dev has no ground truth: --keypoints and --boxes must be network or files")
    if options.split == "test-dev" and (options.curves or options.errors):
        raise UserError("--split test-dev has no ground truth: --curves and --errors need val, train or --annotations")
    if options.grouping == "oracle" and options.boxes != GROUND_TRUTH:
        raise UserError("--grouping oracle compares with the ground truth: it needs --boxes ground-truth")
    if options.grouping == "prn-crop" and options.keypoints != NETWORK:
        raise UserError("--grouping prn-crop takes crops of the network's heatmaps: it needs --keypoints network")
    if options.annotations and images_needed:
        raise UserError(
            "--annotations has no images: --keypoints and --boxes must come from the ground truth or from files"
        )
    if options.held_out is not None and options.split != "train":
        raise UserError(
            f"--held-out takes the images of train that training left out: it needs --split train, not {options.split}"
        )
    check_models(options, [source == NETWORK for source in (options.keypoints, options.boxes)])


def _records(options):
    """Records to evaluate, in the file's order, and the Annotations that they are made of."""
    images_needed = NETWORK in (options.keypoints, options.boxes)
    if images_needed:
        path, folder = split_files(options.coco, options.split)
    else:
        path, folder = options.annotations or annotation_file(options.coco, options.split), None
    annotations = read_annotations(path)
    records = image_records(annotations, folder, options.limit)
    if not records:
        raise UserError(f"{path} lists no images: there is nothing to evaluate")
    if options.held_out is not None:
        # The training scripts draw from the same list: whole, but for --limit.
        _, records = hold_out(records, options.held_out, options.seed)
    if images_needed:
        check_images(records)
    return records, annotations


def _parts(options):
    """The stages whose weights an evaluation needs: a stage can be measured before the next one is trained."""
    parts = []
    if NETWORK in (options.keypoints, options.boxes):
        parts += ["keypoints"]  # with the backbone, which boxes need too
    if options.boxes == NETWORK:
        parts += ["person"]
    if options.grouping in ("prn", "prn-crop", "prn-argmax", "ucr", "geometric"):
        parts += ["prn"]
    return parts


def _print(metrics):
    settings = metrics["settings"]
    held_out = settings["held_out"] is not None
    which = f" (held out: share {settings['held_out']}, seed {settings['seed']})" if held_out else ""
    print(
        f"{settings['images']} images of {settings['split']}{which}; keypoints: {settings['keypoints']}, "
        f"boxes: {settings['boxes']}, grouping: {settings['grouping']}"
    )
    if {settings["keypoints"], settings["boxes"]} <= {GROUND_TRUTH, GROUND_TRUTH_HEATMAPS}:
        print("keypoints and boxes are ground truth: this measures grouping alone, not the whole system")
    for kind in ("keypoints", "boxes", "silhouettes"):
        if kind in metrics:
            print(f"{kind:>11}  " + "  ".join(f"{name} {value:.4f}" for name, value in metrics[kind].items()))
