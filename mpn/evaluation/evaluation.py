"""Evaluates a model on a split of COCO: official metrics and result files."""

import dataclasses
import pathlib

from tqdm import tqdm

from mpn.data.annotations import read_annotations
from mpn.data.coco import annotation_file, check_images, hold_out, image_folder, image_records, split_files
from mpn.errors import UserError
from mpn.evaluation.coco import check_labelled, evaluate_boxes, evaluate_keypoints, ground_truth
from mpn.evaluation.curves import write_curves
from mpn.evaluation.errors.report import write_error_report
from mpn.evaluation.results import box_results, keypoint_results, of_category, results_file, write_keypoint_results
from mpn.evaluation.segmentation import pixel_counts, silhouette_metrics, true_silhouettes
from mpn.evaluation.sources import (
    BOX_SOURCES,
    GROUND_TRUTH,
    GROUND_TRUTH_HEATMAPS,
    KEYPOINT_SOURCES,
    NETWORK,
    box_source,
    by_input_size,
    find_people,
    keypoint_source,
)
from mpn.files import make_replaceable, make_writable, write_json
from mpn.inference.ensemble import OKS_THRESHOLD, Ensemble
from mpn.inference.export_folder import is_export
from mpn.inference.grouping import GROUPINGS
from mpn.inference.multiposenet import MultiPoseNet
from mpn.inference.refiner import refined
from mpn.inference.views import Augmentation
from mpn.models.person import NMS_THRESHOLD
from mpn.precision import INFERENCE_PRECISIONS
from mpn.settings import (
    PATH,
    SIDES,
    SWITCH,
    TEXT,
    TEXTS,
    Settings,
    SettingsError,
    Views,
    choice,
    option,
    positive_int,
    same_option,
    share,
)
from mpn.training.settings import Training

# Paths and names: `_describe` leaves them out of the settings.
_NO_SETTINGS = ("coco", "annotations", "model", "output", "name", "metrics", "curves", "errors")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation(Settings):
    """Settings of an evaluation. Each field is the option of `evaluate.py` of that name; `--help` describes it.

    Paths may be str or pathlib.Path, `model` may be one path or several, and `image_size` is (shorter, longest) side.
    """

    coco: str | None = same_option(Training, "coco")
    annotations: str | None = option(
        None, PATH, "COCO keypoints JSON (or .gz) instead of --coco: no images", metavar="FILE"
    )
    split: str = option("val", choice("val", "test-dev", "train"), "which images")
    held_out: float | None = option(
        None, share, "only images of --split train that training with --hold-out SHARE left out", metavar="SHARE"
    )
    model: tuple = option(
        ("models/multiposenet",),
        TEXTS,
        "model directory, export, or the name of a shipped model; given several times, an ensemble",
        metavar="DIR",
    )
    oks_threshold: float | None = option(
        None,
        share,
        f"OKS above which two poses are one person; default: {OKS_THRESHOLD} for an ensemble, off for one model",
    )
    refine: str | None = option(
        None, TEXT, "look at each person again with the refinement network in this directory (§4.2)", metavar="DIR"
    )
    keypoints: str = option(
        NETWORK,
        TEXT,
        f"source of keypoints: {', '.join(KEYPOINT_SOURCES)} or a JSON list of image_id, joint, x, y, score",
        metavar="SOURCE",
    )
    boxes: str = option(
        NETWORK, TEXT, f"source of person boxes: {', '.join(BOX_SOURCES)} or a COCO detections JSON", metavar="SOURCE"
    )
    grouping: str = option("prn", choice(*GROUPINGS, "oracle"), "what joins keypoints and boxes, see Table 3")
    limit: int | None = option(None, positive_int, "first N images only", metavar="N")
    image_size: tuple | None = option(None, SIDES, "SHORTER [LONGEST] side of images; default: the model's")
    precision: str = option(
        "auto", choice(*INFERENCE_PRECISIONS), "auto: half precision if the device is fast in it, else float32"
    )
    batch: int = option(
        1, positive_int, "images of one padded size that go through the network together; for a GPU", metavar="N"
    )
    nms_threshold: float = option(NMS_THRESHOLD, share, "IoU above which the worse of two boxes is dropped")
    scales: tuple = same_option(Views, "scales")
    mirror: bool = same_option(Views, "mirror")
    crops: int = same_option(Views, "crops")
    square: bool = option(False, SWITCH, "pad images to squares, as stage 1 does; slower")
    silhouette_threshold: float = option(0.5, share, "above which the silhouette channel says person")
    output: str = option("results", PATH, "folder of the result files", metavar="DIR")
    name: str = option("mpn", TEXT, "your method's name in the names of the result files")
    metrics: str | None = option(None, PATH, "write every figure printed, in 0-1", metavar="FILE.json")
    curves: str | None = option(None, PATH, "write recall-precision curves of keypoints: .csv and .png", metavar="DIR")
    errors: str | None = option(
        None, PATH, "write which errors poses have and what each kind costs: .json and .png", metavar="DIR"
    )

    def check(self):
        test_dev, held_out = self.split == "test-dev", self.held_out is not None
        augmented = not Augmentation(self.scales, self.mirror, self.crops).is_single
        truth = {self.keypoints, self.boxes} & {GROUND_TRUTH, GROUND_TRUTH_HEATMAPS}
        network_alone = self.keypoints == self.boxes == NETWORK
        both = "{keypoints} and {boxes} must be network"
        for refused, why in (
            (
                test_dev and truth,
                "{split} test-dev has no ground truth: {keypoints} and {boxes} must be network or files",
            ),
            (
                test_dev and (self.curves or self.errors),
                "{split} test-dev has no ground truth: {curves} and {errors} need val, train or {annotations}",
            ),
            (
                self.grouping == "oracle" and self.boxes != GROUND_TRUTH,
                "{grouping} oracle compares with the ground truth: it needs {boxes} ground-truth",
            ),
            (
                self.grouping == "prn-crop" and self.keypoints != NETWORK,
                "{grouping} prn-crop takes crops of the network's heatmaps: it needs {keypoints} network",
            ),
            (
                self.annotations and self.needs_images,
                "{annotations} has no images: {keypoints} and {boxes} must come from the ground truth or from files",
            ),
            (
                held_out and self.split != "train",
                "{held_out} takes the images of train that training left out: it needs {split} train",
            ),
            (
                augmented and not self.needs_images,
                "{scales}, {mirror} and {crops} change what the network sees: {keypoints} or {boxes} must be network",
            ),
            (
                self.is_ensemble and not network_alone,
                f"several {{model}}, or {{oks_threshold}}, need people whom each model finds by itself: {both}",
            ),
            (self.refine and not network_alone, f"{{refine}} improves what the network finds: {both}"),
            (
                self.batch > 1 and augmented,
                "{batch} is for single views of images: leave it out, or {scales}, {mirror} and {crops}",
            ),
            (
                self.batch > 1 and not self.needs_images,
                "{batch} is for the network, which does not run: {keypoints} or {boxes} must be network",
            ),
        ):
            if refused:
                raise SettingsError(why)

    @property
    def needs_images(self):
        """Whether the network must run, to find keypoints or boxes."""
        return NETWORK in (self.keypoints, self.boxes)

    @property
    def is_ensemble(self):
        """Whether OKS-NMS merges the people of several models, or of one."""
        return len(self.model) > 1 or self.oks_threshold is not None

    @property
    def parts(self):
        """The parts whose weights are needed, so that a stage can be measured before the next one is trained."""
        parts = ["keypoints"] * self.needs_images  # with the backbone, which boxes need too
        parts += ["person"] * (self.boxes == NETWORK)
        return parts + ["prn"] * (self.grouping in ("prn", "prn-crop", "prn-argmax", "ucr", "geometric"))


