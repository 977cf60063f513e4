"""Refinement of poses (§4.2): a keypoint network looks at one person at a time."""

import dataclasses
import functools

import numpy as np

from mpn.errors import UserError
from mpn.geometry import affine, transform_points, warp_image
from mpn.heatmaps import STRIDE, find_peaks_of_one
from mpn.images import check_image
from mpn.inference.augmentation import MIRRORED_CHANNELS, interpolation
from mpn.inference.engines import load_export
from mpn.inference.export_folder import is_export
from mpn.inference.predictor import Predictor
from mpn.inference.views import Augmentation
from mpn.lazy import tf
from mpn.oks import SILHOUETTE_SHARE, keypoint_similarities
from mpn.people import GUESS_CONFIDENCE, pose_scores
from mpn.skeleton import NUM_KEYPOINTS

# Crops in a batch; few images have more people.
CROPS_AT_A_TIME = 16

# How much larger people are in the second crop of `nearer`; chosen on held-out photographs.
_NEARER = 1.18

# At most this many people of an image are refined; COCO's metrics count no more.
MOST_PEOPLE = 20


class Refiner:
    """Finds the keypoints of people in known boxes, one crop per person.

    `networks` come from `train_keypoints.py --refiner`. `mirror` averages the heatmaps of each crop and its mirror
    image, and `nearer` those of two crops, of which one shows the person larger; each doubles the time. What the larger
    one does not show counts half. Raises UserError for networks of whole images, or an unknown precision.
    """

    def __init__(self, networks, precision="auto", mirror=False, nearer=False):
        from mpn.precision import resolve_inference_precision

        self.config = networks.config
        self.mirror = mirror
        self.nearer = nearer
        if self.config.refiner_share is None:
            raise UserError("this model is not a refinement network: train one with train_keypoints.py --refiner")
        self.precision = resolve_inference_precision(precision)
        self._network = networks.keypoint_model(supervised=False)

    @classmethod
    def load(cls, model_dir, precision="auto", mirror=False, nearer=False):
        """Loads a refinement network or its export; UserError if a file is missing, damaged or unsuitable."""
        if is_export(model_dir):
            return ExportedRefiner(model_dir, precision, mirror, nearer)
        from mpn.model_directory import load_networks
        from mpn.precision import network_dtype_policy

        with network_dtype_policy(precision):
            networks = load_networks(model_dir, ("keypoints",), refiner=True)
        try:
            return cls(networks, precision, mirror, nearer)
        except UserError as error:
            raise UserError(f"{model_dir}: {error}") from error

    def find(self, image, boxes):
        """Finds the keypoints of people in an (H, W, 3) uint8 RGB image: (N, 17, 3) float32.

        `boxes` is (N, 4) float [x1, y1, x2, y2]. Keypoints are x, y and confidence in [0, 1], which is 0 without a
        peak. Boxes and keypoints are in image pixels. Raises ValueError for an image of another shape or dtype.
        """
        check_image(image)
        found = [np.zeros((0, NUM_KEYPOINTS, 3), np.float32)]
        for start in range(0, len(boxes), CROPS_AT_A_TIME):
            heatmaps, crops = self._look(image, boxes[start : start + CROPS_AT_A_TIME])
            peaks = self._peaks_graph(heatmaps)
            for crop, positions, scores in zip(crops, peaks["positions"], peaks["scores"], strict=True):
                back = np.linalg.inv(np.vstack([crop, (0, 0, 1)]))[:2]
                found.append(np.column_stack([transform_points(back, STRIDE * positions), scores])[None])
        return np.concatenate(found)

    def _look(self, image, boxes):
        """The (N, h, w, 17) heatmaps of the crops of (N, 4) boxes, and the maps of `see`."""
        seen, crops = self.see(image, boxes)
        heatmaps = self._network_graph(seen)["heatmaps"][..., :NUM_KEYPOINTS]
        if self.nearer:
            seen, _ = self.see(image, boxes, _NEARER)
            nearer = self._network_graph(seen)["heatmaps"][..., :NUM_KEYPOINTS]
            count = heatmaps.shape[1]
            weights = interpolation((np.arange(count) + 0.5 - count / 2) * _NEARER + count / 2, count)
            nearer = np.einsum("yh,nhwk,xw->nyxk", weights, nearer, weights, optimize=True)
            heatmaps = (heatmaps + nearer) / 2
        return heatmaps, crops

    def see(self, image, boxes, zoom=1.0):
        """The crops of (N, 4) boxes, (N, S, S, 3) uint8, and a list of the (2, 3) maps from image to crop pixels.

        `boxes` are as in `find`. People are `zoom` times as large as in training, about the centre of their boxes.
        """
        crops = [self._crop(box, zoom) for box in boxes]
        return np.stack([warp_image(crop, image, self.config.image_size) for crop in crops]), crops

    def refine(self, image, people):
        """Gives people, best first, the keypoints that this network finds and new scores; returns them best first.

        Keypoints that it does not find stay, and so do people after the first MOST_PEOPLE, with their scores. A new
        score is that of `pose_scores`; it loses up to half where the new pose differs from the old one. Errors are
        those of `find`.
        """
        if not people:
            return []
        people, others = people[:MOST_PEOPLE], people[MOST_PEOPLE:]
        before = np.stack([person.keypoints for person in people])
        boxes = np.stack([person.box for person in people])
        found = self.find(image, boxes)
        keypoints = np.where(found[..., 2:] > 0, found, before)
        scores = pose_scores(np.array([person.box_score for person in people]), keypoints[..., 2])
        # A keypoint that stays agrees with itself: only one that was found anew can contradict the first pose.
        scores = scores * (1 + _agreement(before, keypoints, boxes)) / 2
        found = zip(people, keypoints, scores.tolist(), strict=True)
        people = [dataclasses.replace(person, keypoints=points, score=score) for person, points, score in found]
        return sorted(people + others, key=lambda person: -person.score)

    def _crop(self, box, zoom=1.0):
        """The (2, 3) map from the image to a box's crop, as in training but for `zoom`."""
        size = self.config.image_size
        x1, y1, x2, y2 = np.asarray(box, np.float64)
        scale = self.config.refiner_share * size[0] / max(x2 - x1, y2 - y1, 1.0)
        return affine(((x1 + x2) / 2, (y1 + y2) / 2), size, zoom * min(scale, self.config.refiner_enlargement))

    @functools.cached_property
    def _network_graph(self):
        """Maps (N, S, S, 3) uint8 crops to (N, S/4, S/4, 18) heatmaps."""
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

        signature = (tf.TensorSpec((None, *self.config.image_size, 3), tf.uint8),)
        return compile_graph(look, signature, rewrites_to_bfloat16(self.precision))

    @functools.cached_property
    def _peaks_graph(self):
        """Maps (N, h, w, 17) float32 heatmaps to the best peak of each, in cells."""
        from mpn.inference.graphs import compile_graph

        def find(heatmaps):
            positions, scores = find_peaks_of_one(heatmaps)
            return {"positions": positions, "scores": scores}

        cells = self.config.image_size[0] // STRIDE
        return compile_graph(find, (tf.TensorSpec((None, cells, cells, NUM_KEYPOINTS), tf.float32),))


