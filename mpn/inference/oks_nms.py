"""Suppression of poses by OKS: how an ensemble removes redundant detections (§4.2).

OKS-NMS is that of Papandreou et al. 2017, "Towards accurate multi-person pose estimation in the wild", section 4.4:
unlike boxes, whose overlap says little about two people who embrace, poses are the same only if their joints are.
"""

import numpy as np

from mpn.oks import keypoint_similarities, reach
from mpn.people import GUESS_CONFIDENCE

# COCO divides by the area of the silhouette, which is this share of its box: the median, and the mean, of the 5,461
# labelled people of val2017.
SILHOUETTE_SHARE = 0.52

# Poses that are compared with all others at once.
_BLOCK = 64


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
    places, counts = keypoints[..., :2].copy(), keypoints[..., 2] > GUESS_CONFIDENCE
    boxes = np.stack([person.box for person in people])
    areas = ((boxes[:, 2:] - boxes[:, :2]).prod(axis=1) * SILHOUETTE_SHARE).astype(np.float32)
    out_of_reach = _rectangles(places, areas, threshold)

    def same(better, worse):
        """(B, W) bool for indices of people. Pairs out of each other's reach, nearly all, cost next to nothing."""
        found = ~out_of_reach(better, worse)
        rows, columns = np.nonzero(found)
        i, j = better[rows], worse[columns]
        counted = counts[i] & counts[j]
        counted[~counted.any(axis=1)] = True
        similarities = keypoint_similarities(places[j], places[i], areas[i])
        similarities[~counted] = 0
        found[rows, columns] = similarities.sum(axis=1) / counted.sum(axis=1) > threshold
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


def _rectangles(places, areas, threshold):
    """A quick test of pairs: function of two arrays of indices, (B,) and (W,), giving (B, W) bool.

    True where OKS cannot exceed `threshold`: two poses are at most as similar as their nearest joints, which must lie
    within a certain distance. So must, then, the rectangles around the poses.
    """
    distances = reach(areas, threshold)
    low, high = places.min(axis=1), places.max(axis=1)

    def out_of_reach(better, worse):
        found = np.zeros((len(better), len(worse)), bool)
        for axis in (0, 1):
            found |= (low[better, axis] - distances[better])[:, None] > high[worse, axis]
            found |= (high[better, axis] + distances[better])[:, None] < low[worse, axis]
        return found

    return out_of_reach
