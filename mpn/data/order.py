"""Common parts of the three input pipelines. The order of samples is repeatable and can be resumed."""

import os

import tensorflow as tf

# Number of samples prepared at the same time: one for each core that this process may use.
WORKERS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def samples(count, seed, first=0, training=True):
    """Returns a tf.data.Dataset of (number, turn, index), int64 scalars.

    `number` counts the samples since the start of the run, `turn` the completed passes, and `index` in [0, count) is
    the sample to take. `seed` and `turn` determine the order of a pass. `first` is the number of samples to skip, so
    that a resumed run continues where it stopped. In training, passes never end and each is a new permutation;
    otherwise there is one pass in order.
    """

    def one_pass(turn):
        indices = tf.range(count, dtype=tf.int64)
        if training:
            indices = tf.random.experimental.stateless_shuffle(indices, seed=tf.stack([tf.cast(seed, tf.int64), turn]))
        return tf.data.Dataset.from_tensor_slices((tf.repeat(turn, count), indices))

    passes = tf.data.Dataset.range(first // count, 2**62 if training else 1).flat_map(one_pass).skip(first % count)
    return passes.enumerate(first).map(lambda number, sample: (number, *sample))


def call_numpy(function, arguments, *outputs):
    """Calls `tf.numpy_function` and sets the shapes of its outputs, each given as (dtype, shape)."""
    tensors = tf.numpy_function(function, arguments, [dtype for dtype, _ in outputs])
    for tensor, (_, shape) in zip(tensors, outputs, strict=True):
        tensor.set_shape(shape)
    return tensors


def finish(batches, count=None):
    """Adds the last steps of every pipeline. `count` is the number of batches, or None if they never end."""
    if count is not None:
        batches = batches.apply(tf.data.experimental.assert_cardinality(count))
    options = tf.data.Options()
    # There are no files for tf.distribute to share out, so workers share out the elements.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return batches.prefetch(2).with_options(options)
