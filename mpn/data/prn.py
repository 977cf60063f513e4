"""Input of stage 3: RoI grids of people, made from labels alone (§3.4, §3.5)."""

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
    """P labelled people of a data set as flat arrays. The people of an image follow one another."""

    keypoints: np.ndarray  # (P, 17, 3) float32: x, y in image pixels and v
    boxes: np.ndarray  # (P, 4) float32: [x1, y1, x2, y2] in image pixels
    areas: np.ndarray  # (P,) float32, square pixels
    first: np.ndarray  # (P,) int: index of the first person of the same image
    count: np.ndarray  # (P,) int: number of people in the same image
    targets: np.ndarray  # (T,) int: people with at least 2 keypoints, who are trained on, from easy to hard

    def __len__(self):
        return len(self.targets)


def collect_people(records):
    """Returns the PrnPeople of a list of ImageRecord. Raises UserError if nobody has two keypoints.

    Targets are sorted for the curriculum (§3.5): more keypoints come first, and larger boxes among equals.
    """
    labelled = [record.of(record.labelled) for record in records if record.labelled.any()]
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
    part=order.WHOLE,
    training=True,
):
    """Returns batches to fit the PRN: a tf.data.Dataset of (X, Y), each (B, 56, 36, 17) float32.

    X has the keypoints of everyone in the box, Y those of its owner. Boxes grow by `margin`, see `ModelConfig`, and
    their sides move by up to the share `jitter` of the box's size. `mirror` is a probability. `imperfections` are those
    of the keypoints. `curriculum` puts easy people first in every pass; without it they are shuffled. The other
    arguments are as for `keypoint_dataset`.
    """
    count, size = len(people), part.size(batch_size)
    own = slice(part.host * size, (part.host + 1) * size)

    def gather(number):
        if not training:
            numbers = np.arange(number, min(number + batch_size, part.filled(count, batch_size)))
            return gather_people(people, people.targets[numbers.clip(max=count - 1)[own]])
        turns, positions = np.divmod(np.arange(number, number + batch_size), count)  # a batch may span two passes
        if not curriculum:
            positions = [_permutation(count, seed, int(turn))[p] for turn, p in zip(turns, positions, strict=True)]
        rng = np.random.default_rng([seed, number])
        # The whole batch shares one generator, so its parts are cut out afterwards: drawing numbers takes little time.
        batch = gather_people(people, people.targets[positions], rng, jitter, mirror, imperfections)
        return tuple(array[own] for array in batch)

    def load(number):
        peaks = (None, NUM_KEYPOINTS, None)
        shapes = (*peaks, 2), peaks, (None, NUM_KEYPOINTS, 2), (None, NUM_KEYPOINTS), (None, 4)
        outputs = [(tf.float32, shape) for shape in shapes]
        positions, scores, own, labelled, boxes = order.call_numpy(gather, (number,), *outputs)
        boxes = enlarge_boxes(boxes, margin)
        return encode_rois(positions, scores, boxes), encode_labels(own, labelled, boxes)

    last = 2**62 if training else count
    batches = tf.data.Dataset.range(part.first, last, batch_size).map(load, num_parallel_calls=order.WORKERS)
    return order.finish(batches, None if training else -(-count // batch_size))


def gather_people(people, index, rng=None, jitter=0.0, mirror=0.0, imperfections=PERFECT):
    """Gathers the boxes of the PrnPeople at `index` (B,), their keypoints, and the peaks of everyone in the same image.

    `rng` is a numpy Generator, or None to change nothing at random; for the other arguments see `prn_dataset`.

    Returns five float32 arrays:
        positions: (B, 17, M, 2), peaks of everyone in the image.
        scores: (B, 17, M), height of each peak; 1 for a perfect one, 0 if there is none.
        own: (B, 17, 2), the displaced keypoints of the owner.
        labelled: (B, 17), 1 for the owner's labelled keypoints, even if their peaks were dropped.
        boxes: (B, 4), not yet enlarged.
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
        # x -> -x is enough, since a grid is relative to its box.
        for group in (positions, own):
            group[flipped] = group[flipped][..., MIRROR, :]
            group[flipped, ..., 0] *= -1
        for group in (scores, labelled):
            group[flipped] = group[flipped][..., MIRROR]
        boxes[flipped] = boxes[flipped][:, [2, 1, 0, 3]] * np.array([-1, 1, -1, 1], np.float32)
    found = positions.swapaxes(1, 2), scores.swapaxes(1, 2), own, labelled.astype(np.float32), boxes
    return tuple(map(np.ascontiguousarray, found))


@functools.lru_cache(maxsize=4)
def _permutation(count, seed, turn):
    return np.random.default_rng([seed, turn, 1]).permutation(count)
