"""What becomes of every labelled keypoint when the PRN groups true keypoints into true boxes (Table 3, "Both GT").

OKS is COCO's: each labelled keypoint counts exp(-d^2 / (2 area (2 sigma)^2)), d being its distance from the truth, and
a person's OKS is the mean of these. So what is lost, 1 - OKS, divides among the keypoints without remainder.

Symbols: N labelled people of an image, K = 17.
"""

import dataclasses

import numpy as np

from mpn.data.coco import ImageRecord
from mpn.errors import UserError
from mpn.geometry import box_iou
from mpn.oks import keypoint_similarities
from mpn.people import GUESS_CONFIDENCE
from mpn.skeleton import KEYPOINTS, NUM_KEYPOINTS

# What can become of a labelled keypoint. The first that applies counts.
CAUSES = (
    "right",
    "outside the enlarged box",  # the PRN never saw it
    "taken from another person, own given away",
    "taken from another person, own left unused",
    "left out, own given away",  # no peak was assigned, and the PRN's guess stands in
    "left out, own left unused",
    "other",  # neither a labelled keypoint nor a guess
)
RIGHT, OUTSIDE, SWAPPED, TAKEN, ROBBED, LEFT_OUT, OTHER = range(len(CAUSES))
NOT_LABELLED = -1

# Bins of people, by their first values: a person belongs to the last bin that begins at or below theirs.
OVERLAP_BINS = {"0": 0.0, "0-.1": 1e-9, ".1-.3": 0.1, ".3-.5": 0.3, ".5-.7": 0.5, "over .7": 0.7}
COUNT_BINS = {"1": 1, "2": 2, "3-5": 3, "6-10": 6, "11-14": 11, "15-17": 15}

# COCO's ten thresholds of OKS.
THRESHOLDS = np.linspace(0.5, 0.95, 10)

# People with fewer labelled keypoints are drawn only where there are not enough others: one keypoint in another's
# place makes the OKS 0 and shows nothing.
LEAST_KEYPOINTS_TO_DRAW = 3

# Two positions closer than this many pixels are the same keypoint: results keep the places of their peaks.
_SAME_PLACE = 0.01


@dataclasses.dataclass(frozen=True)
class Verdicts:
    """What became of the labelled people of one image. Coordinates are continuous image pixels.

    Attributes:
        record: ImageRecord of the N labelled people alone.
        enlarged: (N, 4) float32, the boxes with the margin that the PRN sees.
        results: (N, K, 3) float32, the grouping's x, y and confidence.
        owners: (N, K) int, the person whose keypoint the result is; -1 where it is no labelled person's.
        causes: (N, K) int, indices into CAUSES, or NOT_LABELLED.
        similarities: (N, K) float64 in [0, 1], each keypoint's part of OKS; 0 where not labelled.
        overlaps: (N,) float32, IoU with the labelled person's box that overlaps theirs most.
    """

    record: ImageRecord
    enlarged: np.ndarray
    results: np.ndarray
    owners: np.ndarray
    causes: np.ndarray
    similarities: np.ndarray
    overlaps: np.ndarray

    @property
    def counts(self):
        """(N,) int, labelled keypoints of each person."""
        return (self.causes != NOT_LABELLED).sum(axis=1)

    @property
    def oks(self):
        """(N,) float64."""
        return self.similarities.sum(axis=1) / self.counts

    def concerned(self, person):
        """(N,) bool: the others who took one of this person's keypoints, or one of whose this person has."""
        wrong = self.causes[person] > RIGHT
        others = np.arange(len(self.causes))
        has = (self.owners[person] == others[:, None]) & wrong
        gave = (self.owners == person) & wrong
        return (has | gave).any(axis=1) & (others != person)


def judge(record, people, margin):
    """Compares the people that a grouping made with the labels they were made of.

    Args:
        record: ImageRecord.
        people: list of Person in any order, one for each labelled person and with exactly their box.
        margin: by which boxes were enlarged, as a share of their size.

    Returns:
        Verdicts.

    Raises:
        ValueError: the people do not have the boxes of the labelled people.
    """
    from mpn import roi

    record = record.of(record.labelled)
    results = _paired(record.boxes, people)
    truth, labelled = record.keypoints[..., :2], record.keypoints[..., 2] > 0
    enlarged = np.asarray(roi.enlarge_boxes(record.boxes, margin))
    inside = np.asarray(roi.to_grid(truth[:, :, None], enlarged)[1])[:, :, 0]

    # same[i, j, k]: person i's result for keypoint k is person j's labelled keypoint.
    apart = np.abs(results[:, None, :, :2] - truth[None]).max(axis=-1)
    same = (apart < _SAME_PLACE) & labelled[None]
    mine = np.eye(len(truth), dtype=bool)[..., None]
    right = (same & mine).any(axis=1)
    taken = same.any(axis=1)
    given_away = (same & ~mine).any(axis=0)
    guess = results[..., 2] <= GUESS_CONFIDENCE
    causes = np.select(
        [~labelled, right, ~inside, taken & given_away, taken, guess & given_away, guess],
        [NOT_LABELLED, RIGHT, OUTSIDE, SWAPPED, TAKEN, ROBBED, LEFT_OUT],
        OTHER,
    )
    owners = np.where(right, np.arange(len(truth))[:, None], np.where(taken, same.argmax(axis=1), -1))
    return Verdicts(record, enlarged, results, owners, causes, _similarities(record, results), _overlaps(record.boxes))


