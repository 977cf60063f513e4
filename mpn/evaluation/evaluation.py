"""Evaluates a model on a split of COCO: official metrics and result files."""

import dataclasses
import pathlib

from tqdm import tqdm

from mpn import kinds
from mpn.data.annotations import read_annotations
from mpn.data.coco import annotation_file, check_images, hold_out, image_folder, image_records, split_files
from mpn.errors import UserError
from mpn.evaluation import sources
from mpn.evaluation.coco import check_labelled, evaluate_boxes, evaluate_keypoints, ground_truth
from mpn.evaluation.curves import write_curves
from mpn.evaluation.errors.report import write_error_report
from mpn.evaluation.results import box_results, keypoint_results, of_category, results_file, write_keypoint_results
from mpn.evaluation.segmentation import pixel_counts, silhouette_metrics, true_silhouettes
from mpn.files import make_replaceable, make_writable, write_json
from mpn.inference.ensemble import OKS_THRESHOLD, Ensemble
from mpn.inference.export_folder import is_export
from mpn.inference.grouping import GROUPINGS
from mpn.inference.multiposenet import MultiPoseNet
from mpn.inference.refiner import refined
from mpn.inference.views import Augmentation
from mpn.models.person import NMS_THRESHOLD
from mpn.precision import INFERENCE_PRECISIONS
from mpn.settings import Settings, SettingsError, option, same_option
from mpn.training.settings import Training

# Options of `MultiPoseNet.load`.
_OF_MODEL = ("image_size", "precision", "nms_threshold", "square", "augmentation", "parts")

