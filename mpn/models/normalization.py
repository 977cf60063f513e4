"""Batch normalisation with exact running statistics, and batch normalisation folded into convolutions."""

import keras
import numpy as np
from keras import layers, ops

from mpn.lazy import tf


@keras.saving.register_keras_serializable("mpn")
class BatchNormalization(layers.BatchNormalization):
    """Keras' layer of the same name and weights, with running statistics updated in double precision.

    oneDNN would rewrite Keras' own update, 0.9 old + 0.1 new, to bfloat16, where the statistics stop moving: steps of
    less than 4 % are rounded away. oneDNN leaves float64 alone.

    `synchronized` layers take the moments of all devices' batches, which have the same size (TensorFlow only). Keras'
    own way loses digits, and talks to the other devices three times.
    """

    def call(self, inputs, training=None, mask=None):
        if not (training and self.trainable):
            return super().call(inputs, training=False, mask=mask)
        exact = "float64" if keras.backend.backend() == "tensorflow" else "float32"
        mean, variance = ops.moments(ops.cast(inputs, "float32"), axes=(0, 1, 2))
        if self.synchronized:
            mean, variance = _mean_over_devices(mean, variance)
        for running, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
            old, new = ops.cast(running, exact), ops.cast(batch, exact)
            running.assign(ops.cast(old + (1 - self.momentum) * (new - old), running.dtype))
        learned = {"offset": self.beta, "scale": self.gamma, "epsilon": self.epsilon}
        outputs = ops.batch_normalization(ops.cast(inputs, "float32"), mean, variance, axis=-1, **learned)
        return ops.cast(outputs, self.compute_dtype)


def _mean_over_devices(mean, variance):
    """Mean and variance of the values of all devices together, from those of each."""
    own, devices = ops.cast(mean, "float64"), tf.distribute.get_replica_context()
    moments = ops.stack([own, ops.cast(variance, "float64") + ops.square(own)])
    first, second = ops.unstack(devices.all_reduce(tf.distribute.ReduceOp.MEAN, moments))
    return ops.cast(first, "float32"), ops.cast(second - ops.square(first), "float32")


@keras.saving.register_keras_serializable("mpn")
class FoldedNormalization(layers.Layer):
    """Does nothing: the convolution before it holds the scale and shift of batch normalisation."""

    def call(self, inputs, training=None, mask=None):
        return inputs


def fold(convolution, normalization):
    """Folds a batch normalisation's stored statistics, scale and shift into the convolution before it.

    `convolution` is a Conv2D or DepthwiseConv2D, with or without a bias. Returns its new [kernel, bias], numpy float32.
    """
    kernel, *biases = convolution.get_weights()
    gamma, beta, mean, variance = normalization.get_weights()
    factor = gamma / np.sqrt(variance + normalization.epsilon)
    bias = beta + factor * (sum(biases) - mean)
    depthwise = isinstance(convolution, layers.DepthwiseConv2D)  # whose kernel is (h, w, channels, 1)
    return [kernel * (factor[:, None] if depthwise else factor), bias]
