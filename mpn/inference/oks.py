"""Object keypoint similarity, and the suppression of poses by it: how an ensemble removes redundant detections (§4.2).

OKS-NMS is that of Papandreou et al. 2017, "Towards accurate multi-person pose estimation in the wild", section 4.4:
unlike boxes, whose overlap says little about two people who embrace, poses are the same only if their joints are.
"""

import numpy as np

from mpn.inference.grouping import GUESS_CONFIDENCE
from mpn.skeleton import OKS_SIGMAS

# COCO divides by the area of the silhouette, which is this share of its box: the median, and the mean, of the 5,461
# labelled people of val2017.
SILHOUETTE_SHARE = 0.52

# Poses that are compared with all others at once.
_BLOCK = 64

# Square pixels of a box that has no area.
_LEAST_AREA = 1e-6


def oks(one, other, areas):
    """Object keypoint similarity of every pose with every other, as COCO defines it.

    The first poses take the part of the ground truth: their keypoints decide which joints count, and their areas how
    far off a joint may be.

    Args:
        one: (N, 17, 3) float, x and y in pixels and v or a confidence; keypoints with 0 there do not count.
        other: (M, 17, 2 or 3) float; x and y of all keypoints are looked at.
        areas: (N,) float, square pixels of the silhouettes of `one`.

    Returns:
        (N, M) float32 in [0, 1]; 0 for a pose of which no keypoint counts.
    """
    count = len(one), len(other)
    pairs = [indices.ravel() for indices in np.indices(count)]
    poses = _Poses(one, areas)
    return _similarity(poses, _Poses(other), *pairs, poses.counted[pairs[0]]).reshape(count)


def oks_nms(people, threshold):
    """Drops each person whose pose a better one has already, greedily by pose score.

    Two poses are compared in the joints that both have found, or in all where they share none: guesses tell nothing
    about who somebody is. The area is that of the better pose, from its box. This was measured on spoilt labels of
    train2017, in which two or three "models" miss and misplace other joints and people: counting the joints of the
    better pose alone costs .006 of AP and counting all of them as much, unless the threshold is .4 precisely; whose
    area counts makes no difference of .001.

    Args:
        people: list of Person.
        threshold: OKS above which two poses are the same, 0 to 1.

    Returns:
        list of Person, best first; of equal scores the earlier one.
    """
    if not people:
        return []
    people = sorted(people, key=lambda person: -person.score)
    keypoints = np.stack([person.keypoints for person in people]).astype(np.float32)
    keypoints[..., 2] = keypoints[..., 2] > GUESS_CONFIDENCE
    boxes = np.stack([person.box for person in people])
    poses = _Poses(keypoints, (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) * SILHOUETTE_SHARE)
    out_of_reach = _rectangles(poses, threshold)

    def same(better, worse):
        """(B, W) bool for indices of people. Pairs out of each other's reach, nearly all, cost next to nothing."""
        found = ~out_of_reach(better, worse)
        rows, columns = np.nonzero(found)
        i, j = better[rows], worse[columns]
        counted = poses.counted[i] * poses.counted[j]
        counted[~counted.any(axis=1)] = 1
        found[rows, columns] = _similarity(poses, poses, i, j, counted) > threshold
        return found

    kept, remaining = [], np.arange(len(people))
    while len(remaining):
        block = remaining[:_BLOCK]
        redundant, dropped = same(block, remaining), np.zeros(len(remaining), bool)
        for row, index in enumerate(block):
            if not dropped[row]:
                kept.append(people[index])
                dropped |= redundant[row]
        remaining = remaining[_BLOCK:][~dropped[_BLOCK:]]
    return kept


class _Poses:
    """Poses as arrays that are fast to compare, float32.

    Attributes:
        x, y: (N, 17), pixels.
        counted: (N, 17), 1 for joints that count and 0 for others.
        spread: (N, 17), square pixels; a joint that is d off is similar by exp(-d^2 / spread).
    """

    def __init__(self, keypoints, areas=None):
        self.x, self.y, *confidences = np.asarray(keypoints, np.float32).transpose(2, 0, 1).copy()
        if areas is not None:
            self.counted = (confidences[0] > 0).astype(np.float32)
            self.spread = 2 * np.maximum(areas, _LEAST_AREA)[:, None].astype(np.float32) * (2 * OKS_SIGMAS) ** 2


def _similarity(one, other, i, j, counted):
    """(P,) float32: OKS of the poses i of `one` and j of `other`, (P,) indices, in the joints (P, 17) that count.

    The areas are those of `one`. 0 where no joint counts.
    """
    squares = np.square(one.x[i] - other.x[j])
    squares += np.square(one.y[i] - other.y[j])
    squares /= -one.spread[i]
    total = np.einsum("pk,pk->p", np.exp(squares, out=squares), counted)
    return total / np.maximum(counted.sum(axis=1), 1)


def _rectangles(poses, threshold):
    """A quick test of pairs: function of two arrays of indices, (B,) and (W,), giving (B, W) bool.

    True where OKS cannot exceed `threshold`: two poses are at most as similar as their nearest joints, which must lie
    within a certain distance. So must, then, the rectangles around the poses.
    """
    with np.errstate(divide="ignore"):
        reach = np.sqrt(poses.spread.max(axis=1) * -np.log(np.float32(threshold)))
    sides = [(axis.min(axis=1), axis.max(axis=1)) for axis in (poses.x, poses.y)]

    def out_of_reach(better, worse):
        found = np.zeros((len(better), len(worse)), bool)
        for low, high in sides:
            found |= (low[better] - reach[better])[:, None] > high[worse]
            found |= (high[better] + reach[better])[:, None] < low[worse]
        return found

    return out_of_reach
