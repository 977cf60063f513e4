"""Exported models: `predict` of MultiPoseNet on the graphs of `mpn.deployment.graphs`.

Nothing here imports TensorFlow or Keras.
"""

import numpy as np

from mpn.errors import UserError
from mpn.geometry import network_input
from mpn.heatmaps import cells
from mpn.images import check_image
from mpn.inference.augmentation import merge_views
from mpn.inference.engines import load_export
from mpn.inference.grouping import assignment_of, build_people
from mpn.inference.predictor import Predictor
from mpn.inference.views import Augmentation
from mpn.people import Detections


class ExportedModel(Predictor):
    """An exported MultiPoseNet, with its methods and arguments; `folder` is the export.

    Raises UserError where the export is damaged or of another version, its engine is not installed, or an option needs
    graphs that it does not have.
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
    ):
        self.note, config, self._engine = load_export(folder, precision)
        if self.note.size:
            if image_size or square or augmentation.scales != (1.0,):
                height, width = self.note.size
                raise UserError(
                    f"{folder} only sees {width} x {height} pixels: export it anew with the --size you need"
                )
            image_size = tuple(sorted(self.note.size))
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

    def _predict_one(self, image):
        detections = self.detect(image)
        return self.group(detections), detections.silhouettes

    def detect(self, image):
        """The first half of `predict`: Detections of one image, not yet grouped."""
        check_image(image)
        if self.augmentation.is_single:
            (images, size), scale = self.prepare(image)
            raw = self._look(images, size)
        else:
            merged = merge_views(self.augmentation.views(image, self.prepare), self._look)
            raw, scale = self._found(merged.heatmaps, merged.boxes, merged.box_scores, merged.size), merged.scale
        return Detections.in_image({**raw, "heatmaps": None}, scale, image.shape[:2])

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
        height, width = cells(np.array(image.shape[:2]) * scale[::-1])
        return self._engine.run("network", images=images)["heatmaps"][:height, :width]

    def prepare(self, image, factor=1.0, mirrored=False):
        """The graphs' inputs, as arrays, and the scale; see `mpn.geometry.network_input`."""
        if self.note.size:
            return fixed_input(image, self.note.size, mirrored)
        *inputs, scale = network_input(image, self.config.image_size, factor, mirrored, self.square)
        return tuple(inputs), scale

    def _look(self, images, size):
        """Heatmaps, (h, w, 18), of one view, and the outputs of "detect"."""
        outputs = self._engine.run("network", images=images)
        heatmaps = outputs.pop("heatmaps")
        boxes = self._engine.run("boxes", **outputs, shape=np.array(images.shape[1:3], np.int32))
        return {"heatmaps": heatmaps, **self._found(heatmaps, boxes["all_boxes"], boxes["all_scores"], size)}

    def _found(self, heatmaps, boxes, scores, size):
        if len(boxes) == 0:  # not every engine takes an empty input; a box without area is nobody
            boxes, scores = np.zeros((1, 4), np.float32), np.zeros(1, np.float32)
        return self._engine.run("detect", heatmaps=heatmaps, all_boxes=boxes, all_scores=scores, size=size)


def fixed_input(image, size, mirrored=False):
    """`ExportedModel.prepare` for a graph that only takes images of `size`, (height, width), multiples of 32.

    The image is scaled as large as fits, and padded on the right and below.
    """
    lies = image.shape[0] <= image.shape[1]
    images, used, scale = network_input(image, size if lies else size[::-1], mirrored=mirrored)
    rows, columns = np.subtract(size, images.shape[1:3])
    return (np.pad(images, ((0, 0), (0, rows), (0, columns), (0, 0))), used), scale
