"""A backbone of five convolutions, for tests in which the backbone does not matter: it is built in no time."""

import contextlib
import runpy
import sys

import keras
import pytest
from keras import layers

from mpn.models.backbone import LEVELS, NORMALIZATION_MOMENTUM, _without_normalization


@contextlib.contextmanager
def small_backbones():
    """A context in which all networks have the small backbone, whatever their configuration says."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mpn.models.networks.build_backbone", build_small_backbone)
        yield


def build_small_backbone(name, dilated=False, width=1.0, folded=False):
    """Like `mpn.models.backbone.build_backbone`; layers have names, which fingerprints contain."""
    images = keras.Input((None, None, 3), name="image")
    x = layers.Rescaling(1 / 127.5, offset=-1.0, name="normalization")(images)
    x = layers.Conv2D(16, 3, strides=2, padding="same", use_bias=False, name="Conv1")(x)
    x = layers.BatchNormalization(momentum=NORMALIZATION_MOMENTUM, name="bn_Conv1")(x)
    features = {}
    for level, channels in zip(LEVELS, (8, 12, 16, 24), strict=True):
        x = layers.Conv2D(channels, 3, strides=2, padding="same", activation="relu", name=level)(x)
        features[level] = x
    model = keras.Model(images, features, name="mobilenet_v2")
    if folded:
        model = keras.models.clone_model(model, clone_function=_without_normalization)
    model.strides = dict(zip(LEVELS, (4, 8, 16, 32), strict=True))
    return model


if __name__ == "__main__":  # runs the script sys.argv[1] with small backbones
    del sys.argv[0]
    with small_backbones():
        runpy.run_path(sys.argv[0], run_name="__main__")
