"""Small untrained networks that several tests share."""

import keras
import numpy as np

from mpn.config import ModelConfig

# Built in seconds, and yet with every part.
NARROW = ModelConfig(
    backbone="mobilenet_v2",
    width=0.35,
    keypoint_channels=8,
    keypoint_head_channels=8,
    person_channels=8,
    person_head_channels=8,
    prn_nodes=8,
    image_size=(96, 160),
)

# Some sides, and the depth of D levels, differ from those of NARROW, so that nothing fits by chance.
TINY = NARROW.replace(keypoint_head_channels=4, image_size=(64, 96))


def sees_something(networks):
    """Gives untrained networks heads that find something in every image."""
    rng = np.random.default_rng(0)
    for model in (networks.person_detector.subnet.get_layer("classification_submodel"), networks.keypoint_subnet):
        for layer in model.layers:
            if isinstance(layer, keras.layers.Conv2D):
                kernel, bias = layer.get_weights()
                kernel = rng.normal(0, np.sqrt(2 / np.prod(kernel.shape[:3])), kernel.shape)
                layer.set_weights([kernel, np.full(bias.shape, 0.2)])
    return networks


def outputs_of(model, inputs):
    """Returns the outputs of a model as arrays, computed layer by layer: `predict_on_batch` would compile it."""
    return keras.tree.map_structure(np.asarray, model(inputs))