def evaluate(evaluation):
    """Runs the model of an Evaluation over a split, prints the metrics and writes the result files.

    Returns {"keypoints": {...}, "boxes": {...}, "silhouettes": {...}, "settings": {...}}, metrics in 0-1. Boxes are
    measured unless they are the ground truth, and silhouettes where the network finds the keypoints. On test-dev there
    are only settings. Raises UserError where a file is missing or wrong.
    """
    records, annotations = _records(evaluation)
    image_ids = [record.id for record in records]
    labelled = evaluation.split != "test-dev"
    if labelled:
        check_labelled(records, annotations.path)
        truth = ground_truth(annotations)
    poses_path, boxes_path = _output_files(evaluation)
    add_boxes = box_source(evaluation.boxes, image_ids, annotations.category)
    model = load_model(evaluation)
    described = _describe(model, evaluation)
    add_keypoints = keypoint_source(evaluation.keypoints, described["image_size"], image_ids)
    measured = labelled and evaluation.keypoints == NETWORK
    poses, boxes, silhouettes = _results(model, evaluation, records, (add_keypoints, add_boxes), measured)
    write_keypoint_results(poses_path, poses, not labelled, annotations.category)
    write_json(boxes_path, of_category(boxes, annotations.category))
    metrics = {}
    if labelled:
        metrics["keypoints"] = evaluate_keypoints(truth, poses, image_ids)
        if evaluation.boxes != GROUND_TRUTH:
            metrics["boxes"] = evaluate_boxes(truth, boxes, image_ids)
    if measured:
        metrics["silhouettes"] = silhouette_metrics(silhouettes)
    metrics["settings"] = {
        "images": len(records),
        "annotations": str(annotations.path),
        **described,
        "silhouette_threshold": evaluation.silhouette_threshold if measured else None,
    }
    if evaluation.metrics:
        write_json(evaluation.metrics, metrics, indent=2)
    print(f"{len(poses)} poses in {poses_path}, {len(boxes)} boxes in {boxes_path}")
    _print(metrics)
    if evaluation.curves:
        write_curves(pathlib.Path(evaluation.curves), truth, poses, image_ids)
    if evaluation.errors:
        write_error_report(evaluation.errors, truth, poses, image_ids, metrics["settings"], records)
    return metrics


