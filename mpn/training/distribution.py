"""Where networks are built and trained: in the run's precision, on one GPU or several, or on the processor."""

import contextlib
import functools

import keras
import tensorflow as tf

from mpn.precision import set_training_precision
from mpn.settings import SettingsError


@contextlib.contextmanager
def building(settings):
    """Networks that are built inside have the precision, first weights and devices of a run (Training)."""
    set_training_precision(settings.precision)
    keras.utils.set_random_seed(settings.seed)  # also of dropout
    with strategy_scope(settings.batch_size):
        yield


def training_devices():
    """Names of all GPUs, which share a batch; with one or none, TensorFlow chooses."""
    return [device.name for device in tf.config.list_logical_devices("GPU")]


def strategy_scope(batch_size):
    """The scope in which models are built: tf.distribute.MirroredStrategy where there are several GPUs, else none.

    Raises:
        SettingsError: the batch does not divide equally; images of smaller shares would count more.
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
    # Two strategies in one process would mistake each other's sums of gradients for their own.
    return tf.distribute.MirroredStrategy(devices)


class Adam(keras.optimizers.Adam):
    """Adam that clips the gradient of the whole batch. Keras clips each device's share, and then adds."""

    def apply(self, grads, trainable_variables=None):
        context = tf.distribute.get_replica_context()
        if self.clipnorm and context and context.num_replicas_in_sync > 1:
            total = context.all_reduce(tf.distribute.ReduceOp.SUM, list(grads))
            # Keras adds the devices' gradients once more.
            grads = [tf.clip_by_norm(grad, self.clipnorm) / context.num_replicas_in_sync for grad in total]
        return super().apply(grads, trainable_variables)
