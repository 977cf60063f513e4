"""The trained PRN arranged for grouping (§3.5): the same function, but faster.

The PRN spends nearly all of its time on reading two large matrices. In bfloat16 they are stored transposed, so that the
numbers of one output are side by side. This takes four fifths of the time; in float32 it would take three times as
long. Maps are (N, 17, 56, 36), keypoints first, as in `mpn.roi`.
"""

import numpy as np
import tensorflow as tf

from mpn.models.upsampling import bilinear_weights
from mpn.roi import ROI_HEIGHT, ROI_WIDTH
from mpn.skeleton import NUM_KEYPOINTS


class GroupingPRN:
    """A PRN on keypoints-first maps.

    `prn` is a model of `build_prn`, whose weights are copied, and `pool` is as there. `dtype` is "float32" or
    "bfloat16", for the matrices and their products; sums and the softmax are float32.
    """

    def __init__(self, prn, pool=1, dtype="float32"):
        self.pool = pool
        self.dtype = dtype
        self._transposed = dtype == "bfloat16"
        layers = {layer.name: layer for layer in prn.layers}
        hidden = [layers[name].get_weights() for name in sorted(layers) if name.startswith("hidden_")]
        kernel, bias = hidden[0]
        hidden[0] = _keypoints_first(kernel.T).T, bias
        self._hidden = [self._stored(*weights) for weights in hidden]
        self._correction = self._stored(*(_keypoints_first(array) for array in layers["correction"].get_weights()))
        self._gain = None  # no residual
        if "residual" in layers:
            gain = layers["residual_gain"].get_weights()[0] if "residual_gain" in layers else np.ones(NUM_KEYPOINTS)
            self._gain = tf.constant(gain.reshape(-1, 1, 1), tf.float32)

    def __call__(self, maps):
        """The PRN's output Y for its input X, see `mpn.roi.encode_maps`; both are (N, 17, 56, 36) float32."""
        height, width = ROI_HEIGHT // self.pool, ROI_WIDTH // self.pool
        x = maps
        if self.pool > 1:
            x = tf.reshape(x, (-1, NUM_KEYPOINTS, height, self.pool, width, self.pool))
            x = tf.reduce_mean(x, axis=(3, 5)) * self.pool
        x = tf.reshape(x, (-1, NUM_KEYPOINTS * height * width))
        for weights in self._hidden:
            x = tf.nn.relu(self._dense(x, *weights))
        x = tf.reshape(self._dense(x, *self._correction), (-1, NUM_KEYPOINTS, height, width))
        if self.pool > 1:
            rows, columns = (bilinear_weights(side, self.pool) for side in (height, width))
            x = rows @ x @ tf.transpose(columns)
        if self._gain is not None:
            x = x + self._gain * maps
        poses = tf.nn.softmax(tf.reshape(x, (-1, NUM_KEYPOINTS, ROI_HEIGHT * ROI_WIDTH)))
        return tf.reshape(poses, (-1, NUM_KEYPOINTS, ROI_HEIGHT, ROI_WIDTH))

    def _stored(self, kernel, bias):
        kernel = np.ascontiguousarray(kernel.T if self._transposed else kernel)
        return tf.cast(kernel, self.dtype), tf.constant(bias, tf.float32)

    def _dense(self, x, kernel, bias):
        products = tf.matmul(tf.cast(x, self.dtype), kernel, transpose_b=self._transposed)
        # A float32 sum is more exact and faster than oneDNN's fusion of product and bias in bfloat16.
        return tf.cast(products, tf.float32) + bias


def _keypoints_first(weights):
    """(..., cells x keypoints) to (..., keypoints x cells), contiguous."""
    cells = weights.reshape(*weights.shape[:-1], -1, NUM_KEYPOINTS)
    return np.ascontiguousarray(np.swapaxes(cells, -1, -2)).reshape(weights.shape)
