"""Stage 3 input: RoI grids of people, made from labels alone (§3.4, §3.5)."""

import dataclasses
import functools

import numpy as np
import tensorflow as tf

from mpn.data import order
from mpn.data.imperfect import PERFECT, jitter_boxes
from mpn.errors import UserError
from mpn.roi import encode_labels, encode_rois, enlarge_boxes
from mpn.skeleton import MIRROR, NUM_KEYPOINTS

# §3.5: "We trained the model with person instances having at least 2 keypoints".
LEAST_KEYPOINTS = 2


@dataclasses.dataclass(frozen=True)
class PrnPeople:
    """All labelled people of a data set as flat arrays, those of one image side by side.

    Attributes:
        keypoints: (P, 17, 3) float32, x, y in image pixels and v.
        boxes: (P, 4) float32, [x1, y1, x2, y2].
        areas: (P,) float32, square pixels.
        first, count: (P,) int, where the people of the same image begin, and how many they are.
        targets: (T,) int, people who are trained on: those with 2 keypoints or more, from easy to hard.
    """

    keypoints: np.ndarray
    boxes: np.ndarray
    areas: np.ndarray
    first: np.ndarray
    count: np.ndarray
    targets: np.ndarray

    def __len__(self):
        return len(self.targets)


def collect_people(records):
    """PrnPeople of a list of ImageRecord; UserError where nobody has two keypoints.

    The curriculum (§3.5) sorts them: people with many keypoints come first, and of those with as many the larger boxes.
    """
    labelled = [record.of(record.labelled) for record in records]
    labelled = [record for record in labelled if len(record.boxes)]
    if not labelled:
        raise UserError("the annotations hold no person with keypoints: the PRN has nothing to learn from")
    counts = np.array([len(record.boxes) for record in labelled])
    keypoints = np.concatenate([record.keypoints for record in labelled])
    boxes = np.concatenate([record.boxes for record in labelled])
    sides = boxes[:, 2:] - boxes[:, :2]
    keypoint_counts = (keypoints[..., 2] > 0).sum(axis=1)
    easy_first = np.lexsort((-sides.prod(axis=1), -keypoint_counts))
    targets = easy_first[keypoint_counts[easy_first] >= LEAST_KEYPOINTS]
    if not len(targets):
        raise UserError("the annotations hold no person with two keypoints: the PRN has nothing to learn from")
    return PrnPeople(
        keypoints=keypoints,
        boxes=boxes,
        areas=np.concatenate([record.areas for record in labelled]),
        first=np.repeat(np.cumsum(counts) - counts, counts),
        count=np.repeat(counts, counts),
        targets=targets,
    )


def prn_dataset(
    people,
    batch_size,
    margin,
    jitter=0.1,
    mirror=0.5,
    imperfections=PERFECT,
    curriculum=True,
    seed=0,
    first=0,
    training=True,
):
    """Batches for `model.fit` of the PRN.

    Args:
        people: PrnPeople.
        batch_size: people in a batch.
        margin: by which boxes grow, see `ModelConfig.prn_margin`.
        jitter: each side of a box moves by up to this share of the box's size.
        mirror: probability of mirroring left to right.
        imperfections: Imperfections of the keypoints.
        curriculum: easy people first in every pass; False shuffles.
        seed, first, training: see `keypoint_dataset`.

    Returns:
        tf.data.Dataset of (X, Y), (B, 56, 36, 17) float32 each: the keypoints of everyone in the box, and those of
        its owner.
    """

    def gather(number):
        count = len(people)
        if not training:
            return gather_people(people, people.targets[number : number + batch_size])
        numbers = np.arange(number, number + batch_size)
        positions = numbers % count
        if not curriculum:
            turns = numbers // count  # a batch may end one pass and begin the next
            positions = [_permutation(count, seed, int(turn))[p] for turn, p in zip(turns, positions, strict=True)]
        rng = np.random.default_rng([seed, number])
        return gather_people(people, people.targets[positions], rng, jitter, mirror, imperfections)

    def load(number):
        peaks = (None, NUM_KEYPOINTS, None)
        shapes = (*peaks, 2), peaks, (None, NUM_KEYPOINTS, 2), (None, NUM_KEYPOINTS), (None, 4)
        outputs = [(tf.float32, shape) for shape in shapes]
        positions, scores, own, labelled, boxes = order.call_numpy(gather, (number,), *outputs)
        boxes = enlarge_boxes(boxes, margin)
        return encode_rois(positions, scores, boxes), encode_labels(own, labelled, boxes)

    last = 2**62 if training else len(people)
    batches = tf.data.Dataset.range(first, last, batch_size).map(load, num_parallel_calls=order.WORKERS)
    return order.finish(batches, None if training else -(-len(people) // batch_size))


def gather_people(people, index, rng=None, jitter=0.0, mirror=0.0, imperfections=PERFECT):
    """A batch of boxes with the peaks of everyone in the image and the keypoints of their owners.

    Args:
        people: PrnPeople.
        index: (B,) int, the boxes' owners.
        rng: numpy Generator of all that is random, or None for nothing random.
        jitter, mirror, imperfections: see `prn_dataset`.

    Returns:
        positions: (B, 17, M, 2) float32, peaks of everyone in the image.
        scores: (B, 17, M) float32, height of each peak; 1 for a perfect one, 0 where there is none.
        own: (B, 17, 2) float32 and labelled: (B, 17) float32, the owner's peaks, dropped ones included.
        boxes: (B, 4) float32, not yet enlarged.
    """
    count = people.count[index]
    rows = people.first[index][:, None] + np.arange(count.max())
    present = np.arange(count.max()) < count[:, None]
    rows = np.where(present, rows, 0)
    keypoints = people.keypoints[rows] * present[..., None, None]
    boxes = people.boxes[index].copy()
    labelled = people.keypoints[index, :, 2] > 0
    if rng is None:
        positions, scores = PERFECT.peaks(keypoints, None, None, None)
    else:
        positions, scores = imperfections.peaks(keypoints, people.boxes[rows], people.areas[rows], rng)
        boxes = jitter_boxes(boxes, jitter, rng)
    own = positions[np.arange(len(index)), index - people.first[index]]
    if rng is not None:
        flipped = rng.random(len(index)) < mirror
        # x -> -x will do: a grid sees positions relative to its box only.
        for group in (positions, own):
            group[flipped] = group[flipped][..., MIRROR, :]
            group[flipped, ..., 0] *= -1
        for group in (scores, labelled):
            group[flipped] = group[flipped][..., MIRROR]
        boxes[flipped] = boxes[flipped][:, [2, 1, 0, 3]] * np.array([-1, 1, -1, 1], np.float32)
    return (
        np.ascontiguousarray(positions.transpose(0, 2, 1, 3)),
        np.ascontiguousarray(scores.transpose(0, 2, 1)),
        np.ascontiguousarray(own),
        labelled.astype(np.float32),
        boxes,
    )


@functools.lru_cache(maxsize=4)
def _permutation(count, seed, turn):
    """The order of one pass, kept while the pass lasts."""
    return np.random.default_rng([seed, turn, 1]).permutation(count)
