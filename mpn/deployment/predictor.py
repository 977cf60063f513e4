"""Exported models as their users see them: `predict` of MultiPoseNet and `refine` of Refiner, with any engine.

Nothing here imports TensorFlow or Keras. The graphs do what `mpn.inference.multiposenet` does in TensorFlow; see
`mpn.deployment.graphs`.
"""

import numpy as np

from mpn.config import ModelConfig
from mpn.deployment.engines import ENGINES
from mpn.deployment.folder import ExportNote
from mpn.errors import UserError
from mpn.files import read_json
from mpn.geometry import fit_image, pad_to_multiple
from mpn.heatmaps import STRIDE
from mpn.images import check_image
from mpn.inference.augmentation import MIRRORED_CHANNELS, merge_views
from mpn.inference.grouping import assignment_of, build_people
from mpn.inference.refiner import Refiner
from mpn.inference.views import Augmentation
from mpn.people import Detections, SilhouetteMap


def _load(folder, precision, refiner):
    """The note, configuration and engine of an export of a model or of a refinement network."""
    note = ExportNote.read(folder)
    if note.refiner and not refiner:
        raise UserError(f"{folder} is a refinement network, which finds nobody by itself: pass it to --refine")
    if refiner and not note.refiner:
        raise UserError(f"{folder}: this model is not a refinement network: export one")
    try:
        config = ModelConfig(**read_json(f"{folder}/config.json", "a model configuration"))
    except TypeError as error:
        raise UserError(f"{folder}/config.json is not a model configuration: make the export anew") from error
    return note, config, ENGINES[note.format](folder, precision)


class ExportedModel:
    """An exported MultiPoseNet, with its methods; arguments as there.

    It has all `parts`.

    Raises:
        UserError: the export is damaged or of another version, its engine is not installed, or an option needs graphs
            that it does not have.
    """

    def __init__(
        self,
        folder,
        image_size=None,
        precision="auto",
        grouping="prn",
        nms_threshold=None,
        square=False,
        window=None,
        assignment=None,
        augmentation=Augmentation(),  # noqa: B008  frozen
        parts=None,
    ):
        self.note, config, self._engine = _load(folder, precision, refiner=False)
        given = {"image_size": image_size, "prn_assignment": assignment}
        self.config = config.replace(**{name: v for name, v in given.items() if v is not None})
        self.augmentation = augmentation
        self.nms_threshold = self.note.nms_threshold if nms_threshold is None else nms_threshold
        self.square = square
        self.grouping = grouping
        self.precision = precision
        self.assignment = assignment_of(grouping, self.config.prn_assignment)
        for option, value, own in (
            ("grouping", grouping, "prn"),
            ("NMS threshold", self.nms_threshold, self.note.nms_threshold),
            ("window", window or config.prn_window, config.prn_window),
        ):
            if value != own:
                raise UserError(f"{folder} is an export with the {option} {own}: for {value} take the model itself")

    def predict(self, image, with_silhouettes=False):
        """Finds the people in one image; see `MultiPoseNet.predict`."""
        detections = self.detect(image)
        people = self.group(detections)
        return (people, detections.silhouettes) if with_silhouettes else people

    def detect(self, image):
        """The first half of `predict`: Detections of one image, not yet grouped."""
        check_image(image)
        if self.augmentation.is_single:
            (images, size), scale = self.prepare(image)
            raw = self._look(images, size)
        else:
            merged = merge_views(self.augmentation.views(image, self.prepare), self._look)
            raw, scale = self._found(merged.heatmaps, merged.boxes, merged.box_scores, merged.size), merged.scale
        limits = np.array([image.shape[1], image.shape[0]] * 2, np.float32)
        boxes = (raw["boxes"] / np.tile(scale, 2)).clip(0, limits)
        silhouettes = SilhouetteMap(raw["silhouette"], image.shape[:2], tuple(scale / STRIDE))
        return Detections(boxes, raw["box_scores"], raw["peaks"] / scale, raw["peak_scores"], silhouettes)

    def group(self, detections):
        """The second half of `predict`: people from Detections, which may come from elsewhere."""
        if len(detections.boxes) == 0:
            return []
        inputs = detections.boxes, detections.peaks, detections.peak_scores
        boxes, peaks, scores = (np.ascontiguousarray(values, np.float32) for values in inputs)
        raw = self._engine.run("group", boxes=boxes, peaks=peaks, peak_scores=scores)
        found = raw["candidates"], raw["guesses"], raw["guess_scores"]
        return build_people(self.grouping, detections, *found, self.assignment)

    def group_all(self, images):
        """`group` for many images: a list of lists of Person."""
        return [self.group(detections) for detections in images]

    def heatmaps(self, image):
        """The heatmaps of one image, for looking at; see `MultiPoseNet.heatmaps`."""
        check_image(image)
        if not self.augmentation.is_single:
            return merge_views(self.augmentation.views(image, self.prepare), self._look).heatmaps
        (images, _), scale = self.prepare(image)
        height, width = np.ceil(np.array(image.shape[:2]) * scale[::-1] / STRIDE - 1e-3).astype(int)
        return self._engine.run("network", images=images)["heatmaps"][:height, :width]

    def prepare(self, image, factor=1.0, mirrored=False):
        """Scales an image and pads it; see `MultiPoseNet.prepare`."""
        scaled, scale = fit_image(image, [factor * side for side in self.config.image_size])
        height, width = scaled.shape[:2]
        padded = [pad_to_multiple(side) for side in (height, width)]
        if self.square:
            padded = [max(padded)] * 2
        images = np.zeros((1, *padded, 3), np.uint8)
        images[0, :height, :width] = scaled[:, ::-1] if mirrored else scaled
        return (images, np.array([width, height], np.float32)), scale

    def _look(self, images, size):
        """What "detect" finds in one view, and its heatmaps (h, w, 18)."""
        outputs = self._engine.run("network", images=images)
        heatmaps = outputs.pop("heatmaps")
        boxes = self._engine.run("boxes", **outputs, shape=np.array(images.shape[1:3], np.int32))
        return {"heatmaps": heatmaps, **self._found(heatmaps, boxes["all_boxes"], boxes["all_scores"], size)}

    def _found(self, heatmaps, boxes, scores, size):
        if len(boxes) == 0:  # not every engine takes an empty input; a box without area is nobody
            boxes, scores = np.zeros((1, 4), np.float32), np.zeros(1, np.float32)
        return self._engine.run("detect", heatmaps=heatmaps, all_boxes=boxes, all_scores=scores, size=size)


class ExportedRefiner(Refiner):
    """An exported Refiner; for errors see ExportedModel."""

    def __init__(self, folder, precision="auto", mirror=False):
        _, self.config, self._engine = _load(folder, precision, refiner=True)
        self.mirror = mirror

    def _network_graph(self, crops):
        heatmaps = self._engine.run("network", images=crops)["heatmaps"]
        if self.mirror:
            mirrored = self._engine.run("network", images=np.ascontiguousarray(crops[:, :, ::-1]))["heatmaps"]
            heatmaps = (heatmaps + mirrored[:, :, ::-1][..., MIRRORED_CHANNELS]) / 2
        return {"heatmaps": heatmaps}

    def _peaks_graph(self, heatmaps):
        keypoints = self._engine.run("peaks", heatmaps=np.ascontiguousarray(heatmaps))["keypoints"]
        return {"positions": keypoints[..., :2] / STRIDE, "scores": keypoints[..., 2]}
