"""Precision and devices of a training run: one GPU, several, or the processor."""

import contextlib
import functools

import keras
import tensorflow as tf

from mpn.precision import set_training_precision
from mpn.settings import SettingsError


@contextlib.contextmanager
def building(settings):
    """A context in which networks get the precision, seed and devices of a run (`Training`)."""
    set_training_precision(settings.precision)
    keras.utils.set_random_seed(settings.seed)  # also of dropout
    with strategy_scope(settings.batch_size):
        yield


def training_devices():
    """Returns the names of all GPUs; they share each batch."""
    return [device.name for device in tf.config.list_logical_devices("GPU")]


def strategy_scope(batch_size):
    """Returns a context to build models in: MirroredStrategy's scope if there are several GPUs, else an empty one.

    Raises SettingsError if the GPUs cannot share the batch equally: images in a smaller share would count more.
    """
    devices = training_devices()
    if len(devices) < 2:
        return contextlib.nullcontext()
    if batch_size % len(devices):
        raise SettingsError(
            f"{{batch_size}} {batch_size} does not divide among {len(devices)} GPUs: pass a multiple, or name fewer "
            "GPUs in CUDA_VISIBLE_DEVICES"
        )
    return _strategy(*devices).scope()


@functools.cache
def _strategy(*devices):
    # With two strategies in one process, each would take the other's sums of gradients for its own.
    return tf.distribute.MirroredStrategy(devices)


class Adam(keras.optimizers.Adam):
    """Adam that clips the gradient of the whole batch. Keras would clip each device's part before adding."""

    def apply(self, grads, trainable_variables=None):
        context = tf.distribute.get_replica_context()
        if self.clipnorm and context and context.num_replicas_in_sync > 1:
            total = context.all_reduce(tf.distribute.ReduceOp.SUM, list(grads))
            # Divided, since Keras adds the devices' gradients once more.
            grads = [tf.clip_by_norm(grad, self.clipnorm) / context.num_replicas_in_sync for grad in total]
        return super().apply(grads, trainable_variables)
