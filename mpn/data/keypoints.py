"""Input of stage 1: batches of patches with heatmap targets and masks (§3.5)."""

import numpy as np
import tensorflow as tf

from mpn.data import order
from mpn.data.augmentation import PatchAugmentation
from mpn.data.patches import cut_patch, patch_map
from mpn.data.photometry import jitter_colours
from mpn.data.reading import Reading, SampleImages
from mpn.heatmaps import STRIDE
from mpn.skeleton import NUM_KEYPOINTS

# Targets and mask form one array, since a loss gets one array of targets.
TARGET_CHANNELS = 2 * (NUM_KEYPOINTS + 1)


def keypoint_dataset(
    records,
    size,
    batch_size,
    outputs,
    augmentation=None,
    foreground=0.0,
    seed=0,
    part=order.WHOLE,
    training=True,
    reading=Reading(),  # noqa: B008  frozen
):
    """Returns batches to fit the keypoint model: a tf.data.Dataset of (images, {output: y for each of `outputs`}).

    Images are (B, size, size, 3) uint8 RGB; y is (B, h, w, 36) float32, 18 channels of targets and then 18 of mask.
    `records` are a list of ImageRecord with paths. `size` is the side of the patches in pixels, a multiple of 32. An
    `augmentation` of None is the paper's. For `foreground` see `cut_patch`, for `part` and `reading` Part and Reading.
    Sample number n is the same in every run with one `seed`. Batches for `training` are endless, shuffled and
    augmented; others are one pass in order without jitter.
    """
    augmentation = augmentation or PatchAugmentation()
    if not training:
        augmentation = augmentation.without_jitter()
    source = SampleImages(records, seed, reading)

    def sample(number, turn, index):
        # Each sample has its own generator, so the order of the threads does not matter.
        rng = np.random.default_rng([seed, number])
        record, image = source.read(number, index)
        matrix = patch_map(record, size, augmentation, turn, rng)
        patch, targets, mask = cut_patch(image, record, matrix, size, foreground)
        if augmentation.colour:
            patch = jitter_colours(patch, augmentation.colour, rng)
        return patch, np.concatenate([targets, mask], axis=-1)

    def load(number, turn, index):
        cells = size // STRIDE
        outputs = (tf.uint8, (size, size, 3)), (tf.float32, (cells, cells, TARGET_CHANNELS))
        return order.call_numpy(sample, (number, turn, index), *outputs)

    batches = order.samples(len(records), seed, batch_size, part, training).map(load, num_parallel_calls=order.WORKERS)
    batches = batches.batch(part.size(batch_size), drop_remainder=training)
    batches = batches.map(lambda images, y: (images, {name: y for name in outputs}))
    return order.finish(batches, None if training else -(-len(records) // batch_size))
