"""Pose Residual Network (§3.4, Fig. 2): a residual multilayer perceptron on RoIs of keypoint heatmaps."""

import keras
from keras import layers, ops

from mpn.roi import ROI_HEIGHT, ROI_WIDTH
from mpn.skeleton import NUM_KEYPOINTS


@keras.saving.register_keras_serializable("mpn")
class Dense(layers.Dense):
    """Keras' layer of the same name and weights, which adds its bias in float32.

    In bfloat16 that is more exact, and faster than oneDNN's fusion of product and bias: 6.5 against 10 ms for the
    weights of a hidden layer of 1024 nodes and 20 people.
    """

    def call(self, inputs, training=None):
        """(B, inputs) to (B, units) float32."""
        products = ops.cast(ops.matmul(inputs, self.kernel), "float32")
        return self.activation(ops.add(products, ops.cast(self.bias, "float32")))


def build_prn(nodes=1024, num_layers=1, dropout=0.5, residual=True, name="prn"):
    """Builds the PRN: Y = softmax(phi(X) + X), Eq. 1, or softmax(phi(X)), Eq. 3.

    Args:
        nodes: units of each hidden layer.
        num_layers: hidden layers.
        dropout: rate after each hidden layer.
        residual: adds the input to the output before the softmax.

    Returns:
        keras.Model from (B, 56, 36, 17) float RoIs, one peak a candidate keypoint, to (B, 56, 36, 17) float32:
        for each keypoint a probability distribution over the 56 x 36 cells. 70,224,352 parameters as in the paper's
        best design (1024 nodes, one layer).
    """
    cells = ROI_HEIGHT * ROI_WIDTH
    rois = keras.Input((ROI_HEIGHT, ROI_WIDTH, NUM_KEYPOINTS), dtype="float32", name="roi")
    x = layers.Flatten(name="flatten")(rois)
    for index in range(1, num_layers + 1):
        x = Dense(nodes, activation="relu", name=f"hidden_{index}")(x)
        x = layers.Dropout(dropout, name=f"dropout_{index}")(x)
    x = Dense(cells * NUM_KEYPOINTS, name="correction")(x)
    # What follows is cheap, and sums and exponentials lose too much in half precision.
    x = layers.Reshape((cells, NUM_KEYPOINTS), dtype="float32", name="correction_cells")(x)
    if residual:
        roi_cells = layers.Reshape((cells, NUM_KEYPOINTS), dtype="float32", name="roi_cells")(rois)
        x = layers.Add(dtype="float32", name="residual")([x, roi_cells])
    x = layers.Softmax(axis=1, dtype="float32", name="softmax")(x)
    x = layers.Reshape((ROI_HEIGHT, ROI_WIDTH, NUM_KEYPOINTS), dtype="float32", name="pose")(x)
    return keras.Model(rois, x, name=name)
