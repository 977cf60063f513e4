"""A backbone of five convolutions, for tests in which the backbone does not matter: it is built in no time."""

import keras
from keras import layers

from mpn.models.backbone import LEVELS


def build_small_backbone(*_):
    """Like `mpn.models.backbone.build_backbone`; layers have names, which fingerprints contain."""
    images = keras.Input((None, None, 3), name="image")
    x = layers.Rescaling(1 / 127.5, offset=-1.0, name="normalization")(images)
    x = layers.Conv2D(16, 3, strides=2, padding="same", use_bias=False, name="Conv1")(x)
    x = layers.BatchNormalization(name="bn_Conv1")(x)
    features = {}
    for level, channels in zip(LEVELS, (8, 12, 16, 24), strict=True):
        x = layers.Conv2D(channels, 3, strides=2, padding="same", activation="relu", name=level)(x)
        features[level] = x
    model = keras.Model(images, features, name="mobilenet_v2")
    model.strides = dict(zip(LEVELS, (4, 8, 16, 32), strict=True))
    return model
