"""The predictor: an image in, people out (§3.5, "Inference")."""

import collections
import functools

import numpy as np
import tensorflow as tf

from mpn import roi
from mpn.errors import UserError
from mpn.geometry import network_input
from mpn.heatmaps import STRIDE, cells, find_peaks
from mpn.images import check_image
from mpn.inference.augmentation import merge_views
from mpn.inference.export_folder import is_export
from mpn.inference.exported_model import ExportedModel
from mpn.inference.graphs import compile_graph, run_with_constant_weights, suppress_boxes
from mpn.inference.grouping import assignment_of, build_people, check_grouping, for_each_box, score_candidates
from mpn.inference.predictor import Predictor
from mpn.inference.prn import GroupingPRN
from mpn.inference.views import Augmentation
from mpn.model_directory import PARTS, load_networks, save_networks
from mpn.models.person import NMS_THRESHOLD, SCORE_THRESHOLD, decode_boxes
from mpn.people import Detections
from mpn.precision import network_dtype_policy, resolve_inference_precision, rewrites_to_bfloat16
from mpn.skeleton import NUM_KEYPOINTS

# Inputs of a graph: a padded image, and its width and height without padding.
_INPUTS = (tf.TensorSpec((1, None, None, 3), tf.uint8), tf.TensorSpec((2,), tf.float32))

# Inputs of the graph that takes a batch, and outputs of the network, which a second graph takes for each image.
_BATCH = (tf.TensorSpec((None, None, None, 3), tf.uint8),)
_OUTPUTS = ("heatmaps", "regression", "classification")

# Boxes in a batch when many images are grouped together; their RoIs take 35 MB.
BOXES_AT_A_TIME = 256