def _results(model, evaluation, records, sources, measured):
    """COCO's poses and boxes, in the order of the records, and if `measured` the pixels of silhouettes."""
    poses, boxes, silhouettes = [], [], []
    visited = by_input_size(model, records) if evaluation.batch > 1 else records
    found = find_people(model, visited, *sources, evaluation.grouping == "oracle", evaluation.batch)
    progress = tqdm(visited, desc=f"{evaluation.split}, {evaluation.grouping}", unit="image")
    for record, (people, silhouette_map) in zip(progress, found, strict=True):
        poses += keypoint_results(record.id, people)
        boxes += box_results(record.id, people)
        if measured:
            found_mask = silhouette_map.mask(threshold=evaluation.silhouette_threshold)
            silhouettes.append(pixel_counts(*true_silhouettes(record), found_mask))
    place = {record.id: number for number, record in enumerate(records)}
    for results in (poses, boxes):
        results.sort(key=lambda result: place[result["image_id"]])
    return poses, boxes, silhouettes


def load_model(evaluation):
    """Loads the MultiPoseNet or Ensemble of an Evaluation, and its refiner; raises as `MultiPoseNet.load`."""
    options = {name: getattr(evaluation, name) for name in ("image_size", "precision", "nms_threshold", "square")}
    options["augmentation"] = Augmentation(evaluation.scales, evaluation.mirror, evaluation.crops)
    # "max" needs no PRN, and the oracle replaces the grouping.
    options["grouping"] = "max" if evaluation.grouping == "oracle" else evaluation.grouping
    if evaluation.batch > 1 and any(map(is_export, evaluation.model)):
        raise SettingsError("an export takes one image at a time: leave out {batch}")
    if evaluation.is_ensemble:
        threshold = OKS_THRESHOLD if evaluation.oks_threshold is None else evaluation.oks_threshold
        model = Ensemble.load(evaluation.model, threshold, parts=evaluation.parts, **options)
    else:
        model = MultiPoseNet.load(evaluation.model[0], parts=evaluation.parts, **options)
    return refined(model, evaluation.refine, evaluation.precision, evaluation.mirror)


def _describe(model, evaluation):
    """The settings as plain values; where the models of an ensemble differ, a list with the value of each."""
    settings = {name: value for name, value in vars(evaluation).items() if name not in _NO_SETTINGS}
    each = [
        {
            "image_size": list(one.config.image_size),
            "precision": one.precision,
            "margin": one.config.prn_margin,
            "window": one.config.prn_window,
            "assignment": one.assignment,
        }
        for one in getattr(model, "models", [model])
    ]
    for name, value in each[0].items():
        values = [one[name] for one in each]
        settings[name] = value if values == [value] * len(values) else values
    return settings | {
        "models": list(evaluation.model),
        "scales": list(evaluation.scales),
        "oks_threshold": getattr(model, "oks_threshold", None),
    }


def _records(evaluation):
    """The ImageRecords to evaluate, in the file's order, and the Annotations they come from."""
    if evaluation.needs_images:
        path, folder = split_files(evaluation.coco, evaluation.split)
    elif evaluation.annotations:
        path, folder = evaluation.annotations, None
    else:  # images are optional: `errors` draws them behind the worst poses
        path = annotation_file(evaluation.coco, evaluation.split)
        folder = image_folder(evaluation.coco, evaluation.split) if evaluation.errors else None
    annotations = read_annotations(path)
    records = image_records(annotations, folder, evaluation.limit)
    if not records:
        raise UserError(f"{path} lists no images: there is nothing to evaluate")
    if evaluation.held_out is not None:
        # Training splits the same list, so --limit must be the training's.
        _, records = hold_out(records, evaluation.held_out)
    if evaluation.needs_images:
        check_images(records)
    return records, annotations


def _output_files(evaluation):
    """The paths of the pose and box files. Raises now, not after hours of work, if a file cannot be written."""
    poses = results_file(evaluation.output, evaluation.split, evaluation.name)
    boxes = poses.with_name(poses.name.replace("person_keypoints", "person_boxes"))
    for folder in filter(None, (evaluation.output, evaluation.curves, evaluation.errors)):
        make_writable(folder)
    for file in filter(None, (poses, boxes, evaluation.metrics)):
        make_replaceable(file)
    return poses, boxes


def _print(metrics):
    settings = metrics["settings"]
    which = "" if settings["held_out"] is None else f" (held out: share {settings['held_out']})"
    print(
        f"{settings['images']} images of {settings['split']}{which}; keypoints: {settings['keypoints']}, "
        f"boxes: {settings['boxes']}, grouping: {settings['grouping']}"
    )
    if {settings["keypoints"], settings["boxes"]} <= {GROUND_TRUTH, GROUND_TRUTH_HEATMAPS}:
        print("keypoints and boxes are ground truth: this measures grouping alone, not the whole system")
    for kind in ("keypoints", "boxes", "silhouettes"):
        if kind in metrics:
            print(f"{kind:>11}  " + "  ".join(f"{name} {value:.4f}" for name, value in metrics[kind].items()))