# Paths and names: `_describe` leaves them out of the settings.
_NO_SETTINGS = ("coco", "annotations", "model", "output", "name", "metrics", "curves", "errors")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation(Settings):
    """Settings of an evaluation. Each field is the option of `evaluate.py` of that name; `--help` describes it.

    Paths may be str or pathlib.Path, `model` may be one path or several, and `image_size` is (shorter, longest) side.
    """

    coco: str | None = same_option(Training, "coco")
    annotations: str | None = option(
        None, kinds.PATH, "COCO keypoints JSON (or .gz) instead of --coco: no images", metavar="FILE"
    )
    split: str = option("val", kinds.choice("val", "test-dev", "train"), "which images")
    held_out: float | None = option(
        None, kinds.share, "only images of --split train that training with --hold-out SHARE left out", metavar="SHARE"
    )
    model: tuple = option(
        ("models/multiposenet",),
        kinds.TEXTS,
        "model directory, export, or the name of a shipped model; given several times, an ensemble",
        metavar="DIR",
    )
    oks_threshold: float | None = option(
        None,
        kinds.share,
        f"OKS above which two poses are one person; default: {OKS_THRESHOLD} for an ensemble, off for one model",
    )
    refine: str | None = option(
        None, kinds.TEXT, "look at each person again with the refinement network in this directory", metavar="DIR"
    )
    keypoints: str = option(
        sources.NETWORK,
        kinds.TEXT,
        f"source of keypoints: {', '.join(sources.KEYPOINT_SOURCES)} or a JSON list of image_id, joint, x, y, score",
        metavar="SOURCE",
    )
    boxes: str = option(
        sources.NETWORK,
        kinds.TEXT,
        f"source of person boxes: {', '.join(sources.BOX_SOURCES)} or a COCO detections JSON",
        metavar="SOURCE",
    )
    grouping: str = option("prn", kinds.choice(*GROUPINGS, "oracle"), "what joins keypoints and boxes, see Table 3")
    limit: int | None = option(None, kinds.positive_int, "first N images only", metavar="N")
    image_size: tuple | None = option(None, kinds.SIDES, "SHORTER [LONGEST] side of images; default: the model's")
    precision: str = option(
        "auto", kinds.choice(*INFERENCE_PRECISIONS), "auto: half precision if the device is fast in it, else float32"
    )
    batch: int = option(
        1, kinds.positive_int, "images of one padded size that go through the network together; for a GPU", metavar="N"
    )
    nms_threshold: float = option(NMS_THRESHOLD, kinds.share, "IoU above which the worse of two boxes is dropped")
    scales: tuple = same_option(Augmentation, "scales")
    mirror: bool = same_option(Augmentation, "mirror")
    crops: int = same_option(Augmentation, "crops")
    square: bool = option(False, kinds.SWITCH, "pad images to squares, as stage 1 does; slower")
    silhouette_threshold: float = option(0.5, kinds.share, "above which the silhouette channel says person")
    output: str = option("results", kinds.PATH, "folder of the result files", metavar="DIR")
    name: str = option("mpn", kinds.TEXT, "your method's name in the names of the result files")
    metrics: str | None = option(None, kinds.PATH, "write every figure printed, in 0-1", metavar="FILE.json")
    curves: str | None = option(None, kinds.PATH, "write recall-precision curves: .csv and .png", metavar="DIR")
    errors: str | None = option(
        None, kinds.PATH, "write which errors poses have and what each kind costs: .json and .png", metavar="DIR"
    )

    def check(self):
        test_dev, augmented = self.split == "test-dev", not self.augmentation.is_single
        network_alone = self.keypoints == self.boxes == sources.NETWORK
        both = "{keypoints} and {boxes} must be network"
        if test_dev and {self.keypoints, self.boxes} & {*sources.TRUE}:
            why = f"{{split}} test-dev has no ground truth: {both} or files"
        elif test_dev and (self.curves or self.errors):
            why = "{split} test-dev has no ground truth: {curves} and {errors} need val, train or {annotations}"
        elif self.grouping == "oracle" and self.boxes != sources.GROUND_TRUTH:
            why = "{grouping} oracle compares with the ground truth: it needs {boxes} ground-truth"
        elif self.grouping == "prn-crop" and self.keypoints != sources.NETWORK:
            why = "{grouping} prn-crop takes crops of the network's heatmaps: it needs {keypoints} network"
        elif self.annotations and self.needs_images:
            why = "{annotations} has no images: {keypoints} and {boxes} must come from the ground truth or from files"
        elif self.held_out is not None and self.split != "train":
            why = "{held_out} takes the images of train that training left out: it needs {split} train"
        elif augmented and not self.needs_images:
            why = "{scales}, {mirror} and {crops} change what the network sees: {keypoints} or {boxes} must be network"
        elif self.is_ensemble and not network_alone:
            why = f"several {{model}}, or {{oks_threshold}}, need people whom each model finds by itself: {both}"
        elif self.refine and not network_alone:
            why = f"{{refine}} improves what the network finds: {both}"
        elif self.batch > 1 and augmented:
            why = "{batch} is for single views of images: leave it out, or {scales}, {mirror} and {crops}"
        elif self.batch > 1 and not self.needs_images:
            why = "{batch} is for the network, which does not run: {keypoints} or {boxes} must be network"
        else:
            return
        raise SettingsError(why)

    @property
    def augmentation(self):
        """The views of each image that the network sees."""
        return Augmentation(self.scales, self.mirror, self.crops)

    @property
    def needs_images(self):
        """Whether the network must run, to find keypoints or boxes."""
        return sources.NETWORK in (self.keypoints, self.boxes)

    @property
    def is_ensemble(self):
        """Whether OKS-NMS merges the people of several models, or of one."""
        return len(self.model) > 1 or self.oks_threshold is not None

    @property
    def parts(self):
        """The parts whose weights are needed, so that a stage can be measured before the next one is trained."""
        parts = ["keypoints"] * self.needs_images  # with the backbone, which boxes need too
        parts += ["person"] * (self.boxes == sources.NETWORK)
        return parts + ["prn"] * (self.grouping in ("prn", "prn-crop", "prn-argmax", "ucr", "geometric"))