class MultiPoseNet(Predictor):
    """Finds the people in an image.

    One call of one compiled graph does everything from the image to the PRN's scores: the backbone once, both subnets,
    peaks, NMS, RoIs, and the PRN on all boxes in one batch. With test-time augmentation (§4.2) the network sees each
    view of the image, and the rest happens once.

    `image_size` is the shorter and longest side in pixels to which images are scaled. It and `window` and `assignment`
    of the PRN's grouping are by default the configuration's. `precision` is one of `INFERENCE_PRECISIONS`, `grouping`
    one of `GROUPINGS`. `nms_threshold` is the largest IoU of two kept boxes; the paper's 0.3 also drops people who are
    close together. `square` pads images to squares, like the patches of stage 1, which is slower. Raises UserError for
    impossible values.
    """

    def __init__(
        self,
        networks,
        image_size=None,
        precision="auto",
        grouping="prn",
        nms_threshold=NMS_THRESHOLD,
        square=False,
        window=None,
        assignment=None,
        augmentation=Augmentation(),  # noqa: B008  frozen
    ):
        self.networks = networks
        given = {"image_size": image_size, "prn_window": window, "prn_assignment": assignment}
        self.config = networks.config.replace(**{name: v for name, v in given.items() if v is not None})
        check_grouping(grouping, networks.position_prior)
        self.assignment = assignment_of(grouping, self.config.prn_assignment)
        self.precision = resolve_inference_precision(precision)
        self.grouping = grouping
        self.nms_threshold = nms_threshold
        self.square = square
        self.augmentation = augmentation

    @classmethod
    def load(cls, model_dir, parts=PARTS, precision="auto", **options):
        """Loads `parts` of a model directory or, by name, of a shipped model; an export gives an ExportedModel.

        Raises UserError if a file is missing, damaged or does not fit the others; the message says which stage to run.
        """
        if is_export(model_dir):
            return ExportedModel(model_dir, precision=precision, **options)
        with network_dtype_policy(precision):
            networks = load_networks(model_dir, parts)
        return cls(networks, precision=precision, **options)

    def save(self, model_dir):
        """Writes configuration and weights to a model directory, each file atomically."""
        save_networks(self.networks, model_dir)

    def _predict_one(self, image):
        if not self.augmentation.is_single:
            detections = self.detect(image)
            return self.group(detections), detections.silhouettes
        inputs, scale = self.prepare(image)
        raw = self._predict_graph(*inputs)
        detections = Detections.in_image(raw, scale, image.shape[:2])
        found = raw["candidates"], raw["guesses"] / scale, raw["guess_scores"]
        return build_people(self.grouping, detections, *found, self.assignment), detections.silhouettes

    def detect(self, image):
        """The first half of `predict`: Detections of one image, before grouping."""
        if self.augmentation.is_single:
            inputs, scale = self.prepare(image)
            return Detections.in_image(self._detect_graph(*inputs), scale, image.shape[:2])
        merged = self._merged(image)
        raw = self._merged_graph(merged.heatmaps, merged.boxes, merged.box_scores, merged.size)
        return Detections.in_image(raw, merged.scale, image.shape[:2])

    def predict_all(self, images):
        """`predict` with silhouettes for a list of images: a list of pairs; equal up to rounding, see `detect_all`."""
        if len(images) == 1:  # a graph for one image is faster than one for any number
            return super().predict_all(images)
        detections = self.detect_all(images)
        return list(zip(self.group_all(detections), (found.silhouettes for found in detections), strict=True))

    def detect_all(self, images):
        """`detect` for a list of images; those of one padded size go through the network together.

        All of them must fit the memory. With test-time augmentation each image goes through it alone.
        """
        if len(images) == 1 or not self.augmentation.is_single:
            return super().detect_all(images)
        of_size = collections.defaultdict(list)
        for index, image in enumerate(images):
            inputs, scale = self.prepare(image)
            of_size[tuple(inputs[0].shape)].append((index, inputs, scale))
        found = [None] * len(images)
        for together in of_size.values():
            outputs = self._batch_graph(tf.concat([padded for _, (padded, _), _ in together], axis=0))
            for row, (index, inputs, scale) in enumerate(together):
                one = {name: values[row : row + 1] for name, values in outputs.items()}
                found[index] = Detections.in_image(self.peaks_and_boxes(one, *inputs), scale, images[index].shape[:2])
        return found

    def peaks_and_boxes(self, outputs, images, size):
        """What the outputs of `forward_graph` for one image hold: a dict of arrays, in pixels of the input."""
        return self._rest_graph(*(outputs[name] for name in _OUTPUTS), images.shape[1:3], size)

    def group(self, detections):
        """The second half of `predict`: people from Detections, which may come from elsewhere (Table 3, Table 4)."""
        return self.group_all([detections])[0]

    def group_all(self, images):
        """Groups the Detections of many images, whose boxes share batches: a list of people per image."""
        people = []
        for batch in _batches(images):
            raw = self._group_graph(*self._group_inputs(batch))
            start = 0
            for detections in batch:
                rows = slice(start, start + len(detections.boxes))
                start = rows.stop
                candidates = raw["candidates"][rows, :, : detections.peaks.shape[1]]
                found = candidates, raw["guesses"][rows], raw["guess_scores"][rows]
                people.append(build_people(self.grouping, detections, *found, self.assignment))
        return people

    def heatmaps(self, image):
        """The heatmaps of an (H, W, 3) uint8 RGB image: (h, w, 18) float32, 17 keypoints and the silhouette.

        They have stride 4 of the scaled image, without padding; with test-time augmentation, of the largest view.
        """
        if not self.augmentation.is_single:
            return self._merged(image).heatmaps.numpy()
        inputs, scale = self.prepare(image)
        height, width = cells(np.array(image.shape[:2]) * scale[::-1])
        return self.forward_graph(*inputs)["heatmaps"][0, :height, :width]

    def prepare(self, image, factor=1.0, mirrored=False):
        """The graphs' inputs for an (H, W, 3) uint8 RGB image, as a pair of tensors, and the scale.

        See `mpn.geometry.network_input`. Raises ValueError for an image of another shape or dtype.
        """
        check_image(image)
        *inputs, scale = network_input(image, self.config.image_size, factor, mirrored, self.square)
        return tuple(map(tf.constant, inputs)), scale

    def _merged(self, image):
        check_image(image)
        return merge_views(self.augmentation.views(image, self.prepare), self._view_graph)

    def _group_inputs(self, images):
        counts = [len(detections.boxes) for detections in images]
        most = max(detections.peaks.shape[1] for detections in images)
        positions = np.zeros((sum(counts), NUM_KEYPOINTS, most, 2), np.float32)
        scores = np.zeros(positions.shape[:3], np.float32)
        ends = np.cumsum(counts)
        for detections, start, end in zip(images, ends - counts, ends, strict=True):
            positions[start:end, :, : detections.peaks.shape[1]] = detections.peaks
            scores[start:end, :, : detections.peaks.shape[1]] = detections.peak_scores
        boxes = np.concatenate([detections.boxes for detections in images]).astype(np.float32)
        if self.grouping != "prn-crop":
            return positions, scores, boxes
        if any(found.heatmaps is None for found in images):
            raise UserError("grouping prn-crop needs the network's heatmaps: keypoints must come from the network")
        crops = [self._crops(found.heatmaps, found.boxes, found.silhouettes.scale) for found in images]
        return positions, scores, boxes, tf.concat(crops, axis=0)

    def _crops(self, heatmaps, boxes, scale):
        return roi.crop_maps(heatmaps, roi.enlarge_boxes(boxes, self.config.prn_margin), scale)

    @functools.cached_property
    def _predict_graph(self):
        def predict(images, size):
            detected = self._detected(images, size)
            return {**detected, **self._grouped(detected)}

        return self._compile(predict, *_INPUTS)

    @functools.cached_property
    def _detect_graph(self):
        return self._compile(self._detected, *_INPUTS)

    @functools.cached_property
    def _view_graph(self):
        """One view: boxes, and heatmaps that stay on the device for `merge_views`."""

        def look(images, size):
            outputs = self._forward(images)
            return {"heatmaps": outputs["heatmaps"][0], **self._boxes(outputs, tf.shape(images)[1:3], size)}

        return self._compile(look, *_INPUTS, as_numpy=False)

    @functools.cached_property
    def _merged_graph(self):
        """Peaks in merged heatmaps, and NMS on the boxes of all views."""

        def detect(heatmaps, boxes, scores, size):
            return {**self._found(heatmaps[None]), **suppress_boxes(boxes, scores[:, None], size, self.nms_threshold)}

        shapes = (None, None, NUM_KEYPOINTS + 1), (None, 4), (None,), (2,)
        return self._compile(detect, *(tf.TensorSpec(shape, tf.float32) for shape in shapes))

    @functools.cached_property
    def forward_graph(self):
        """The forward pass alone, from the inputs of `prepare` to the outputs of `Networks.forward`."""
        return self._compile(lambda images, size: self._forward(images), *_INPUTS)

    @functools.cached_property
    def _batch_graph(self):
        """The forward pass on (B, H, W, 3) uint8 images; outputs stay on the device for `_rest_graph`."""
        return self._compile(self._forward, *_BATCH, as_numpy=False)

    @functools.cached_property
    def _rest_graph(self):
        """The rest of `_detected`, from the network's outputs for one image."""

        def rest(heatmaps, regression, classification, shape, size):
            outputs = {"regression": regression, "classification": classification}
            return {**self._found(heatmaps), **self._boxes(outputs, shape, size)}

        shapes = (1, None, None, NUM_KEYPOINTS + 1), (1, None, 4), (1, None, 1)
        floats = [tf.TensorSpec(shape, tf.float32) for shape in shapes]
        return self._compile(rest, *floats, tf.TensorSpec((2,), tf.int32), tf.TensorSpec((2,), tf.float32))

    @functools.cached_property
    def _group_graph(self):
        shapes = [(None, NUM_KEYPOINTS, None, 2), (None, NUM_KEYPOINTS, None), (None, 4)]
        if self.grouping == "prn-crop":
            shapes.append((None, NUM_KEYPOINTS, roi.ROI_HEIGHT, roi.ROI_WIDTH))
        return self._compile(self._scored, *(tf.TensorSpec(shape, tf.float32) for shape in shapes))

    @functools.cached_property
    def _prn(self):
        """The PRN with its own weights; in bfloat16 each image reads half as many bytes."""
        if not self.grouping.startswith("prn"):
            return None
        dtype = "bfloat16" if rewrites_to_bfloat16(self.precision) else "float32"
        return GroupingPRN(self.networks.prn, self.config.prn_pool, dtype)

    def _forward(self, images):
        return run_with_constant_weights(self.networks.forward, images)

    def _detected(self, images, size):
        """Forward pass, peaks and NMS on one image: the fields of Detections in input pixels."""
        outputs = self._forward(images)
        return {**self._found(outputs["heatmaps"]), **self._boxes(outputs, tf.shape(images)[1:3], size)}

    def _found(self, heatmaps):
        """Peaks, in input pixels, and silhouette of (1, h, w, 18) heatmaps."""
        keypoints = heatmaps[..., :NUM_KEYPOINTS]
        positions, scores = find_peaks(keypoints)
        # Places behind the last peak of the most frequent keypoint are empty, and would cost time.
        most = tf.maximum(tf.reduce_max(tf.math.count_nonzero(scores[0], axis=1)), 1)
        positions, scores = positions[0, :, :most], scores[0, :, :most]
        found = {"peaks": positions * STRIDE, "peak_scores": scores, "silhouette": heatmaps[0, :, :, NUM_KEYPOINTS]}
        if self.grouping == "prn-crop":
            found["heatmaps"] = tf.transpose(keypoints[0], (2, 0, 1))
        return found

    def _boxes(self, outputs, shape, size):
        """Boxes after NMS, in input pixels; `shape` is the input's height and width."""
        scores = outputs["classification"][0]
        likely = tf.where(scores[:, 0] > SCORE_THRESHOLD)[:, 0]  # few anchors, and only these need a box
        boxes = decode_boxes(outputs["regression"], shape[0], shape[1], likely)[0]
        return suppress_boxes(boxes, tf.gather(scores, likely), size, self.nms_threshold)

    def _grouped(self, detected):
        """RoIs, PRN and scores of candidates for one image."""
        boxes = detected["boxes"]
        peaks = for_each_box(detected["peaks"], detected["peak_scores"], tf.shape(boxes)[0])
        if self.grouping != "prn-crop":
            return self._scored(*peaks, boxes)
        return self._scored(*peaks, boxes, self._crops(detected["heatmaps"], boxes, (1 / STRIDE, 1 / STRIDE)))

    def _scored(self, positions, scores, boxes, crops=None):
        prior, margin, window = self.networks.position_prior, self.config.prn_margin, self.config.prn_window
        candidates, guesses, guess_scores = score_candidates(
            self.grouping, self._prn, prior, positions, scores, boxes, margin, window, crops
        )
        return {"candidates": candidates, "guesses": guesses, "guess_scores": guess_scores}

    def _compile(self, function, *signature, as_numpy=True):
        # Builds the networks, which must not happen inside a graph.
        _ = self._prn
        runs_network = signature in (_INPUTS, _BATCH)
        if runs_network:
            _ = self.networks.forward
        # The PRN has its own bfloat16 weights. Graphs without the network stay exact.
        return compile_graph(function, signature, runs_network and rewrites_to_bfloat16(self.precision), as_numpy)


def _batches(images):
    """Splits Detections into lists with at most BOXES_AT_A_TIME boxes, or of one image."""
    batch, count = [], 0
    for detections in images:
        if batch and count + len(detections.boxes) > BOXES_AT_A_TIME:
            yield batch
            batch, count = [], 0
        batch.append(detections)
        count += len(detections.boxes)
    if batch:
        yield batch
