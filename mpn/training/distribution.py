"""Several GPUs: one strategy for all stages."""

import contextlib
import functools

import keras
import tensorflow as tf

from mpn.errors import UserError


def training_devices():
    """Names of the devices that share a batch: all GPUs; with one or none, TensorFlow chooses."""
    return [device.name for device in tf.config.list_logical_devices("GPU")]


def strategy_scope(batch_size):
    """The scope in which models are built: tf.distribute.MirroredStrategy where there are several GPUs, else none.

    Args:
        batch_size: of all devices together.

    Raises:
        UserError: the devices' shares of a batch would differ, and images of smaller shares would count more.
    """
    devices = training_devices()
    if len(devices) < 2:
        return contextlib.nullcontext()
    if batch_size % len(devices):
        raise UserError(
            f"--batch-size {batch_size} does not divide among {len(devices)} GPUs: pass a multiple of {len(devices)}, "
            "or name fewer GPUs in CUDA_VISIBLE_DEVICES"
        )
    return _strategy(*devices).scope()


@functools.cache
def _strategy(*devices):
    # Two strategies in one process would mistake each other's sums of gradients for their own.
    return tf.distribute.MirroredStrategy(devices)


class Adam(keras.optimizers.Adam):
    """Keras' Adam, which clips the gradient of the whole batch; Keras clips each device's share, and then adds."""

    def apply(self, grads, trainable_variables=None):
        """Updates variables; see keras.optimizers.Optimizer."""
        context = tf.distribute.get_replica_context()
        if self.clipnorm and context and context.num_replicas_in_sync > 1:
            total = context.all_reduce(tf.distribute.ReduceOp.SUM, list(grads))
            # Keras adds the devices' gradients once more.
            grads = [tf.clip_by_norm(grad, self.clipnorm) / context.num_replicas_in_sync for grad in total]
        return super().apply(grads, trainable_variables)
