"""The order in which training samples are drawn: random, repeatable from a seed, and resumable at any sample."""

import tensorflow as tf


def training_order(count, seed, first=0, shuffle=True):
    """An endless dataset of sample numbers and indices, each pass a new permutation.

    Args:
        count: number of samples in a pass.
        seed: the run's seed; pass p of seed s always has the same order.
        first: samples to pass over, so that a resumed run goes on where the first one stopped.
        shuffle: False keeps every pass in order.

    Returns:
        tf.data.Dataset of (number, turn, index), int64 scalars: samples drawn since the start of the run, passes
        completed, and the index in [0, count).
    """

    def one_pass(turn):
        indices = tf.range(count, dtype=tf.int64)
        if shuffle:
            indices = tf.random.experimental.stateless_shuffle(indices, seed=tf.stack([tf.cast(seed, tf.int64), turn]))
        return tf.data.Dataset.from_tensor_slices((tf.repeat(turn, count), indices))

    passes = tf.data.Dataset.range(first // count, 2**62).flat_map(one_pass).skip(first % count)
    return passes.enumerate(first).map(lambda number, sample: (number, *sample))


def finish(batches, count=None):
    """Last steps of every pipeline: prefetching, the number of batches where there is an end, and sharding.

    Args:
        batches: tf.data.Dataset.
        count: number of batches, or None for an endless data set.
    """
    if count is not None:
        batches = batches.apply(tf.data.experimental.assert_cardinality(count))
    options = tf.data.Options()
    # There are no files that tf.distribute could deal out: workers skip elements instead.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return batches.prefetch(2).with_options(options)
