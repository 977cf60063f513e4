"""Pose Residual Network (§3.4, Fig. 2): a residual multilayer perceptron on RoIs of keypoint heatmaps."""

import keras
from keras import layers as nn
from keras import ops

from mpn.roi import ROI_HEIGHT, ROI_WIDTH
from mpn.skeleton import NUM_KEYPOINTS

# Before training, this makes the cell of a peak about exp(5) times as likely as an empty one.
FIRST_GAIN = 5.0


@keras.saving.register_keras_serializable("mpn")
class Dense(nn.Dense):
    """Keras' layer of the same name and weights, which adds its bias in float32.

    In bfloat16 this is more exact than oneDNN's fusion of product and bias, and faster: 6.5 instead of 10 ms for 1024
    nodes and 20 people.
    """

    def call(self, inputs, training=None):
        products = ops.cast(ops.matmul(inputs, self.kernel), "float32")
        return self.activation(ops.add(products, ops.cast(self.bias, "float32")))


@keras.saving.register_keras_serializable("mpn")
class ChannelGain(nn.Layer):
    """Multiplies each channel by a learned factor, which starts at `initial`."""

    def __init__(self, initial=1.0, **options):
        super().__init__(**options)
        self.initial = initial

    def build(self, input_shape):
        self.gain = self.add_weight(
            shape=input_shape[-1:], initializer=keras.initializers.Constant(self.initial), name="gain"
        )

    def call(self, inputs):
        return inputs * self.gain

    def get_config(self):
        return {**super().get_config(), "initial": self.initial}


def build_prn(nodes=1024, layers=1, dropout=0.5, residual=True, pool=1, residual_gain=False):
    """Builds the PRN: Y = softmax(phi(X) + X), Eq. 1, or, unless `residual`, softmax(phi(X)), Eq. 3.

    phi has `layers` hidden layers of `nodes` units, each with dropout. It sees means of `pool` x `pool` cells (1, 2 or
    4; the paper has 1), and its output is interpolated to all cells, which divides the number of weights by pool^2.
    `residual_gain` multiplies the added input by a learned factor per keypoint. The input is at most 1, too little to
    sharpen a softmax over 2,016 cells: without a gain, phi must draw every peak again, which a pooled phi cannot.

    Returns a keras.Model from (B, 56, 36, 17) float RoIs, with a peak per candidate, to (B, 56, 36, 17) float32: each
    keypoint's probability distribution over the cells. By default it has the paper's 70,224,352 parameters.
    """
    height, width = ROI_HEIGHT // pool, ROI_WIDTH // pool
    rois = keras.Input((ROI_HEIGHT, ROI_WIDTH, NUM_KEYPOINTS), dtype="float32", name="roi")
    x = rois
    if pool > 1:
        x = nn.AveragePooling2D(pool, dtype="float32", name="pool")(x)
        x = nn.Rescaling(float(pool), dtype="float32", name="pool_scale")(x)
    x = nn.Flatten(name="flatten")(x)
    for index in range(1, layers + 1):
        x = Dense(nodes, activation="relu", name=f"hidden_{index}")(x)
        x = nn.Dropout(dropout, name=f"dropout_{index}")(x)
    x = Dense(height * width * NUM_KEYPOINTS, name="correction")(x)
    # The rest is float32: it is cheap, and half precision is too coarse for its sums and exponentials.
    if pool > 1:
        x = nn.Reshape((height, width, NUM_KEYPOINTS), dtype="float32", name="correction_pooled")(x)
        x = nn.UpSampling2D(pool, interpolation="bilinear", dtype="float32", name="correction_grid")(x)
    x = nn.Reshape((ROI_HEIGHT * ROI_WIDTH, NUM_KEYPOINTS), dtype="float32", name="correction_cells")(x)
    if residual:
        cells = nn.Reshape((ROI_HEIGHT * ROI_WIDTH, NUM_KEYPOINTS), dtype="float32", name="roi_cells")(rois)
        if residual_gain:
            cells = ChannelGain(FIRST_GAIN, dtype="float32", name="residual_gain")(cells)
        x = nn.Add(dtype="float32", name="residual")([x, cells])
    x = nn.Softmax(axis=1, dtype="float32", name="softmax")(x)
    x = nn.Reshape((ROI_HEIGHT, ROI_WIDTH, NUM_KEYPOINTS), dtype="float32", name="pose")(x)
    return keras.Model(rois, x, name="prn")
