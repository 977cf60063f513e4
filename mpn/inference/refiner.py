"""Refinement of poses (§4.2): a network like the keypoint subnet that looks at one person at a time."""

import dataclasses
import functools

import numpy as np

from mpn.deployment.folder import is_export
from mpn.errors import UserError
from mpn.geometry import affine, transform_points, warp_image
from mpn.heatmaps import STRIDE, find_peaks
from mpn.images import check_image
from mpn.inference.augmentation import MIRRORED_CHANNELS
from mpn.lazy import tf
from mpn.people import pose_scores
from mpn.skeleton import NUM_KEYPOINTS

# Crops that share a batch: an image rarely has more people, and a graph for any number needs no more memory.
CROPS_AT_A_TIME = 16

# People of an image whom it looks at: COCO counts no more.
MOST_PEOPLE = 20


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
        from mpn.precision import resolve_inference_precision

        self.config = networks.config
        self.mirror = mirror
        if self.config.refiner_share is None:
            raise UserError("this model is not a refinement network: train one with train_keypoints.py --refiner")
        self.precision = resolve_inference_precision(precision)
        self._network = networks.keypoint_model(supervised=False)

    @classmethod
    def load(cls, model_dir, precision="auto", mirror=False):
        """Loads the model directory of a refinement network, or an export; see the class for the other arguments.

        Raises:
            UserError: a file is missing or damaged, or the directory holds another kind of network.
        """
        if is_export(model_dir):
            from mpn.deployment.predictor import ExportedRefiner

            return ExportedRefiner(model_dir, precision, mirror)
        from mpn.model_directory import load_networks
        from mpn.precision import network_dtype_policy

        with network_dtype_policy(precision):
            networks = load_networks(model_dir, ("keypoints",), refiner=True)
        try:
            return cls(networks, precision, mirror)
        except UserError as error:
            raise UserError(f"{model_dir}: {error}") from error

    def find(self, image, boxes):
        """The keypoints of some people.

        One look at the crop of each box is what measures best for its time: a second one in a box moved towards the
        silhouette of the first gains .015 of keypoint AP on held-out photographs for twice the time, and the moved
        boxes lose .04 to .12 of box AP.

        Args:
            image: (H, W, 3) uint8 RGB.
            boxes: (N, 4) float, [x1, y1, x2, y2] in image pixels.

        Returns:
            (N, 17, 3) float32, x, y in image pixels and confidence in [0, 1]; 0 where there is no peak.

        Raises:
            ValueError: `image` has another shape or dtype.
        """
        check_image(image)
        found = np.zeros((len(boxes), NUM_KEYPOINTS, 3), np.float32)
        for start in range(0, len(boxes), CROPS_AT_A_TIME):
            some = slice(start, start + CROPS_AT_A_TIME)
            crops, heatmaps = self._look(image, boxes[some])
            found[some] = self._peaks(heatmaps[..., :NUM_KEYPOINTS], crops)
        return found

    def refine(self, image, people):
        """People with the keypoints that this network finds for them, and scores to match, best first.

        A keypoint that this network does not find stays where it was, and so do the people after the best MOST_PEOPLE.

        Args:
            image: (H, W, 3) uint8 RGB.
            people: list of Person, best first.

        Returns:
            list of Person.

        Raises:
            ValueError: `image` has another shape or dtype.
        """
        if not people:
            return []
        people, others = people[:MOST_PEOPLE], people[MOST_PEOPLE:]
        before = np.stack([person.keypoints for person in people])
        found = self.find(image, np.stack([person.box for person in people]))
        keypoints = np.where(found[..., 2:] > 0, found, before)
        scores = pose_scores(np.array([person.box_score for person in people]), keypoints[..., 2])
        refined = [
            dataclasses.replace(person, keypoints=points, score=float(score))
            for person, points, score in zip(people, keypoints, scores, strict=True)
        ]
        return sorted(refined + others, key=lambda person: -person.score)

    def _look(self, image, boxes):
        """What the network sees of some people: list of N (2, 3) maps from the image to their crops, and heatmaps."""
        crops, seen = self.crops(image, boxes)
        return crops, self._network_graph(seen)["heatmaps"]

    def crops(self, image, boxes):
        """The crops of some people: list of N (2, 3) maps from the image to them, and (N, S, S, 3) uint8."""
        side = self.config.image_size[0]
        crops = [self._crop(box) for box in boxes]
        return crops, np.stack([warp_image(crop, image, (side, side)) for crop in crops])

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
        from mpn.inference.graphs import compile_graph, run_with_constant_weights
        from mpn.precision import rewrites_to_bfloat16

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
        from mpn.inference.graphs import compile_graph

        def find(heatmaps):
            positions, scores = find_peaks(heatmaps, max_peaks=1)
            return {"positions": positions[:, :, 0], "scores": scores[:, :, 0]}

        cells = self.config.image_size[0] // STRIDE
        return compile_graph(find, (tf.TensorSpec((None, cells, cells, NUM_KEYPOINTS), tf.float32),))


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
