"""Refinement of poses (§4.2): a network like the keypoint subnet that looks at one person at a time."""

import dataclasses
import functools

import numpy as np
import tensorflow as tf

from mpn.data.geometry import affine, transform_points, warp_image
from mpn.errors import UserError
from mpn.heatmaps import STRIDE, find_peaks
from mpn.inference.augmentation import MIRRORED_CHANNELS
from mpn.inference.graphs import compile_graph, run_with_constant_weights
from mpn.inference.predictor import check_image
from mpn.inference.resampling import interpolation, resample
from mpn.inference.tightening import tighten_boxes
from mpn.models.multiposenet import Networks
from mpn.people import pose_scores
from mpn.precision import network_dtype_policy, resolve_inference_precision, rewrites_to_bfloat16
from mpn.skeleton import NUM_KEYPOINTS

# Crops that share a batch: an image rarely has more people, and a graph for any number needs no more memory.
CROPS_AT_A_TIME = 16


class Refiner:
    """Finds the keypoints of people whose boxes are known, each in a crop of its own.

    Args:
        networks: Networks of a refinement network, see `train_keypoints.py --refiner`.
        precision: "auto", "float32" or "bfloat16", see MultiPoseNet.
        mirror: see each crop mirrored too, and average the heatmaps of both: twice the time.

    Raises:
        UserError: the networks are those of whole images, or an unknown precision.
    """

    def __init__(self, networks, precision="auto", mirror=False):
        self.config = networks.config
        self.mirror = mirror
        if self.config.refiner_share is None:
            raise UserError("this model is not a refinement network: train one with train_keypoints.py --refiner")
        self.precision = resolve_inference_precision(precision)
        self._network = networks.keypoint_model(supervised=False)

    @classmethod
    def load(cls, model_dir, precision="auto", mirror=False):
        """Loads the model directory of a refinement network; see the class for the other arguments.

        Raises:
            UserError: a file is missing or damaged, or the directory holds another kind of network.
        """
        with network_dtype_policy(precision):
            networks = Networks.load(model_dir, ("keypoints",), refiner=True)
        try:
            return cls(networks, precision, mirror)
        except UserError as error:
            raise UserError(f"{model_dir}: {error}") from error

    def find(self, image, boxes):
        """The keypoints of some people, and boxes that fit them better.

        Everybody is looked at twice: first in the crop of the given box, then in that of the box that the silhouette
        seen there suggests, see `mpn.inference.tightening`. The heatmaps of both looks are averaged where both see.

        Args:
            image: (H, W, 3) uint8 RGB.
            boxes: (N, 4) float, [x1, y1, x2, y2] in image pixels.

        Returns:
            keypoints: (N, 17, 3) float32, x, y in image pixels and confidence in [0, 1]; 0 where the average has no
                peak.
            boxes: (N, 4) float32, [x1, y1, x2, y2] in image pixels.

        Raises:
            ValueError: `image` has another shape or dtype.
        """
        check_image(image)
        found = np.zeros((len(boxes), NUM_KEYPOINTS, 3), np.float32)
        tightened = np.zeros((len(boxes), 4), np.float32)
        for start in range(0, len(boxes), CROPS_AT_A_TIME):
            some = slice(start, start + CROPS_AT_A_TIME)
            crops, first = self._look(image, boxes[some])
            tightened[some] = tighten_boxes(boxes[some], first[..., NUM_KEYPOINTS], crops, image.shape[:2])
            closer, second = self._look(image, tightened[some])
            both = [_average(*looks) for looks in zip(first, crops, second, closer, strict=True)]
            found[some] = self._peaks(np.stack(both)[..., :NUM_KEYPOINTS], closer)
        return found, tightened

    def refine(self, image, people):
        """People with the keypoints and boxes that this network finds for them, and scores to match, best first.

        A keypoint that this network does not find stays where it was.

        Args:
            image: (H, W, 3) uint8 RGB.
            people: list of Person.

        Returns:
            list of Person.

        Raises:
            ValueError: `image` has another shape or dtype.
        """
        if not people:
            return []
        before = np.stack([person.keypoints for person in people])
        found, boxes = self.find(image, np.stack([person.box for person in people]))
        keypoints = np.where(found[..., 2:] > 0, found, before)
        scores = pose_scores(np.array([person.box_score for person in people]), keypoints[..., 2])
        return [
            dataclasses.replace(people[i], box=boxes[i], keypoints=keypoints[i], score=float(scores[i]))
            for i in np.argsort(-scores, kind="stable")
        ]

    def _look(self, image, boxes):
        """What the network sees of some people: list of N (2, 3) maps from the image to their crops, and heatmaps."""
        side = self.config.image_size[0]
        crops = [self._crop(box) for box in boxes]
        seen = np.stack([warp_image(crop, image, (side, side)) for crop in crops])
        return crops, self._network_graph(seen)["heatmaps"]

    def _peaks(self, heatmaps, crops):
        """The best peak of each keypoint: (N, 17, 3) float32, x, y in image pixels and confidence."""
        peaks = self._peaks_graph(heatmaps)
        backs = np.linalg.inv([np.vstack([crop, (0, 0, 1)]) for crop in crops])[:, :2]
        places = [transform_points(back, STRIDE * one) for back, one in zip(backs, peaks["positions"], strict=True)]
        return np.concatenate([places, peaks["scores"][..., None]], axis=-1)

    def _crop(self, box):
        """The map from the image to a box's crop, as training has it: (2, 3) float64."""
        side = self.config.image_size[0]
        x1, y1, x2, y2 = np.asarray(box, np.float64)
        scale = self.config.refiner_share * side / max(x2 - x1, y2 - y1, 1.0)
        return affine(((x1 + x2) / 2, (y1 + y2) / 2), (side, side), min(scale, self.config.refiner_enlargement))

    @functools.cached_property
    def _network_graph(self):
        """Function of (N, S, S, 3) uint8 crops, giving their (N, S/4, S/4, 18) heatmaps."""

        def look(crops):
            if self.mirror:
                crops = tf.concat([crops, crops[:, :, ::-1]], axis=0)
            heatmaps = run_with_constant_weights(self._network, crops)["heatmaps"]
            if self.mirror:
                heatmaps, mirrored = tf.split(heatmaps, 2)
                heatmaps = (heatmaps + tf.gather(mirrored[:, :, ::-1], MIRRORED_CHANNELS, axis=-1)) / 2
            return {"heatmaps": heatmaps}

        side = self.config.image_size[0]
        signature = (tf.TensorSpec((None, side, side, 3), tf.uint8),)
        return compile_graph(look, signature, rewrites_to_bfloat16(self.precision))

    @functools.cached_property
    def _peaks_graph(self):
        """Function of (N, h, w, 17) float32 heatmaps, giving the best peak of each, in cells."""

        def find(heatmaps):
            positions, scores = find_peaks(heatmaps, max_peaks=1)
            return {"positions": positions[:, :, 0], "scores": scores[:, :, 0]}

        cells = self.config.image_size[0] // STRIDE
        return compile_graph(find, (tf.TensorSpec((None, cells, cells, NUM_KEYPOINTS), tf.float32),))


