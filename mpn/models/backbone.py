"""Shared feature extractors (§3.1): ResNet-50/101, plain or dilated, and MobileNetV2.

Each is a functional Keras model from an RGB image to C2-C5. The layers carry the names of keras.applications, whose
ImageNet weights fit unchanged.
"""

import pathlib

import h5py
import keras
from keras import layers, ops

from mpn.errors import UserError
from mpn.models.normalization import BatchNormalization, FoldedNormalization, fold

LEVELS = ("C2", "C3", "C4", "C5")

# Blocks of each ResNet stage conv2-conv5.
RESNET_BLOCKS = {"resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}

# The layers of keras.applications' MobileNetV2 that end each stride. Expanded features, as its SSD users take them.
MOBILENET_V2_LEVELS = ("block_3_expand_relu", "block_6_expand_relu", "block_13_expand_relu", "out_relu")

# Of the running statistics, as in PyTorch: keras.applications' 0.99 and 0.999 take hundreds of steps to leave their
# start, longer than a short run has.
NORMALIZATION_MOMENTUM = 0.9


@keras.saving.register_keras_serializable("mpn")
class CaffeNormalization(layers.Layer):
    """RGB in 0-255 to BGR minus the ImageNet mean: what keras.applications' ResNet weights expect.

    Input and output are (B, H, W, 3) float.
    """

    MEAN_BGR = (103.939, 116.779, 123.68)

    def call(self, images):
        return ops.flip(images, axis=-1) - ops.cast(self.MEAN_BGR, images.dtype)


def build_backbone(name="resnet50", dilated=False, width=1.0, folded=False):
    """Builds a feature extractor without trained weights.

    Args:
        name: "resnet50", "resnet101" or "mobilenet_v2".
        dilated: ResNet only: conv5 with stride 1 and dilation 2, so C5 has stride 16 (Table 2).
        width: MobileNet only: channel multiplier.
        folded: no batch normalisation; its scale and shift are in the convolutions, and are trained with them. On a
            processor this trains half as fast again.

    Returns:
        keras.Model from (B, H, W, 3) RGB floats in 0-255, H and W multiples of 32, to a dict C2-C5 of
        (B, H/stride, W/stride, channels). Its attribute `strides` is a dict of the same keys: 4, 8, 16 and 32 (16
        where dilated).
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
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = NORMALIZATION_MOMENTUM
    model.strides = dict(zip(LEVELS, (4, 8, 16, 16 if dilated else 32), strict=True))
    return model


def _with_our_normalization(layer):
    """A copy of a layer without its weights; batch normalisation becomes ours."""
    kind = BatchNormalization if isinstance(layer, layers.BatchNormalization) else type(layer)
    return kind.from_config(layer.get_config())


def _without_normalization(layer):
    """A copy of a layer without its weights; batch normalisation does nothing, and convolutions have a bias."""
    if isinstance(layer, layers.BatchNormalization):
        return FoldedNormalization(name=layer.name)
    config = layer.get_config()
    return type(layer).from_config(config | {"use_bias": True} if "use_bias" in config else config)


def _resnet_stages(x, blocks, dilated):
    """The four stage outputs of ResNet v1 (He et al.), with the strides in the first 1x1 convolution of a stage."""
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
            x = _resnet_block(
                x,
                filters=32 * 2 ** (stage - 1),
                stride=stride if block == 1 else 1,
                dilation=dilation,
                shortcut=block == 1,
                name=f"conv{stage}_block{block}",
            )
        outputs.append(x)
    return outputs


def _resnet_block(x, filters, stride, dilation, shortcut, name):
    """A bottleneck: 1x1, 3x3, 1x1 convolutions and a residual."""

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


def load_backbone_weights(backbone, weights, width=1.0):
    """Copies classification weights of keras.applications into a backbone, layer by layer and by name.

    Args:
        backbone: a model of `build_backbone`, plain or dilated.
        weights: "imagenet" (downloaded by Keras), "none", or the path of a weights file of the same
            keras.applications architecture without its top.
        width: the backbone's channel multiplier.

    Raises:
        UserError: the file is missing or does not hold weights of this architecture, or the download fails.
    """
    if weights == "none":
        return
    application = {
        "resnet50": keras.applications.ResNet50,
        "resnet101": keras.applications.ResNet101,
        "mobilenet_v2": keras.applications.MobileNetV2,
    }[backbone.name]
    options = {"alpha": width} if backbone.name == "mobilenet_v2" else {}
    if weights != "imagenet" and not pathlib.Path(weights).is_file():
        raise UserError(f"backbone weights {weights} do not exist: pass imagenet, none or a local .h5 file")
    if weights != "imagenet":
        _check_network(backbone, weights)
    try:
        source = application(
            weights="imagenet" if weights == "imagenet" else None,
            include_top=False,
            input_shape=(None, None, 3),
            **options,
        )
        if weights != "imagenet":
            source.load_weights(weights)
    except Exception as error:  # Keras raises a different class for each way in which a file can be wrong
        hint = (
            "download them elsewhere and pass the .h5 file, or pass none"
            if weights == "imagenet"
            else f"it must hold keras.applications {backbone.name} weights without the top"
        )
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"cannot load backbone weights {weights} into {backbone.name} ({reason}): {hint}") from error
    # Every convolution of these networks has a normalisation behind it.
    folded = any(isinstance(layer, FoldedNormalization) for layer in backbone.layers)
    for layer in source.layers:
        if folded and isinstance(layer, layers.BatchNormalization):
            convolution = layer.input._keras_history.operation
            backbone.get_layer(convolution.name).set_weights(fold(convolution, layer))
        elif layer.weights and not folded:
            backbone.get_layer(layer.name).set_weights(layer.get_weights())


def _check_network(backbone, path):
    """Raises UserError where a file holds the weights of another network than a backbone's, and says which."""
    kernels = []
    try:
        with h5py.File(path) as file:
            # A group has no shape, and that of a dataset without content is None.
            file.visititems(
                lambda _, item: kernels.append(item.shape) if len(getattr(item, "shape", None) or ()) == 4 else None
            )
    except (OSError, RuntimeError) as error:
        raise UserError(f"backbone weights {path} are no HDF5 file, or a damaged one ({error})") from error
    held, wanted = _network_of(kernels), _network_of([weight.shape for weight in backbone.weights])
    if held != wanted:
        raise UserError(f"backbone weights {path} are of {held}, and the backbone is {wanted}: pass weights of that")


def _network_of(kernels):
    """In words, the network of keras.applications that has convolution kernels of these shapes, in any order."""
    count = sum(len(shape) == 4 for shape in kernels)
    if (7, 7, 3, 64) in kernels:
        return "resnet101" if count > 80 else "resnet50"
    # The last convolution, to 1,280 channels or more, takes the 320 channels of the last block times the width.
    last = [shape[2] for shape in kernels if len(shape) == 4 and shape[:2] == (1, 1) and shape[3] >= 1280]
    return f"mobilenet_v2 of width {last[0] / 320:g}" if last else "no network that this package knows"


def freeze_up_to(backbone, level):
    """Makes a backbone's layers up to a level keep their weights in training, which also makes training cheaper.

    Args:
        backbone: a model of `build_backbone`.
        level: of LEVELS.
    """
    for layer in keras.Model(backbone.input, backbone.output[level]).layers:
        layer.trainable = False


def freeze_batch_normalization(model):
    """Makes every batch normalisation of a model use its stored statistics and stay as it is in training."""
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.trainable = False
