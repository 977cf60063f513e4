"""Stage 1 input: batches of patches with heatmap targets and masks (§3.5)."""

import numpy as np
import tensorflow as tf

from mpn.data.coco import image_reader
from mpn.data.order import finish, training_order
from mpn.data.pasting import paste_person, pasting_map, people_to_paste
from mpn.data.patches import PatchAugmentation, cut_patch, patch_map
from mpn.data.photometry import jitter_colours, occlude
from mpn.heatmaps import SIGMA, STRIDE
from mpn.skeleton import NUM_KEYPOINTS

# Targets and mask travel as one array, since a Keras loss is given y_true alone.
TARGET_CHANNELS = 2 * (NUM_KEYPOINTS + 1)


def keypoint_dataset(
    records,
    size,
    batch_size,
    outputs,
    augmentation=None,
    seed=0,
    first=0,
    training=True,
    workers=2,
    partial=(),
    partial_share=0.0,
    sigma=SIGMA,
    foreground=0.0,
    cached=False,
):
    """Batches for `model.fit` of the keypoint model.

    Args:
        records: list of ImageRecord with paths.
        size: side of the square patches in pixels, a multiple of 32.
        batch_size: samples a batch, over all devices.
        outputs: names of the model's outputs; each gets the same targets.
        augmentation: PatchAugmentation; None is the paper's.
        seed: of order and augmentation; sample number n is the same in every run with this seed.
        first: samples to pass over, see `training_order`.
        training: endless, shuffled and augmented; False is one pass in order without jitter.
        workers: samples prepared in parallel.
        partial: list of partial ImageRecord, see `load_partial`.
        partial_share: probability that a training sample is one of them.
        sigma, foreground: see `Patch.encode`.
        cached: keep decoded images in memory: 3 bytes a pixel.

    Returns:
        tf.data.Dataset of (images, {output: y}): images (B, size, size, 3) uint8 RGB; y (B, h, w, 36) float32, 18
        channels of targets followed by 18 of mask.
    """
    augmentation = augmentation or PatchAugmentation()
    if not training:
        augmentation = augmentation.without_jitter()
    read = image_reader(cached)
    donors = people_to_paste(records) if augmentation.paste else []

    def sample(number, turn, index):
        # Each sample has its own generator: the result does not depend on which thread runs first.
        rng = np.random.default_rng([seed, number])
        record = records[index]
        if training and partial and rng.random() < partial_share:
            record = partial[rng.integers(len(partial))]
        patch = cut_patch(read(record), record, patch_map(record, size, augmentation, turn, rng), size)
        if donors and not record.partial and rng.random() < augmentation.paste:
            number, person = donors[rng.integers(len(donors))]
            donor = records[number]
            patch = paste_person(patch, read(donor), donor, person, pasting_map(donor.boxes[person], size, rng))
        image = patch.image
        if augmentation.occlusion and rng.random() < augmentation.occlusion:
            image = occlude(image, rng)
        if augmentation.colour:
            image = jitter_colours(image, augmentation.colour, rng)
        return image, np.concatenate(patch.encode(sigma, foreground), axis=-1)

    def load(number, turn, index):
        patch, y = tf.numpy_function(sample, (number, turn, index), (tf.uint8, tf.float32))
        patch.set_shape((size, size, 3))
        y.set_shape((size // STRIDE, size // STRIDE, TARGET_CHANNELS))
        return patch, y

    order = training_order(len(records), seed, first, shuffle=training)
    if not training:
        order = order.take(len(records))
    batches = order.map(load, num_parallel_calls=workers).batch(batch_size, drop_remainder=training)
    batches = batches.map(lambda images, y: (images, {name: y for name in outputs}))
    return finish(batches, None if training else -(-len(records) // batch_size))
