"""MultiPoseNet as its users see it: an image in, people out (§3.5, "Inference")."""

import functools

import numpy as np
import tensorflow as tf

from mpn.deployment.folder import is_export
from mpn.deployment.predictor import ExportedModel
from mpn.geometry import fit_image, pad_to_multiple
from mpn.heatmaps import STRIDE, find_peaks
from mpn.images import check_image
from mpn.inference.augmentation import merge_views
from mpn.inference.detections import Detections, batches, side_by_side
from mpn.inference.graphs import compile_graph, run_with_constant_weights, suppress_boxes
from mpn.inference.grouping import (
    assignment_of,
    build_people,
    check_grouping,
    for_each_box,
    score_candidates,
)
from mpn.inference.prn import GroupingPRN
from mpn.inference.views import Augmentation
from mpn.model_directory import PARTS, load_networks, save_networks
from mpn.models.person import NMS_THRESHOLD, SCORE_THRESHOLD, decode_boxes
from mpn.people import SilhouetteMap
from mpn.precision import network_dtype_policy, resolve_inference_precision, rewrites_to_bfloat16
from mpn.skeleton import NUM_KEYPOINTS

# What a graph takes: a padded image, and the width and height of what is not padding.
_INPUTS = (tf.TensorSpec((1, None, None, 3), tf.uint8), tf.TensorSpec((2,), tf.float32))

# Boxes that share a batch of the PRN when many images are grouped together: their RoIs take 35 MB.
BOXES_AT_A_TIME = 256