def _average(first, crop, second, closer):
    """Heatmaps (h, w, C) of two looks, averaged on the cells of the second where the first sees, else the second's.

    The looks' maps from the image to their crops are not rotated.
    """
    height, width, _ = second.shape
    rows, columns = (_cells_of_other(axis, count, crop, closer) for axis, count in ((1, height), (0, width)))
    seen = np.outer(rows.sum(axis=1), columns.sum(axis=1))[..., None]  # 1 where the first look sees, else 0
    return (resample(first, rows, columns).numpy() + second) / (1 + seen)


def _cells_of_other(axis, count, crop, closer):
    """Weights of a crop's rows (axis 1) or columns (axis 0) that make those of a closer one; see `interpolation`."""
    in_image = (STRIDE * (np.arange(count) + 0.5) - closer[axis, 2]) / closer[axis, axis]
    return interpolation((in_image * crop[axis, axis] + crop[axis, 2]) / STRIDE, count)


class Refined:
    """A model whose people a refinement network looks at again.

    Args:
        model: MultiPoseNet or Ensemble, or anything with their `predict`.
        refiner: Refiner.
        least_score: people whose poses score less, before they are looked at again, are left out. Those on whom model
            and refinement network agree are people more often than those whom one of them believes in.
    """

    def __init__(self, model, refiner, least_score=0.0):
        self.model = model
        self.refiner = refiner
        self.least_score = least_score

    def __getattr__(self, name):
        if name == "model":  # not there yet in a copy that is being made
            raise AttributeError(name)
        return getattr(self.model, name)

    def predict(self, image, with_silhouettes=False):
        """Finds the people in one image; see `MultiPoseNet.predict`."""
        people, silhouettes = self.model.predict(image, with_silhouettes=True)
        people = self.refiner.refine(image, [person for person in people if person.score >= self.least_score])
        return (people, silhouettes) if with_silhouettes else people


def refined(model, refiner_dir, precision="auto", mirror=False, least_score=0.0):
    """The model itself, or Refined by the refinement network in a directory.

    Args:
        model: MultiPoseNet or Ensemble.
        refiner_dir: see `Refiner.load`, or None.
        precision, mirror: of the refinement network, see Refiner.
        least_score: see Refined.
    """
    if refiner_dir is None:
        return model
    return Refined(model, Refiner.load(refiner_dir, precision, mirror), least_score)
