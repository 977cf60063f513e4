"""Common parts of the three input pipelines. The order of samples is repeatable and can be resumed."""

import dataclasses

import tensorflow as tf

from mpn.environment import cores

# Number of samples prepared at the same time: one for each core that this process may use.
WORKERS = cores()


@dataclasses.dataclass(frozen=True)
class Part:
    """The samples that a pipeline gives: from number `first` on, the `host`-th of `hosts` equal parts of each batch.

    The order of samples is the same for any number of hosts. So that all hosts take the same number of steps, a pass of
    validation is filled up with copies of its last sample, to whole batches, if there are several hosts.
    """

    first: int = 0
    host: int = 0
    hosts: int = 1

    def size(self, batch_size):
        """Number of samples of this part in a batch of `batch_size` samples, a multiple of `hosts`."""
        return batch_size // self.hosts

    def filled(self, count, batch_size):
        """Number of samples of a pass of validation over `count` samples, over all hosts."""
        return count if self.hosts == 1 else -(-count // batch_size) * batch_size


WHOLE = Part()


def samples(count, seed, batch_size=1, part=WHOLE, training=True):
    """Returns a tf.data.Dataset of (number, turn, index), int64 scalars.

    `number` counts the samples since the start of the run, `turn` the completed passes, and `index` in [0, count) is
    the sample to take. `seed` and `turn` determine the order of a pass. `part.first` is the number of samples to skip,
    so that a resumed run continues where it stopped. In training, passes never end and each is a new permutation;
    otherwise there is one pass in order.
    """
    length = count if training else part.filled(count, batch_size)

    def one_pass(turn):
        indices = tf.minimum(tf.range(length, dtype=tf.int64), count - 1)
        if training:
            indices = tf.random.experimental.stateless_shuffle(indices, seed=tf.stack([tf.cast(seed, tf.int64), turn]))
        return tf.data.Dataset.from_tensor_slices((tf.repeat(turn, length), indices))

    first, size = part.first, part.size(batch_size)
    passes = tf.data.Dataset.range(first // length, 2**62 if training else 1).flat_map(one_pass).skip(first % length)
    numbered = passes.enumerate(first).map(lambda number, sample: (number, *sample))
    if part.hosts > 1:
        numbered = numbered.filter(lambda number, *_: (number - first) % batch_size // size == part.host)
    return numbered


def call_numpy(function, arguments, *outputs):
    """Calls `tf.numpy_function` and sets the shapes of its outputs, each given as (dtype, shape)."""
    tensors = tf.numpy_function(function, arguments, [dtype for dtype, _ in outputs])
    return [tf.ensure_shape(tensor, shape) for tensor, (_, shape) in zip(tensors, outputs, strict=True)]


def finish(batches, count=None):
    """Adds the last steps of every pipeline. `count` is the number of batches, or None if they never end."""
    count = tf.data.INFINITE_CARDINALITY if count is None else count
    return batches.apply(tf.data.experimental.assert_cardinality(count)).prefetch(2)