class MultiPoseNet:
    """Finds the people in an image.

    Everything from the image to the PRN's verdict on every peak runs in one call of one compiled graph: the backbone
    once, both subnets, peaks, NMS, RoIs, and the PRN on all boxes in one batch. Heatmaps do not leave it. With
    test-time augmentation (§4.2) there is a pass for each view of the image, and what follows them happens once.

    Args:
        networks: Networks with the weights to use.
        image_size: shorter and longest side in pixels to which images are scaled; None takes the configuration's.
        precision: "auto", "float32" or "bfloat16"; auto is bfloat16 where the processor multiplies it.
        grouping: "prn", "prn-argmax", "ucr", "max" or "geometric", see `mpn.inference.grouping`.
        nms_threshold: boxes that overlap a better one by a larger IoU are dropped; the paper's 0.3 also drops people
            who stand close together.
        square: pad images to squares, as the patches of stage 1 are; slower.
        window, assignment: of the PRN's grouping, see `ModelConfig`; None takes the configuration's.
        scales, mirror, crops: test-time augmentation, see `mpn.inference.views.Augmentation`.

    Raises:
        UserError: unknown precision, grouping, window or assignment, or an augmentation that cannot be.
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
        scales=(1.0,),
        mirror=False,
        crops=1,
    ):
        self.networks = networks
        given = {"image_size": image_size, "prn_window": window, "prn_assignment": assignment}
        self.config = networks.config.replace(**{name: v for name, v in given.items() if v is not None})
        check_grouping(grouping, networks.position_prior, self.config.prn_assignment)
        self.assignment = assignment_of(grouping, self.config.prn_assignment)
        self.precision = resolve_inference_precision(precision)
        self.grouping = grouping
        self.nms_threshold = nms_threshold
        self.square = square
        self.augmentation = Augmentation(scales, mirror, crops)

    @classmethod
    def load(cls, model_dir, parts=PARTS, precision="auto", **options):
        """Loads a model directory, or an export: an ExportedModel.

        Args:
            model_dir: folder with config.json and the weights of the three stages, or an export.
            parts: stages to load; a missing one is an error only when asked for here.
            precision, options: as for the class.

        Raises:
            UserError: a file is missing, damaged or does not fit the others; the message says which stage to run.
        """
        if is_export(model_dir):
            return ExportedModel(model_dir, precision=precision, **options)
        with network_dtype_policy(precision):
            networks = load_networks(model_dir, parts)
        return cls(networks, precision=precision, **options)

    def save(self, model_dir):
        """Writes configuration and weights to a model directory, each file atomically.

        Raises:
            OSError: the directory cannot be written.
        """
        save_networks(self.networks, model_dir)

    def predict(self, image, with_silhouettes=False):
        """Finds the people in one image.

        Args:
            image: (H, W, 3) uint8 RGB.
            with_silhouettes: also give the silhouettes of the whole image, which it has even where nobody was found.

        Returns:
            list of Person, best first; empty where there is nobody. With silhouettes, a pair of that list and the
            image's SilhouetteMap.

        Raises:
            ValueError: `image` has another shape or dtype.
        """
        if self.augmentation.is_single:
            inputs, scale = self.prepare(image)
            raw = self._predict_graph(*inputs)
            detections = self._detections(raw, scale, image.shape[:2])
            found = raw["candidates"], raw["guesses"] / scale, raw["guess_scores"]
            people = build_people(self.grouping, detections, *found, self.assignment)
        else:
            detections = self.detect(image)
            people = self.group(detections)
        return (people, detections.silhouettes) if with_silhouettes else people

    def detect(self, image):
        """The first half of `predict`: Detections of one image, not yet grouped."""
        if self.augmentation.is_single:
            inputs, scale = self.prepare(image)
            return self._detections(self._detect_graph(*inputs), scale, image.shape[:2])
        merged = self._merged(image)
        raw = self._merged_graph(merged.heatmaps, merged.boxes, merged.box_scores, merged.size)
        return self._detections(raw, merged.scale, image.shape[:2])

    def group(self, detections):
        """The second half of `predict`: people from Detections, which may come from elsewhere (Table 3, Table 4)."""
        return self.group_all([detections])[0]

    def group_all(self, images):
        """`group` for many images, whose boxes share batches.

        Args:
            images: list of Detections, one an image.

        Returns:
            list of lists of Person.
        """
        people = []
        for batch in batches(images, BOXES_AT_A_TIME):
            raw = self._group_graph(*side_by_side(batch))
            start = 0
            for detections in batch:
                rows = slice(start, start + len(detections.boxes))
                start = rows.stop
                candidates = raw["candidates"][rows, :, : detections.peaks.shape[1]]
                found = candidates, raw["guesses"][rows], raw["guess_scores"][rows]
                people.append(build_people(self.grouping, detections, *found, self.assignment))
        return people

    def heatmaps(self, image):
        """The heatmaps of one image, for looking at.

        Args:
            image: (H, W, 3) uint8 RGB.

        Returns:
            (h, w, 18) float32 at stride 4 of the scaled image, without padding; 17 keypoints, then the silhouette.
            With test-time augmentation the average of all views, at the scale of the largest.
        """
        if not self.augmentation.is_single:
            return self._merged(image).heatmaps.numpy()
        inputs, scale = self.prepare(image)
        # A size is a whole number but for rounding, which must not add a cell of padding.
        height, width = np.ceil(np.array(image.shape[:2]) * scale[::-1] / STRIDE - 1e-3).astype(int)
        return self.forward_graph(*inputs)["heatmaps"][0, :height, :width]

    def prepare(self, image, factor=1.0, mirrored=False):
        """Scales an image and pads it, at the right and below, to a multiple of 32.

        Args:
            image: (H, W, 3) uint8 RGB.
            factor: of the image size.
            mirrored: exchange left and right, before padding.

        Returns:
            inputs: what the graphs take: (1, h, w, 3) uint8, and (2,) float32, width and height without padding.
            scale: (2,) float32, input pixels an image pixel along x and y.
        """
        check_image(image)
        scaled, scale = fit_image(image, [factor * side for side in self.config.image_size])
        height, width = scaled.shape[:2]
        padded = [pad_to_multiple(side) for side in (height, width)]
        if self.square:
            padded = [max(padded)] * 2
        inputs = np.zeros((1, *padded, 3), np.uint8)
        inputs[0, :height, :width] = scaled[:, ::-1] if mirrored else scaled
        return (tf.constant(inputs), tf.constant([width, height], tf.float32)), scale

    def _merged(self, image):
        """What all views of an image show together; see `merge_views`."""
        check_image(image)
        return merge_views(self.augmentation.views(image, self.prepare), self._view_graph)

    def _detections(self, raw, scale, image_size):
        """Detections in image pixels from the graph's outputs in input pixels."""
        limits = np.array([image_size[1], image_size[0]] * 2, np.float32)
        boxes = (raw["boxes"] / np.tile(scale, 2)).clip(0, limits)
        silhouettes = SilhouetteMap(raw["silhouette"], tuple(image_size), tuple(scale / STRIDE))
        return Detections(boxes, raw["box_scores"], raw["peaks"] / scale, raw["peak_scores"], silhouettes)

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
        """The pass of one view: boxes, and heatmaps that stay where they are to be merged with others."""

        def look(images, size):
            outputs = self._forward(images)
            return {"heatmaps": outputs["heatmaps"][0], **self._boxes(outputs, images, size)}

        return self._compile(look, *_INPUTS, as_numpy=False)

    @functools.cached_property
    def _merged_graph(self):
        """Peaks in merged heatmaps and NMS on the boxes of all views: function of `Merged`'s fields, without scale."""

        def detect(heatmaps, boxes, scores, size):
            return {**_found(heatmaps[None]), **suppress_boxes(boxes, scores[:, None], size, self.nms_threshold)}

        shapes = (None, None, NUM_KEYPOINTS + 1), (None, 4), (None,), (2,)
        return self._compile(detect, *(tf.TensorSpec(shape, tf.float32) for shape in shapes))

    @functools.cached_property
    def forward_graph(self):
        """The single forward pass alone: function of `prepare`'s inputs, giving the outputs of `Networks.forward`."""
        return self._compile(lambda images, size: self._forward(images), *_INPUTS)

    @functools.cached_property
    def _group_graph(self):
        return self._compile(
            self._scored,
            tf.TensorSpec((None, NUM_KEYPOINTS, None, 2), tf.float32),
            tf.TensorSpec((None, NUM_KEYPOINTS, None), tf.float32),
            tf.TensorSpec((None, 4), tf.float32),
        )

    @functools.cached_property
    def _prn(self):
        """The PRN, its weights in bfloat16 where that is the precision: half as many bytes to read for each image."""
        if not self.grouping.startswith("prn"):
            return None
        dtype = "bfloat16" if rewrites_to_bfloat16(self.precision) else "float32"
        return GroupingPRN(self.networks.prn, self.config.prn_pool, dtype)

    def _forward(self, images):
        """Graph of the single forward pass; see `Networks.forward`."""
        return run_with_constant_weights(self.networks.forward, images)

    def _detected(self, images, size):
        """Graph of the single forward pass, peaks and NMS on one image; see `Detections`, in input pixels."""
        outputs = self._forward(images)
        return {**_found(outputs["heatmaps"]), **self._boxes(outputs, images, size)}

    def _boxes(self, outputs, images, size):
        """Graph of the boxes in what `_forward` gives, in input pixels; see `suppress_boxes`."""
        shape, scores = tf.shape(images), outputs["classification"][0]
        likely = tf.where(scores[:, 0] > SCORE_THRESHOLD)[:, 0]  # few of the anchors; the others need no box
        boxes = decode_boxes(outputs["regression"], shape[1], shape[2], likely)[0]
        return suppress_boxes(boxes, tf.gather(scores, likely), size, self.nms_threshold)

    def _grouped(self, detected):
        """Graph of RoIs, PRN and the scoring of candidates for one image."""
        boxes = detected["boxes"]
        return self._scored(*for_each_box(detected["peaks"], detected["peak_scores"], tf.shape(boxes)[0]), boxes)

    def _scored(self, positions, scores, boxes):
        """`_grouped` for boxes of several images, each with the peaks of its own; see `score_candidates`."""
        candidates, guesses, guess_scores = score_candidates(
            self.grouping,
            self._prn,
            self.networks.position_prior,
            positions,
            scores,
            boxes,
            self.config.prn_margin,
            self.config.prn_window,
        )
        return {"candidates": candidates, "guesses": guesses, "guess_scores": guess_scores}

    def _compile(self, function, *signature, as_numpy=True):
        """A compiled graph in this model's precision; see `compile_graph`."""
        # A network is built when first asked for, which must not happen inside a graph.
        _ = self._prn
        if signature == _INPUTS:
            _ = self.networks.forward
        # The PRN has weights of its own in bfloat16; what is around it is exact where the network does not run.
        rewrites = rewrites_to_bfloat16(self.precision) and signature == _INPUTS
        return compile_graph(function, signature, rewrites, as_numpy)


def _found(heatmaps):
    """Graph of the peaks and the silhouette of (1, h, w, 18) heatmaps, peaks in input pixels."""
    positions, scores = find_peaks(heatmaps[..., :NUM_KEYPOINTS])
    # They stand in front: the places behind the last peak of the most frequent keypoint are empty, yet would take time.
    most = tf.maximum(tf.reduce_max(tf.math.count_nonzero(scores[0], axis=1)), 1)
    positions, scores = positions[0, :, :most], scores[0, :, :most]
    return {"peaks": positions * STRIDE, "peak_scores": scores, "silhouette": heatmaps[0, :, :, NUM_KEYPOINTS]}
