"""Person detection subnet (§3.3): RetinaNet with one class, from keras-retinanet's parts, on our backbone."""

import keras
import tensorflow as tf
from keras import layers
from keras_retinanet import layers as retinanet_layers
from keras_retinanet.models import retinanet
from keras_retinanet.utils.anchors import AnchorParameters

from mpn.models.fpn import feature_pyramid

# §3.5: "We obtained final proposals using NMS with a threshold of 0.3".
NMS_THRESHOLD = 0.3
SCORE_THRESHOLD = 0.05
MAX_DETECTIONS = 100

BACKBONE_LEVELS = ("C3", "C4", "C5")
PYRAMID_LEVELS = (3, 4, 5, 6, 7)


class PersonDetector(keras.Model):
    """Backbone, FPN P and the RetinaNet heads: the model that stage 2 trains.

    It shares the backbone with the keypoint subnet; `subnet` holds its own weights. P3-P7 have `channels`, the four
    convolutions of each head `head_channels`.
    """

    def __init__(self, backbone, channels=256, head_channels=256):
        super().__init__(name="person_detector")
        self.backbone = backbone
        self.subnet = build_person_subnet(backbone, channels, head_channels)

    def call(self, images, training=False):
        """Raw outputs for every anchor of (B, H, W, 3) RGB floats in 0-255, as keras-retinanet's losses take them.

        A dict of float32: "regression" (B, A, 4), offsets of the box corners in units of 0.2 times the anchor's size,
        and "classification" (B, A, 1), the probability of a person.
        """
        return self.heads(self.backbone(images, training=training), training)

    def heads(self, features, training=False):
        """The outputs of `call` from the backbone's C2-C5; RetinaNet starts at C3."""
        return self.subnet({level: features[level] for level in BACKBONE_LEVELS}, training=training)


def build_person_subnet(backbone, channels=256, head_channels=256):
    """FPN P and keras-retinanet's heads: keras.Model from the dict C3-C5 to the dict of `PersonDetector.call`."""
    features = {level: keras.Input(backbone.output[level].shape[1:], name=level) for level in BACKBONE_LEVELS}

    def pyramid(levels, _):
        """P3-P5 from C3-C5; P6 is a stride-2 convolution of C5 and P7 one of P6, as in RetinaNet."""
        strides = {level: backbone.strides[level] for level in levels}
        coarsest = levels["C5"]
        if strides["C5"] == 16:  # a dilated backbone, but the anchors of P5 have stride 32
            coarsest = layers.MaxPooling2D(1, strides=2, name="C5_subsampled")(coarsest)
            levels, strides = {**levels, "C5": coarsest}, {**strides, "C5": 32}
        outputs = feature_pyramid(levels, strides, channels, prefix="P")
        outputs["P6"] = layers.Conv2D(channels, 3, strides=2, padding="same", name="P6")(coarsest)
        x = layers.Activation("relu", name="P6_relu")(outputs["P6"])
        outputs["P7"] = layers.Conv2D(channels, 3, strides=2, padding="same", name="P7")(x)
        return outputs

    num_anchors = AnchorParameters.default.num_anchors()
    heads = [
        ("regression", retinanet.default_regression_model(4, num_anchors, channels, head_channels)),
        ("classification", retinanet.default_classification_model(1, num_anchors, channels, 0.01, head_channels)),
    ]
    model = retinanet.retinanet(
        inputs=features,
        backbone_layers=dict(features),
        num_classes=1,
        create_pyramid_features=pyramid,
        pyramid_levels=list(PYRAMID_LEVELS),
        submodels=heads,
    )
    regression, classification = model.outputs
    outputs = {"regression": regression, "classification": classification}
    for name, values in outputs.items():
        outputs[name] = layers.Activation("linear", dtype="float32", name=f"{name}_float32")(values)
    return keras.Model(features, outputs, name="person_subnet")


def build_anchors(height, width):
    """keras-retinanet's anchors of an input, in the heads' order: (A, 4) float32 [x1, y1, x2, y2] in input pixels."""
    default = AnchorParameters.default
    anchors = []
    for size, stride in zip(default.sizes, default.strides, strict=True):
        layer = retinanet_layers.Anchors(size=size, stride=stride, ratios=default.ratios, scales=default.scales)
        # The layer reads only the shape of its input.
        shape = [1, (height + stride - 1) // stride, (width + stride - 1) // stride, 1]
        anchors.append(layer(tf.zeros(shape))[0])
    return tf.concat(anchors, axis=0)


def decode_boxes(regression, height, width, chosen=None):
    """Turns regression values, (B, A, 4), into boxes in an input of `height` and `width` pixels.

    `chosen`, (C,) int, limits the result to these anchors. Returns (B, A or C, 4) float32 [x1, y1, x2, y2].
    """
    anchors = build_anchors(height, width)
    if chosen is not None:
        anchors, regression = tf.gather(anchors, chosen), tf.gather(regression, chosen, axis=1)
    anchors = anchors[None] + tf.zeros_like(regression)  # tf.repeat would fail without anchors, once it is exported
    boxes = retinanet_layers.RegressBoxes()([anchors, regression])
    limits = tf.cast(tf.stack([width, height, width, height]), tf.float32)
    # keras-retinanet's ClipBoxes ends a box at W - 1; in continuous coordinates the image ends at W.
    return tf.clip_by_value(boxes, 0.0, limits)
