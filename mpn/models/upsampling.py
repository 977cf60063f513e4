"""Bilinear upsampling of maps whose size is known only at run time."""

import keras
from keras import layers, ops


@keras.saving.register_keras_serializable("mpn")
class BilinearUpsampling(layers.Layer):
    """Enlarges maps by a whole factor, with half-pixel centres and clamped edges as in `tf.image.resize`.

    Keras' bilinear resizing needs a fixed target size. Matrix products train faster than slices and sums.
    """

    def __init__(self, factor, **options):
        super().__init__(**options)
        self.factor = factor

    def call(self, maps):
        """(B, h, w, C) to (B, factor h, factor w, C), same dtype."""
        batch, height, width, channels = (
            dynamic if static is None else static for dynamic, static in zip(ops.shape(maps), maps.shape, strict=True)
        )
        rows, columns = (bilinear_weights(side, self.factor, maps.dtype) for side in (height, width))
        tall = ops.matmul(rows, ops.reshape(maps, (batch, height, width * channels)))
        tall = ops.reshape(tall, (batch * height * self.factor, width, channels))
        shape = (batch, height * self.factor, width * self.factor, channels)
        return ops.reshape(ops.matmul(columns, tall), shape)

    def compute_output_shape(self, shape):
        height, width = (None if side is None else side * self.factor for side in shape[1:3])
        return (shape[0], height, width, shape[3])

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}


def bilinear_weights(size, factor, dtype="float32"):
    """Share of each of `size` cells in the enlarged ones: (factor size, size); rows sum to 1."""
    cells = ops.cast(ops.arange(size), "float32")
    centres = (ops.cast(ops.arange(size * factor), "float32") + 0.5) / factor - 0.5
    centres = ops.clip(centres, 0.0, ops.cast(size - 1, "float32"))
    return ops.cast(ops.maximum(1 - ops.abs(centres[:, None] - cells), 0.0), dtype)
