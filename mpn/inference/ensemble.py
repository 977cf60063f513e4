"""Ensembles (§4.2): merges the people that several models find, without duplicates."""

import dataclasses

import numpy as np
import tensorflow as tf

from mpn.errors import UserError
from mpn.inference.augmentation import interpolation, resample
from mpn.inference.multiposenet import MultiPoseNet
from mpn.inference.predictor import Predictor
from mpn.oks import SILHOUETTE_SHARE, keypoint_similarities
from mpn.people import GUESS_CONFIDENCE, SilhouetteMap

# Two poses with a larger OKS count as the same person.
OKS_THRESHOLD = 0.5


class Ensemble(Predictor):
    """Several models that predict as one: OKS-NMS drops poses that resemble a better one; silhouettes are averaged.

    `models` are MultiPoseNets, or anything with their `predict`; one model alone gets OKS-NMS, too. Raises UserError
    without models, or for a threshold outside 0 to 1.
    """

    def __init__(self, models, oks_threshold=OKS_THRESHOLD):
        if not models:
            raise UserError("an ensemble needs at least one model")
        if not 0 <= oks_threshold <= 1:
            raise UserError(f"oks_threshold must be a number from 0 to 1, not {oks_threshold!r}")
        self.models = list(models)
        self.oks_threshold = oks_threshold

    @classmethod
    def load(cls, model_dirs, oks_threshold=OKS_THRESHOLD, **options):
        """Loads model directories; `options` and errors are those of `MultiPoseNet.load`."""
        return cls([MultiPoseNet.load(model_dir, **options) for model_dir in model_dirs], oks_threshold)

    def _predict_one(self, image):
        return self._merged([model.predict(image, with_silhouettes=True) for model in self.models])

    def predict_all(self, images):
        """Finds the people in a list of images, see `MultiPoseNet.predict_all`."""
        found = [model.predict_all(images) for model in self.models]
        return [self._merged(of_image) for of_image in zip(*found, strict=True)]

    def _merged(self, found):
        """People and silhouettes of one image, from those of each model."""
        silhouettes = average_silhouettes([silhouette_map for _, silhouette_map in found])
        people = oks_nms([person for people, _ in found for person in people], self.oks_threshold)
        return [dataclasses.replace(person, silhouettes=silhouettes) for person in people], silhouettes


def oks_nms(people, threshold):
    """Drops each Person whose pose has a larger OKS than `threshold` with a better one; the rest is best first.

    This follows Papandreou et al. 2017, section 4.4. Unlike the overlap of boxes, it keeps people who embrace. Of equal
    scores the earlier person is better. Only keypoints that both poses found count, or all if there are none: guesses
    do not tell people apart. The area is that of the better pose's box.

    On distorted labels of train2017, counting every keypoint that the better pose found costs .006 of AP; so does
    counting all keypoints, unless the threshold is .4. The choice of area changes AP by less than .001.
    """
    if not people:
        return []
    people = sorted(people, key=lambda person: -person.score)
    keypoints = np.stack([person.keypoints for person in people]).astype(np.float32)
    places, found = keypoints[..., :2], keypoints[..., 2] > GUESS_CONFIDENCE
    boxes = np.stack([person.box for person in people])
    areas = ((boxes[:, 2:] - boxes[:, :2]).prod(axis=1) * SILHOUETTE_SHARE).astype(np.float32)
    kept, remaining = [], np.arange(len(people))
    while len(remaining):
        best, remaining = remaining[0], remaining[1:]
        kept.append(people[best])
        counted = found[remaining] & found[best]
        counted[~counted.any(axis=1)] = True
        similarities = keypoint_similarities(places[remaining], places[best], areas[best]) * counted
        remaining = remaining[similarities.sum(axis=1) / counted.sum(axis=1) <= threshold]
    return kept


def average_silhouettes(maps):
    """The mean of one image's SilhouetteMaps, each with a scale, on the grid of the finest."""
    finest = max(maps, key=lambda silhouette_map: silhouette_map.scale[0])
    rows, columns = ((np.arange(count) + 0.5) for count in finest.values.shape)
    total = np.zeros_like(finest.values)
    for silhouette_map in maps:
        values, (x, y) = silhouette_map.values, np.divide(silhouette_map.scale, finest.scale)
        to_grid = interpolation(rows * y, values.shape[0]), interpolation(columns * x, values.shape[1])
        total += resample(tf.constant(values[..., None]), *to_grid)[..., 0].numpy()
    return SilhouetteMap(total / len(maps), finest.image_size, finest.scale)
