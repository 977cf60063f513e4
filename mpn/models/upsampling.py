"""Bilinear upsampling that also works on images of a size known only at run time."""

import keras
from keras import layers, ops


@keras.saving.register_keras_serializable("mpn")
class BilinearUpsampling(layers.Layer):
    """Enlarges maps by a whole factor, with half-pixel centres and clamped edges as in `tf.image.resize`.

    Keras' own bilinear resizing insists on Python integers for the target size.

    Args:
        factor: an even integer.
    """

    def __init__(self, factor, **options):
        super().__init__(**options)
        self.factor = factor

    def call(self, maps):
        """(B, h, w, C) to (B, factor h, factor w, C), same dtype."""
        return self._along(2, self._along(1, maps))

    def compute_output_shape(self, shape):
        height, width = (None if side is None else side * self.factor for side in shape[1:3])
        return (shape[0], height, width, shape[3])

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}

    def _along(self, axis, maps):
        def part(start, stop):
            return maps[(slice(None),) * axis + (slice(start, stop),)]

        before = ops.concatenate([part(0, 1), part(0, -1)], axis=axis)
        after = ops.concatenate([part(1, None), part(-1, None)], axis=axis)
        phases = []
        for phase in range(self.factor):
            offset = (phase + 0.5) / self.factor - 0.5  # of the output's centre from the input cell's, in cells
            neighbour = before if offset < 0 else after
            phases.append(maps + abs(offset) * (neighbour - maps))
        stacked = ops.stack(phases, axis=axis + 1)
        shape = list(ops.shape(maps))
        shape[axis] = shape[axis] * self.factor
        return ops.reshape(stacked, shape)