def _paired(boxes, people):
    """(N, K, 3) float32: the keypoints of the person made for each box. Of equal boxes, each takes another person."""
    left = list(people)
    results = np.zeros((len(boxes), NUM_KEYPOINTS, 3), np.float32)
    for row, box in zip(results, boxes, strict=True):
        index = next((i for i, person in enumerate(left) if np.array_equal(person.box, box)), None)
        if index is None:
            raise ValueError(f"no person was made for the box {box.tolist()}")
        row[:] = left.pop(index).keypoints
    if left:
        raise ValueError(f"{len(left)} people have a box that no labelled person has")
    return results


def _similarities(record, results):
    """(N, K) float64: the similarity of each labelled keypoint, 0 for others."""
    labelled = record.keypoints[..., 2] > 0
    return keypoint_similarities(results[..., :2], record.keypoints[..., :2], record.areas) * labelled


def _overlaps(boxes):
    """(N,) float32: the largest IoU of each box with another one, 0 for a single box."""
    overlaps = box_iou(boxes[:, None], boxes)
    np.fill_diagonal(overlaps, 0)
    return overlaps.max(axis=1, initial=0)


def judge_all(model, records):
    """Groups the labels of images and judges every labelled person.

    Args:
        model: MultiPoseNet, or what has its `group_all` and `config.prn_margin`.
        records: list of ImageRecord.

    Returns:
        list of Verdicts, one for each image with labelled people.

    Raises:
        UserError: nobody is labelled.
    """
    from mpn.evaluation.evaluate import find_people
    from mpn.evaluation.sources import with_true_boxes, with_true_keypoints

    records = [record for record in records if record.labelled.any()]
    if not records:
        raise UserError("no image has a person with labelled keypoints: there is nothing to group")
    found = find_people(model, records, with_true_keypoints, with_true_boxes)
    return [judge(record, people, model.config.prn_margin) for record, people in zip(records, found, strict=True)]


def summarise(verdicts):
    """The figures of many images.

    Args:
        verdicts: list of Verdicts.

    Returns:
        dict with images, people, keypoints (counts); mean_oks; recall, the share of people whose OKS reaches a
        threshold, averaged over COCO's ten; and four tables, dicts of rows: "causes" by CAUSES, "joints" by KEYPOINTS,
        "overlap" by OVERLAP_BINS and "labelled keypoints" by COUNT_BINS. A row of keypoints has their count, `share`
        of all and `loss`, share of the lost OKS; by cause also the `recall` had these keypoints alone been right; by
        joint also `wrong`, the share that is not right. A row of people has their count, share, loss and mean_oks.
    """
    causes, similarities = (np.concatenate([getattr(v, name) for v in verdicts]) for name in ("causes", "similarities"))
    oks, counts, overlaps = (
        np.concatenate([getattr(v, name) for v in verdicts]) for name in ("oks", "counts", "overlaps")
    )
    labelled = causes != NOT_LABELLED
    losses = np.where(labelled, 1 - similarities, 0) / counts[:, None]

    def row(which, loss_of):
        """`which` may be of keypoints, (people, K), or of people, (people,)."""
        whole = labelled if which.ndim == 2 else np.ones(len(which), bool)
        return {
            "count": int(which.sum()),
            "share": float(which.sum() / whole.sum()),
            "loss": float(loss_of[which].sum() / max(loss_of.sum(), 1e-12)),
        }

    def people(values, bins):
        bin_of = np.searchsorted(list(bins.values()), values, side="right") - 1
        rows = {name: (bin_of == index) for index, name in enumerate(bins)}
        return {
            name: row(which, losses.sum(axis=1)) | {"mean_oks": float(oks[which].mean()) if which.any() else None}
            for name, which in rows.items()
        }

    def joint_row(joint):
        here = labelled & (np.arange(NUM_KEYPOINTS) == joint)
        wrong = (causes[:, joint] > RIGHT).sum() / max(here.sum(), 1)
        return row(here, losses) | {"wrong": float(wrong)}

    return {
        "images": len(verdicts),
        "people": len(oks),
        "keypoints": int(labelled.sum()),
        "mean_oks": float(oks.mean()),
        "recall": _recall(oks),
        "causes": {
            name: row(causes == index, losses) | {"recall": _recall(oks + (losses * (causes == index)).sum(axis=1))}
            for index, name in enumerate(CAUSES)
        },
        "joints": {name: joint_row(joint) for joint, name in enumerate(KEYPOINTS)},
        "overlap": people(overlaps, OVERLAP_BINS),
        "labelled keypoints": people(counts, COUNT_BINS),
    }


def _recall(oks):
    """Share of people at or above a threshold, averaged over COCO's: AR without its limit of 20 people an image."""
    return float((oks[:, None] >= THRESHOLDS - 1e-9).mean())


def worst_people(verdicts, count):
    """The people with the lowest OKS, one an image.

    People with at least LEAST_KEYPOINTS_TO_DRAW labelled keypoints come first. Among equals, those with more labelled
    keypoints. Nobody whose keypoints are all right.

    Args:
        verdicts: list of Verdicts.
        count: how many at most.

    Returns:
        list of (Verdicts, index of the person).
    """
    candidates = []
    for place, image in enumerate(verdicts):
        wrong = (image.causes > RIGHT).any(axis=1)
        for person in np.flatnonzero(wrong):
            few = image.counts[person] < LEAST_KEYPOINTS_TO_DRAW
            candidates.append((few, image.oks[person], -image.counts[person], place, person))
    chosen, seen = [], set()
    for *_, place, person in sorted(candidates):
        if place not in seen and len(chosen) < count:
            chosen.append((verdicts[place], int(person)))
            seen.add(place)
    return chosen
