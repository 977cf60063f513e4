"""Refinement of poses (§4.2): a network like the keypoint subnet that looks at one person at a time."""

import dataclasses
import functools

import numpy as np
import tensorflow as tf

from mpn.data.geometry import affine, transform_points, warp_image
from mpn.errors import UserError
from mpn.heatmaps import STRIDE, find_peaks
from mpn.inference.graphs import compile_graph, run_with_constant_weights
from mpn.inference.predictor import check_image
from mpn.models.multiposenet import Networks
from mpn.people import pose_scores
from mpn.precision import network_dtype_policy, resolve_inference_precision, rewrites_to_bfloat16
from mpn.skeleton import MIRROR, NUM_KEYPOINTS

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

    def keypoints(self, image, boxes):
        """The keypoints of some people.

        Args:
            image: (H, W, 3) uint8 RGB.
            boxes: (N, 4) float, [x1, y1, x2, y2] in image pixels.

        Returns:
            (N, 17, 3) float32, x, y in image pixels and confidence in [0, 1]; 0 where a heatmap has no peak.

        Raises:
            ValueError: `image` has another shape or dtype.
        """
        check_image(image)
        side = self.config.image_size[0]
        found = np.zeros((len(boxes), NUM_KEYPOINTS, 3), np.float32)
        for start in range(0, len(boxes), CROPS_AT_A_TIME):
            maps = [self._crop(box) for box in boxes[start : start + CROPS_AT_A_TIME]]
            crops = np.stack([warp_image(matrix, image, (side, side)) for matrix in maps])
            peaks = self._graph(crops)
            for row, matrix in enumerate(maps):
                back = np.linalg.inv(np.vstack([matrix, (0, 0, 1)]))[:2]
                found[start + row, :, :2] = transform_points(back, peaks["positions"][row])
            found[start : start + len(maps), :, 2] = peaks["scores"]
        return found

    def refine(self, image, people):
        """People with the keypoints that this network finds in their boxes, and scores to match, best first.

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
        found = self.keypoints(image, np.stack([person.box for person in people]))
        keypoints = np.where(found[..., 2:] > 0, found, before)
        scores = pose_scores(np.array([person.box_score for person in people]), keypoints[..., 2])
        return [
            dataclasses.replace(people[i], keypoints=keypoints[i], score=float(scores[i]))
            for i in np.argsort(-scores, kind="stable")
        ]

    def _crop(self, box):
        """The map from the image to a box's crop, as training has it: (2, 3) float64."""
        side = self.config.image_size[0]
        x1, y1, x2, y2 = np.asarray(box, np.float64)
        scale = self.config.refiner_share * side / max(x2 - x1, y2 - y1, 1.0)
        return affine(((x1 + x2) / 2, (y1 + y2) / 2), (side, side), min(scale, self.config.refiner_enlargement))

    @functools.cached_property
    def _graph(self):
        """Function of (N, S, S, 3) uint8 crops, giving the best peak of each keypoint in crop pixels."""

        def find(crops):
            if self.mirror:
                crops = tf.concat([crops, crops[:, :, ::-1]], axis=0)
            heatmaps = run_with_constant_weights(self._network, crops)["heatmaps"][..., :NUM_KEYPOINTS]
            if self.mirror:
                heatmaps, mirrored = tf.split(heatmaps, 2)
                heatmaps = (heatmaps + tf.gather(mirrored[:, :, ::-1], MIRROR, axis=-1)) / 2
            positions, scores = find_peaks(heatmaps, max_peaks=1)
            return {"positions": positions[:, :, 0] * STRIDE, "scores": scores[:, :, 0]}

        side = self.config.image_size[0]
        signature = (tf.TensorSpec((None, side, side, 3), tf.uint8),)
        return compile_graph(find, signature, rewrites_to_bfloat16(self.precision))


class Refined:
    """A model whose people a refinement network looks at again.

    Args:
        model: MultiPoseNet or Ensemble, or anything with their `predict`.
        refiner: Refiner.
    """

    def __init__(self, model, refiner):
        self.model = model
        self.refiner = refiner

    def __getattr__(self, name):
        if name == "model":  # not there yet in a copy that is being made
            raise AttributeError(name)
        return getattr(self.model, name)

    def predict(self, image, with_silhouettes=False):
        """Finds the people in one image; see `MultiPoseNet.predict`."""
        people, silhouettes = self.model.predict(image, with_silhouettes=True)
        people = self.refiner.refine(image, people)
        return (people, silhouettes) if with_silhouettes else people


def refined(model, refiner_dir, precision="auto", mirror=False):
    """The model itself, or Refined by the refinement network in a directory.

    Args:
        model: MultiPoseNet or Ensemble.
        refiner_dir: see `Refiner.load`, or None.
        precision, mirror: of the refinement network, see Refiner.
    """
    return model if refiner_dir is None else Refined(model, Refiner.load(refiner_dir, precision, mirror))
