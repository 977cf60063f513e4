"""Multiply-adds of a network, worked out from the shapes of its layers (§4.5).

Convolutions and dense layers count: one for each weight of the kernel at each place of the output, in the padding too.
What the rest does (normalisation, sums, upsampling, pooling, softmax) is left out, as usual: about 1 % here. Two
floating-point operations (FLOPs) are one multiply-add.
"""

import math

import keras
from keras import layers

COUNTED = (layers.Conv2D, layers.DepthwiseConv2D, layers.Dense)


def multiply_adds(model, inputs):
    """Multiply-adds of one call of a functional model. Nothing is computed: only shapes go through it.

    Args:
        model: functional keras.Model; models inside it count as often as they are called.
        inputs: keras.Input or KerasTensor with a batch of 1 and known sizes, or a structure of them as `model.input`.

    Returns:
        int.

    Raises:
        ValueError: a layer has a matrix or kernel of weights and is none of COUNTED, or a size is not known.
    """
    total = 0

    def call(layer, *arguments, **options):
        nonlocal total
        outputs = layer(*arguments, **options)
        total += multiply_adds(layer, arguments[0]) if isinstance(layer, keras.Model) else _of_layer(layer, outputs)
        return outputs

    def like(old, tensor):
        return keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=old.name)

    fresh = keras.tree.map_structure(like, model.input, inputs)
    # The same layers, called on other inputs; a clone with layers of its own would need as much memory again.
    keras.models.clone_model(model, fresh, clone_function=lambda layer: layer, call_function=call)
    return total


def _of_layer(layer, outputs):
    if not isinstance(layer, COUNTED):
        if any(len(weight.shape) > 1 for weight in layer.weights):
            raise ValueError(f"layer {layer.name} ({type(layer).__name__}) has a kernel, and its cost is not known")
        return 0
    # (B, H, W, channels) of a convolution, (B, ..., units) of a dense layer.
    if None in outputs.shape:
        raise ValueError(f"layer {layer.name} gives {outputs.shape}: the inputs' sizes must be known")
    return math.prod(outputs.shape[:-1]) * math.prod(layer.kernel.shape)
