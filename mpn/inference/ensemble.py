"""Ensembles (§4.2): the people of several models together, without those that two models have found."""

import dataclasses

import numpy as np
import tensorflow as tf

from mpn.errors import UserError
from mpn.inference.augmentation import interpolation, resample
from mpn.inference.multiposenet import MultiPoseNet
from mpn.oks import keypoint_similarities
from mpn.people import GUESS_CONFIDENCE, SilhouetteMap

# Two poses with a larger OKS are the same person.
OKS_THRESHOLD = 0.5

# COCO divides by the area of the silhouette: this share of the box, the median and mean of the 5,461 labelled people of
# val2017.
SILHOUETTE_SHARE = 0.52


class Ensemble:
    """Several models that predict as one.

    Each model finds people, and OKS-NMS removes poses that a better one repeats. An ensemble of one model is that model
    with OKS-NMS.

    Args:
        models: MultiPoseNets, or anything with their `predict`.
        oks_threshold: see `oks_nms`.

    Raises:
        UserError: no models, or a threshold outside 0 to 1.
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
        """Loads model directories, each with the options of `MultiPoseNet.load`, which also has the errors."""
        return cls([MultiPoseNet.load(model_dir, **options) for model_dir in model_dirs], oks_threshold)

    def predict(self, image, with_silhouettes=False):
        """Finds the people in one image; see `MultiPoseNet.predict`. Silhouettes are the average of all models."""
        found = [model.predict(image, with_silhouettes=True) for model in self.models]
        silhouettes = average_silhouettes([silhouette_map for _, silhouette_map in found])
        people = oks_nms([person for people, _ in found for person in people], self.oks_threshold)
        people = [dataclasses.replace(person, silhouettes=silhouettes) for person in people]
        return (people, silhouettes) if with_silhouettes else people


def oks_nms(people, threshold):
    """Drops each person whose pose resembles a better one (Papandreou et al. 2017, section 4.4).

    Unlike overlaps of boxes, it keeps people who embrace. Only the joints that both poses have found are compared, or
    all if there are none: guesses do not tell who somebody is. The area is that of the better pose's box. On distorted
    labels of train2017, with two or three "models" that miss and move joints and people, the joints of the better pose
    cost .006 of AP, and so do all joints unless the threshold is .4; the choice of area changes AP by less than .001.

    Args:
        people: list of Person.
        threshold: OKS from 0 to 1 above which two poses are the same.

    Returns:
        list of Person, best first; of equal scores the earlier one.
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
    """The mean of several SilhouetteMaps of one image, each with a scale, on the grid of the finest: SilhouetteMap."""
    finest = max(maps, key=lambda silhouette_map: silhouette_map.scale[0])
    rows, columns = ((np.arange(count) + 0.5) for count in finest.values.shape)
    total = np.zeros_like(finest.values)
    for silhouette_map in maps:
        values, (x, y) = silhouette_map.values, np.divide(silhouette_map.scale, finest.scale)
        to_grid = interpolation(rows * y, values.shape[0]), interpolation(columns * x, values.shape[1])
        total += resample(tf.constant(values[..., None]), *to_grid)[..., 0].numpy()
    return SilhouetteMap(total / len(maps), finest.image_size, finest.scale)
