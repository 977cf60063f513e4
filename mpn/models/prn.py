"""Pose Residual Network (§3.4, Fig. 2): a residual multilayer perceptron on RoIs of keypoint heatmaps."""

import keras
from keras import layers

from mpn.roi import ROI_HEIGHT, ROI_WIDTH
from mpn.skeleton import NUM_KEYPOINTS


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
    rois = keras.Input((ROI_HEIGHT, ROI_WIDTH, NUM_KEYPOINTS), name="roi")
    x = layers.Flatten(name="flatten")(rois)
    for index in range(1, num_layers + 1):
        x = layers.Dense(nodes, activation="relu", name=f"hidden_{index}")(x)
        x = layers.Dropout(dropout, name=f"dropout_{index}")(x)
    x = layers.Dense(cells * NUM_KEYPOINTS, name="correction")(x)
    x = layers.Reshape((cells, NUM_KEYPOINTS), name="correction_cells")(x)
    if residual:
        x = layers.Add(name="residual")([x, layers.Reshape((cells, NUM_KEYPOINTS), name="roi_cells")(rois)])
    x = layers.Softmax(axis=1, dtype="float32", name="softmax")(x)
    x = layers.Reshape((ROI_HEIGHT, ROI_WIDTH, NUM_KEYPOINTS), dtype="float32", name="pose")(x)
    return keras.Model(rois, x, name=name)
