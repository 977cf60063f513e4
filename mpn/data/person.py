"""Input of stage 2: whole images with RetinaNet's anchor targets (§3.3, §3.5)."""

import functools

import numpy as np
import tensorflow as tf
from keras_retinanet.utils.anchors import anchor_targets_bbox, anchors_for_shape

from mpn.data import order
from mpn.data.photometry import jitter_colours
from mpn.data.reading import Reading, SampleImages
from mpn.geometry import box_intersections, fit_image, mirror_boxes, pad_to_multiple

# An anchor is ignored if this share of it, or more, lies inside a crowd region.
CROWD_SHARE = 0.5


def person_dataset(
    records,
    image_size,
    batch_size,
    mirror=0.5,
    scale=(1.0, 1.0),
    colour=0.0,
    seed=0,
    part=order.WHOLE,
    training=True,
    reading=Reading(),  # noqa: B008  frozen
):
    """Returns batches to fit the person detector: a tf.data.Dataset of (images, {"regression", "classification"}).

    Images are (B, H, W, 3) uint8 RGB, padded with black at the right and below; H and W are multiples of 32. The
    targets are as in `anchor_targets`. `image_size` is the shorter and longest side in pixels, and `scale` the smallest
    and largest factor on it. `mirror` is a probability, and `colour` the strength of `jitter_colours`. The other
    arguments are as for `keypoint_dataset`.
    """
    source = SampleImages(records, seed, reading)

    def sample(number, index):
        record, image = source.read(number, index)
        rng = np.random.default_rng([seed, number])
        mirrored = training and rng.random() < mirror
        factor = rng.uniform(*scale) if training else 1.0
        image, fitted = fit_image(image, [factor * side for side in image_size])
        boxes, crowd = valid_boxes(record)
        boxes, crowd = boxes * np.tile(fitted, 2), crowd * np.tile(fitted, 2)
        if mirrored:
            image = np.ascontiguousarray(image[:, ::-1])
            boxes, crowd = (mirror_boxes(b, image.shape[1]) for b in (boxes, crowd))
        if training and colour:
            image = jitter_colours(image, colour, rng)
        return image, np.array(image.shape[:2], np.int64), boxes.astype(np.float32), crowd.astype(np.float32)

    def load(number, _, index):
        boxes = tf.float32, (None, 4)
        outputs = (tf.uint8, (None, None, 3)), (tf.int64, (2,)), boxes, boxes
        return order.call_numpy(sample, (number, index), *outputs)

    def encode(images, sizes, boxes, crowd):
        shape = tf.shape(images)
        height, width = pad_to_multiple(shape[1]), pad_to_multiple(shape[2])
        images = tf.pad(images, [[0, 0], [0, height - shape[1]], [0, width - shape[2]], [0, 0]])
        outputs = (tf.float32, (None, None, 5)), (tf.float32, (None, None, 2))
        regression, classification = order.call_numpy(anchor_targets, (height, width, sizes, boxes, crowd), *outputs)
        return images, {"regression": regression, "classification": classification}

    batches = order.samples(len(records), seed, batch_size, part, training).map(load, num_parallel_calls=order.WORKERS)
    padding = (np.uint8(0), np.int64(0), np.float32(-1), np.float32(-1))
    batches = batches.padded_batch(part.size(batch_size), padding_values=padding, drop_remainder=training)
    batches = batches.map(encode, num_parallel_calls=order.WORKERS)
    return order.finish(batches, None if training else -(-len(records) // batch_size))


def valid_boxes(record):
    """Returns boxes clipped to the image, [x1, y1, x2, y2] in pixels: people (N, 4) and crowd regions (M, 4)."""
    limits = np.array([record.width, record.height] * 2, np.float32)
    boxes = record.boxes.clip(0, limits)
    return boxes[~record.crowd], boxes[record.crowd]


@functools.lru_cache(maxsize=64)
def _anchors(height, width):
    return anchors_for_shape((height, width)).astype(np.float32)


def anchor_targets(height, width, sizes, boxes, crowd):
    """Returns keras-retinanet's targets, float32: regression (B, A, 5) and classification (B, A, 2).

    The last column is the state of the anchor: 1 person, 0 background, -1 ignored. Anchors in crowd regions and anchors
    centred outside the image are ignored too.

    `height` and `width` are the padded size in pixels. `sizes` is (B, 2) int, the height and width of each image before
    padding. `boxes` (B, N, 4) and `crowd` (B, M, 4) are float32; rows of -1 are padding.
    """
    anchors = _anchors(int(height), int(width))
    images = [np.broadcast_to(np.uint8(0), (*size, 3)) for size in sizes]
    people = [b[b[:, 2] > b[:, 0]] for b in boxes]
    annotations = [{"bboxes": b, "labels": np.zeros(len(b))} for b in people]
    regression, classification = anchor_targets_bbox(anchors, images, annotations, num_classes=1)
    areas = (anchors[:, 2:] - anchors[:, :2]).prod(axis=1)
    for regions, *states in zip(crowd, regression[..., -1], classification[..., -1], strict=True):
        covered = box_intersections(anchors[:, None], regions).max(axis=1, initial=0) / areas >= CROWD_SHARE
        for state in states:
            state[covered & (state != 1)] = -1
    return regression.astype(np.float32), classification.astype(np.float32)
