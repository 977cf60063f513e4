"""Several GPUs: one strategy for all stages."""

import contextlib

import tensorflow as tf


def strategy_scope():
    """The scope in which models are built: tf.distribute.MirroredStrategy where there are several GPUs, else none."""
    if len(tf.config.list_physical_devices("GPU")) > 1:
        return tf.distribute.MirroredStrategy().scope()
    return contextlib.nullcontext()
