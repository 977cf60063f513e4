"""Keypoint estimation subnet (§3.2, Fig. 3)."""

import keras
from keras import layers

from mpn.heatmaps import STRIDE
from mpn.models.fpn import feature_pyramid
from mpn.models.upsampling import BilinearUpsampling
from mpn.skeleton import NUM_KEYPOINTS

NUM_CHANNELS = NUM_KEYPOINTS + 1  # the last one is the silhouette of all people


def build_keypoint_subnet(backbone, channels=256, head_channels=128, concat=True, intermediate_supervision=True):
    """Builds the subnet from C2-C5 to heatmaps.

    Of `backbone`, a model of `build_backbone`, only output shapes and strides are used. K2-K5 have `channels`, each of
    D2-D5 has `head_channels`. Without `concat`, D2 alone predicts (Table 2, "no concat").

    Returns a keras.Model from the dict C2-C5 to a dict. "heatmaps" are (B, H/4, W/4, 18) float32, linear, 17 keypoints
    and then the silhouette. With `intermediate_supervision` there are also "K2" to "K5" of the same shape: a 1x1
    convolution of each level, upsampled to stride 4.
    """
    features = {level: keras.Input(tensor.shape[1:], name=level) for level, tensor in backbone.output.items()}
    pyramid = feature_pyramid(features, backbone.strides, channels, prefix="K")
    strides = {level: backbone.strides[f"C{level[1:]}"] for level in pyramid}

    def upsample(x, level, of):
        ratio = strides[level] // STRIDE
        return x if ratio == 1 else BilinearUpsampling(ratio, name=f"{of}_to_stride_4")(x)

    def to_heatmaps(x, layer_name):
        # With small weights the first heatmaps are nearly empty, as the targets are.
        small = keras.initializers.RandomNormal(stddev=0.001)
        return layers.Conv2D(NUM_CHANNELS, 1, dtype="float32", kernel_initializer=small, name=layer_name)(x)

    details = []
    for level in pyramid if concat else ("K2",):
        x, number = pyramid[level], level[1:]
        for index in (1, 2):
            x = layers.Conv2D(head_channels, 3, padding="same", activation="relu", name=f"D{number}_{index}")(x)
        details.append(upsample(x, level, f"D{number}"))
    x = layers.Concatenate(name="D_concat")(details) if concat else details[0]
    x = layers.Conv2D(x.shape[-1], 3, padding="same", activation="relu", name="D_smooth")(x)
    outputs = {"heatmaps": to_heatmaps(x, "heatmaps")}
    if intermediate_supervision:
        for level, x in pyramid.items():
            outputs[level] = upsample(to_heatmaps(x, f"{level}_heatmaps"), level, f"{level}_heatmaps")
    return keras.Model(features, outputs, name="keypoint_subnet")


def build_keypoint_model(backbone, subnet, supervised=True):
    """Joins a backbone and its keypoint subnet, which are shared, into the model that stage 1 trains.

    It maps (B, H, W, 3) RGB floats in 0-255 to the subnet's outputs; unless `supervised`, only "heatmaps".
    """
    outputs = subnet(backbone(backbone.input))
    outputs = outputs if supervised else {"heatmaps": outputs["heatmaps"]}
    return keras.Model(backbone.input, outputs, name="keypoint_model")
