"""Precision and devices of a training run: one device, all GPUs of a host, or those of all hosts in TF_CONFIG."""

import contextlib
import functools

import keras
import tensorflow as tf

from mpn.precision import set_training_precision
from mpn.settings import SettingsError
from mpn.training.cluster import ALONE, join, read_cluster, together


@contextlib.contextmanager
def building(settings):
    """A context in which networks get the precision, seed and devices of a run (`Training`); yields its strategy.

    Raises SettingsError and UserError, see `training_strategy`.
    """
    cluster = read_cluster()
    strategy = training_strategy(settings.batch_size, cluster)  # first: hosts must meet before TensorFlow starts
    set_training_precision(settings.precision)
    keras.utils.set_random_seed(settings.seed)  # also of dropout
    with together(cluster), strategy.scope():
        yield strategy


def training_devices():
    """Returns the names of all GPUs of this host; they share each batch."""
    return [device.name for device in tf.config.list_logical_devices("GPU")]


def training_strategy(batch_size, cluster=ALONE):
    """Returns the tf.distribute.Strategy of a Cluster's devices: TensorFlow's default one for a single device.

    Raises SettingsError if the devices cannot share the batch equally: images in a smaller share would count more. See
    also `join`.
    """
    if cluster is not ALONE:
        strategy = join(cluster)
    else:
        devices = training_devices()
        strategy = tf.distribute.get_strategy() if len(devices) < 2 else _mirrored(*devices)
    if batch_size % (count := strategy.num_replicas_in_sync):
        where = "" if cluster is ALONE else f" of {len(cluster.hosts)} hosts"
        raise SettingsError(
            f"{{batch_size}} {batch_size} does not divide among {count} devices{where}: pass a multiple, or name fewer "
            "GPUs in CUDA_VISIBLE_DEVICES"
        )
    return strategy


@functools.cache
def _mirrored(*devices):
    # With two strategies in one process, each would take the other's sums of gradients for its own.
    return tf.distribute.MirroredStrategy(devices)


def batches_on_devices(strategy, batches_of_host, batch_size):
    """Returns an endless iterator of batches, each cut into equal parts for the devices and copied to them in advance.

    `batches_of_host` is a function of the host's number and the number of hosts that returns its part of the batches of
    `batch_size` samples: a tf.data.Dataset of nested tensors. A smaller batch is filled up with copies of its last
    sample if there are several devices.
    """
    if strategy.num_replicas_in_sync == 1:
        batches = batches_of_host(0, 1).repeat()
        for device in training_devices():
            batches = batches.apply(tf.data.experimental.prefetch_to_device(device))
        return iter(batches)

    def parts(context):
        hosts = context.num_input_pipelines
        devices = strategy.num_replicas_in_sync // hosts
        size = batch_size // strategy.num_replicas_in_sync

        def cut(batch):
            places = tf.minimum(tf.range(devices * size), tf.shape(batch)[0] - 1)
            shape = tf.concat([[devices, size], tf.shape(batch)[1:]], axis=0)
            return tf.ensure_shape(tf.reshape(tf.gather(batch, places), shape), (devices, size, *batch.shape[1:]))

        batches = batches_of_host(context.input_pipeline_id, hosts).repeat()
        batches = batches.map(lambda *batch: tf.nest.map_structure(cut, batch)).unbatch()
        # Otherwise hosts ask each other before each step whether there is another batch.
        return batches.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))

    return iter(strategy.distribute_datasets_from_function(parts))


class Adam(keras.optimizers.Adam):
    """Adam that does not add up the gradients of the devices, since `Steps` has done so."""

    def _all_reduce_sum_gradients(self, grads_and_vars):
        return grads_and_vars
