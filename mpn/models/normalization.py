"""Batch normalisation whose running statistics stay exact where the rest is computed in bfloat16."""

import keras
from keras import layers, ops


@keras.saving.register_keras_serializable("mpn")
class BatchNormalization(layers.BatchNormalization):
    """Keras' layer of the same name and weights, with running statistics updated in double precision.

    oneDNN's bfloat16 rewriting would take Keras' own update, 0.9 old + 0.1 new, too: in bfloat16 a step towards a value
    that is within 4 % is rounded away, and the statistics stop there. It leaves float64 alone.
    """

    def call(self, inputs, training=None, mask=None):
        """(B, H, W, C) to the same shape and dtype; in training normalised with the statistics of the batch."""
        if not (training and self.trainable):
            return super().call(inputs, training=False, mask=mask)
        exact = "float64" if keras.backend.backend() == "tensorflow" else "float32"
        mean, variance = ops.moments(ops.cast(inputs, "float32"), axes=(0, 1, 2))
        for running, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
            old, new = ops.cast(running, exact), ops.cast(batch, exact)
            running.assign(ops.cast(old + (1 - self.momentum) * (new - old), running.dtype))
        outputs = ops.batch_normalization(
            ops.cast(inputs, "float32"),
            mean,
            variance,
            axis=-1,
            offset=self.beta,
            scale=self.gamma,
            epsilon=self.epsilon,
        )
        return ops.cast(outputs, self.compute_dtype)
