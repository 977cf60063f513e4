"""Shared feature extractors (§3.1): ResNet-50/101, plain or dilated, and MobileNetV2.

Each is a functional Keras model from an RGB image to C2-C5. The layers have the names of keras.applications, so its
ImageNet weights fit.
"""

import keras
from keras import layers, ops

from mpn.errors import UserError
from mpn.models.normalization import BatchNormalization, FoldedNormalization, fold

LEVELS = ("C2", "C3", "C4", "C5")

# Blocks of each ResNet stage conv2-conv5.
RESNET_BLOCKS = {"resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}

# The last layer of each stride in keras.applications' MobileNetV2, with expanded features as in SSD.
MOBILENET_V2_LEVELS = ("block_3_expand_relu", "block_6_expand_relu", "block_13_expand_relu", "out_relu")

# As in PyTorch. With keras.applications' 0.99 and 0.999, running statistics lag by hundreds of steps.
NORMALIZATION_MOMENTUM = 0.9


@keras.saving.register_keras_serializable("mpn")
class CaffeNormalization(layers.Layer):
    """Turns RGB in 0-255 into BGR minus the ImageNet mean, for ResNet weights of keras.applications."""

    MEAN_BGR = (103.939, 116.779, 123.68)

    def call(self, images):
        return ops.flip(images, axis=-1) - ops.cast(self.MEAN_BGR, images.dtype)


def build_backbone(name="resnet50", dilated=False, width=1.0, folded=False):
    """Builds one of mpn.config.BACKBONES without trained weights.

    ResNet only: `dilated` gives conv5 stride 1 and dilation 2, so C5 has stride 16 (Table 2). MobileNet only: `width`
    multiplies the channels. `folded` convolutions hold and train the scale and shift of batch normalisation, which
    trains 1.5 times as fast on a CPU.

    Returns a keras.Model from (B, H, W, 3) RGB floats in 0-255, H and W multiples of 32, to a dict C2-C5 of
    (B, H/stride, W/stride, channels). Its attribute `strides` has the same keys: 4, 8, 16 and 32 (16 if dilated).
    """
    images = keras.Input((None, None, 3), name="image")
    if name in RESNET_BLOCKS:
        x = CaffeNormalization(name="normalization")(images)
        features = _resnet_stages(x, RESNET_BLOCKS[name], dilated)
    elif name == "mobilenet_v2":
        x = layers.Rescaling(1 / 127.5, offset=-1.0, name="normalization")(images)
        network = keras.applications.MobileNetV2((None, None, 3), alpha=width, include_top=False, weights=None)
        network = keras.models.clone_model(network, input_tensors=x, clone_function=_with_our_normalization)
        features = [network.get_layer(level).output for level in MOBILENET_V2_LEVELS]
    else:
        raise UserError(f"unknown backbone {name!r}: choose resnet50, resnet101 or mobilenet_v2")
    model = keras.Model(images, dict(zip(LEVELS, features, strict=True)), name=name)
    if folded:
        model = keras.models.clone_model(model, clone_function=_without_normalization)
    for layer in _normalizations(model):
        layer.momentum = NORMALIZATION_MOMENTUM
    model.strides = dict(zip(LEVELS, (4, 8, 16, 16 if dilated else 32), strict=True))
    return model


def _with_our_normalization(layer):
    """Copies a layer without its weights; our batch normalisation replaces Keras'."""
    kind = BatchNormalization if isinstance(layer, layers.BatchNormalization) else type(layer)
    return kind.from_config(layer.get_config())


def _without_normalization(layer):
    """Copies a layer without its weights; convolutions get a bias, and batch normalisation does nothing."""
    if isinstance(layer, layers.BatchNormalization):
        return FoldedNormalization(name=layer.name)
    config = layer.get_config()
    return type(layer).from_config(config | {"use_bias": True} if "use_bias" in config else config)


def _resnet_stages(x, blocks, dilated):
    """The outputs of ResNet v1's four stages (He et al.); the first 1x1 convolution of a stage has the stride."""
    x = layers.ZeroPadding2D(3, name="conv1_pad")(x)
    x = layers.Conv2D(64, 7, strides=2, name="conv1_conv")(x)
    x = BatchNormalization(epsilon=1.001e-5, name="conv1_bn")(x)
    x = layers.Activation("relu", name="conv1_relu")(x)
    x = layers.ZeroPadding2D(1, name="pool1_pad")(x)
    x = layers.MaxPooling2D(3, strides=2, name="pool1_pool")(x)
    outputs = []
    for stage, count in zip((2, 3, 4, 5), blocks, strict=True):
        dilation = 2 if dilated and stage == 5 else 1
        stride = 1 if stage == 2 or dilation > 1 else 2
        for block in range(1, count + 1):
            name = f"conv{stage}_block{block}"
            x = _resnet_block(x, 32 * 2 ** (stage - 1), stride if block == 1 else 1, dilation, block == 1, name)
        outputs.append(x)
    return outputs


def _resnet_block(x, filters, stride, dilation, shortcut, name):
    def convolution(y, channels, kernel, index, **options):
        y = layers.Conv2D(channels, kernel, name=f"{name}_{index}_conv", **options)(y)
        return BatchNormalization(epsilon=1.001e-5, name=f"{name}_{index}_bn")(y)

    residual = convolution(x, 4 * filters, 1, 0, strides=stride) if shortcut else x
    y = convolution(x, filters, 1, 1, strides=stride)
    y = layers.Activation("relu", name=f"{name}_1_relu")(y)
    y = convolution(y, filters, 3, 2, padding="same", dilation_rate=dilation)
    y = layers.Activation("relu", name=f"{name}_2_relu")(y)
    y = convolution(y, 4 * filters, 1, 3)
    y = layers.Add(name=f"{name}_add")([residual, y])
    return layers.Activation("relu", name=f"{name}_out")(y)


def copy_backbone_weights(backbone, source):
    """Copies weights from a keras.applications model of the same architecture and width."""
    folded = any(isinstance(layer, FoldedNormalization) for layer in backbone.layers)
    for layer in source.layers:
        if folded and isinstance(layer, layers.BatchNormalization):
            # A normalisation follows every convolution of these networks.
            convolution = layer.input._keras_history.operation
            backbone.get_layer(convolution.name).set_weights(fold(convolution, layer))
        elif layer.weights and not folded:
            backbone.get_layer(layer.name).set_weights(layer.get_weights())


def freeze_up_to(backbone, level):
    """Freezes a backbone's layers up to one of LEVELS."""
    for layer in keras.Model(backbone.input, backbone.output[level]).layers:
        layer.trainable = False


def freeze_batch_normalization(model):
    """Freezes batch normalisation, which then uses its stored statistics in training too."""
    for layer in _normalizations(model):
        layer.trainable = False


def synchronize_batch_normalization(model):
    """Makes batch normalisation take its statistics from the batches of all devices together."""
    for layer in _normalizations(model):
        layer.synchronized = True


def _normalizations(model):
    return [layer for layer in model.layers if isinstance(layer, layers.BatchNormalization)]