def _agreement(poses, others, boxes):
    """The mean OKS of the keypoints that both of two (N, 17, 3) poses have found, (N,); 0 without any."""
    both = (poses[..., 2] > GUESS_CONFIDENCE) & (others[..., 2] > GUESS_CONFIDENCE)
    areas = SILHOUETTE_SHARE * (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    similarities = keypoint_similarities(poses[..., :2], others[..., :2], areas)
    return (similarities * both).sum(axis=1) / np.maximum(both.sum(axis=1), 1)


class ExportedRefiner(Refiner):
    """An exported Refiner; for errors see `load_export`."""

    def __init__(self, folder, precision="auto", mirror=False, nearer=False):
        _, self.config, self._engine = load_export(folder, precision, refiner=True)
        self.mirror = mirror
        self.nearer = nearer

    def _network_graph(self, crops):
        heatmaps = self._engine.run("network", images=crops)["heatmaps"]
        if self.mirror:
            mirrored = self._engine.run("network", images=np.ascontiguousarray(crops[:, :, ::-1]))["heatmaps"]
            heatmaps = (heatmaps + mirrored[:, :, ::-1][..., MIRRORED_CHANNELS]) / 2
        return {"heatmaps": heatmaps}

    def _peaks_graph(self, heatmaps):
        keypoints = self._engine.run("peaks", heatmaps=np.ascontiguousarray(heatmaps))["keypoints"]
        return {"positions": keypoints[..., :2] / STRIDE, "scores": keypoints[..., 2]}


class Refined(Predictor):
    """A model whose people a Refiner refines.

    `model` is anything with MultiPoseNet's `predict`. People with a score below `least_score` before refinement are
    left out: people that both networks find are right more often.
    """

    def __init__(self, model, refiner, least_score=0.0):
        self.model = model
        self.refiner = refiner
        self.least_score = least_score

    def __getattr__(self, name):
        if name == "model":  # copying asks for it before it is set
            raise AttributeError(name)
        return getattr(self.model, name)

    def _predict_one(self, image):
        people, silhouettes = self.model.predict(image, with_silhouettes=True)
        return self._refined(image, people), silhouettes

    def predict_all(self, images):
        """Finds the people in a list of images; see `MultiPoseNet.predict_all`."""
        found = zip(images, self.model.predict_all(images), strict=True)
        return [(self._refined(image, people), silhouettes) for image, (people, silhouettes) in found]

    def _refined(self, image, people):
        return self.refiner.refine(image, [person for person in people if person.score >= self.least_score])


def refined(model, refiner_dir, precision="auto", views=Augmentation(), least_score=0.0):  # noqa: B008  frozen
    """The model, Refined by the network in `refiner_dir`; the model itself if that is None.

    `views` is the Augmentation of the model. With `mirror`, the network sees people mirrored too; with several scales,
    from nearer too. For `least_score` see Refined, for errors `Refiner.load`.
    """
    if refiner_dir is None:
        return model
    return Refined(model, Refiner.load(refiner_dir, precision, views.mirror, len(views.scales) > 1), least_score)
