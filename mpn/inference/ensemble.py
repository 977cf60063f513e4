"""Ensembles (§4.2): the people of several models together, without those whom two of them found."""

import dataclasses

import numpy as np

from mpn.errors import UserError
from mpn.inference.multiposenet import MultiPoseNet
from mpn.inference.oks_nms import oks_nms
from mpn.inference.resampling import interpolation, resample
from mpn.people import SilhouetteMap

# OKS above which two poses are one person.
OKS_THRESHOLD = 0.5


class Ensemble:
    """Several models that predict as one.

    Each model finds people by itself, "results from different models are gathered", and OKS-NMS removes the poses that
    a better one has already. An ensemble of one model is that model with OKS-NMS.

    Args:
        models: MultiPoseNets, or anything with their `predict`.
        oks_threshold: OKS above which two poses are one person, see `oks_nms`.

    Raises:
        UserError: no models, or a threshold outside of 0 to 1.
    """

    def __init__(self, models, oks_threshold=OKS_THRESHOLD):
        if not models:
            raise UserError("an ensemble needs one model or more")
        if not 0 <= oks_threshold <= 1:
            raise UserError(f"oks_threshold must be a number from 0 to 1, not {oks_threshold!r}")
        self.models = list(models)
        self.oks_threshold = oks_threshold

    @classmethod
    def load(cls, model_dirs, oks_threshold=OKS_THRESHOLD, **options):
        """Loads model directories; options are those of `MultiPoseNet.load` and apply to each.

        Raises:
            UserError: see the class and `MultiPoseNet.load`.
        """
        return cls([MultiPoseNet.load(model_dir, **options) for model_dir in model_dirs], oks_threshold)

    def predict(self, image, with_silhouettes=False):
        """Finds the people in one image; see `MultiPoseNet.predict`.

        Every pose and box is that of the model whose pose scores best; silhouettes are the average of all models.
        """
        found = [model.predict(image, with_silhouettes=True) for model in self.models]
        silhouettes = average_silhouettes([silhouette_map for _, silhouette_map in found])
        people = oks_nms([person for people, _ in found for person in people], self.oks_threshold)
        people = [dataclasses.replace(person, silhouettes=silhouettes) for person in people]
        return (people, silhouettes) if with_silhouettes else people


def average_silhouettes(maps):
    """The mean of several SilhouetteMaps of one image, on the grid of the finest.

    Args:
        maps: list of SilhouetteMap, each with a scale.

    Returns:
        SilhouetteMap.
    """
    finest = max(maps, key=lambda silhouette_map: silhouette_map.scale[0])
    rows, columns = ((np.arange(count) + 0.5) for count in finest.values.shape)
    total = np.zeros_like(finest.values)
    for silhouette_map in maps:
        values, (x, y) = silhouette_map.values, np.divide(silhouette_map.scale, finest.scale)
        to_grid = interpolation(rows * y, values.shape[0]), interpolation(columns * x, values.shape[1])
        total += resample(values[..., None], *to_grid)[..., 0]
    return SilhouetteMap(total / len(maps), finest.image_size, finest.scale)
