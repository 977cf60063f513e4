"""What the three pipelines share: the order of samples, which is repeatable and resumable, and their last steps."""

import os

import tensorflow as tf

# Samples that are prepared at a time.
WORKERS = os.cpu_count() or 1


def samples(count, seed, first=0, training=True):
    """The numbers of the samples of a run.

    Args:
        count: number of samples in a pass.
        seed: the run's seed; pass p of seed s always has the same order.
        first: samples to pass over, so that a resumed run goes on where the first one stopped.
        training: endless, each pass a new permutation; False is one pass in order.

    Returns:
        tf.data.Dataset of (number, turn, index), int64 scalars: samples drawn since the start of the run, passes
        completed, and the index in [0, count).
    """

    def one_pass(turn):
        indices = tf.range(count, dtype=tf.int64)
        if training:
            indices = tf.random.experimental.stateless_shuffle(indices, seed=tf.stack([tf.cast(seed, tf.int64), turn]))
        return tf.data.Dataset.from_tensor_slices((tf.repeat(turn, count), indices))

    passes = tf.data.Dataset.range(first // count, 2**62 if training else 1).flat_map(one_pass).skip(first % count)
    return passes.enumerate(first).map(lambda number, sample: (number, *sample))


def call_numpy(function, arguments, *outputs):
    """`tf.numpy_function` whose outputs, (dtype, shape) each, have shapes."""
    tensors = tf.numpy_function(function, arguments, [dtype for dtype, _ in outputs])
    for tensor, (_, shape) in zip(tensors, outputs, strict=True):
        tensor.set_shape(shape)
    return tensors


def finish(batches, count=None):
    """A tf.data.Dataset with the last steps of every pipeline; `count` is the number of its batches if it ends."""
    if count is not None:
        batches = batches.apply(tf.data.experimental.assert_cardinality(count))
    options = tf.data.Options()
    # There are no files that tf.distribute could deal out: workers skip elements instead.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return batches.prefetch(2).with_options(options)