def evaluate(evaluation):
    """Runs the model of an Evaluation over a split, prints the metrics and writes the result files.

    Returns {"keypoints": {...}, "boxes": {...}, "silhouettes": {...}, "settings": {...}}, metrics in 0-1. Boxes are
    measured unless they are the ground truth, silhouettes where the network finds the keypoints, and on test-dev
    nothing. Raises UserError where a file is missing or wrong.
    """
    records, annotations = _records(evaluation)
    image_ids = [record.id for record in records]
    labelled = evaluation.split != "test-dev"
    if labelled:
        check_labelled(records, annotations.path)
        truth = ground_truth(annotations)
    poses_path, boxes_path = _output_files(evaluation)
    add_boxes = sources.box_source(evaluation.boxes, image_ids, annotations.category)
    model = load_model(evaluation)
    described = _describe(model, evaluation)
    add_keypoints = sources.keypoint_source(evaluation.keypoints, described["image_size"], image_ids)
    measured = labelled and evaluation.keypoints == sources.NETWORK
    poses, boxes, silhouettes = _results(model, evaluation, records, (add_keypoints, add_boxes), measured)
    write_keypoint_results(poses_path, poses, not labelled, annotations.category)
    write_json(boxes_path, of_category(boxes, annotations.category))
    metrics = {}
    if labelled:
        metrics["keypoints"] = evaluate_keypoints(truth, poses, image_ids)
        if evaluation.boxes != sources.GROUND_TRUTH:
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


def _results(model, evaluation, records, replaced, measured):
    """COCO's poses and boxes, in the order of the records, and if `measured` the pixels of silhouettes."""
    poses, boxes, silhouettes = [], [], []
    visited = sources.by_input_size(model, records) if evaluation.batch > 1 else records
    found = sources.find_people(model, visited, *replaced, evaluation.grouping == "oracle", evaluation.batch)
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
    options = {name: getattr(evaluation, name) for name in _OF_MODEL}
    # "max" needs no PRN, and the oracle replaces the grouping.
    options["grouping"] = "max" if evaluation.grouping == "oracle" else evaluation.grouping
    if evaluation.batch > 1 and any(map(is_export, evaluation.model)):
        raise SettingsError("an export takes one image at a time: leave out {batch}")
    if evaluation.is_ensemble:
        threshold = OKS_THRESHOLD if evaluation.oks_threshold is None else evaluation.oks_threshold
        model = Ensemble.load(evaluation.model, threshold, **options)
    else:
        model = MultiPoseNet.load(evaluation.model[0], **options)
    return refined(model, evaluation.refine, evaluation.precision, evaluation.augmentation)


def _describe(model, evaluation):
    """The settings as plain values; where the models of an ensemble differ, a list with the value of each."""
    settings = {name: value for name, value in vars(evaluation).items() if name not in _NO_SETTINGS}
    names = ("image_size", "precision", "margin", "window", "assignment")
    each = [
        (list(one.config.image_size), one.precision, one.config.prn_margin, one.config.prn_window, one.assignment)
        for one in getattr(model, "models", [model])
    ]
    for name, values in zip(names, map(list, zip(*each, strict=True)), strict=True):
        settings[name] = values[0] if values == values[:1] * len(values) else values
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
    which = f"{settings['images']} images of {settings['split']}"
    if settings["held_out"] is not None:
        which += f" (held out: share {settings['held_out']})"
    print(f"{which};", ", ".join(f"{name}: {settings[name]}" for name in ("keypoints", "boxes", "grouping")))
    if {settings["keypoints"], settings["boxes"]} <= {*sources.TRUE}:
        print("keypoints and boxes are ground truth: this measures grouping alone, not the whole system")
    for kind in ("keypoints", "boxes", "silhouettes"):
        if kind in metrics:
            print(f"{kind:>11}  " + "  ".join(f"{name} {value:.4f}" for name, value in metrics[kind].items()))
