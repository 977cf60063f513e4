"""What goes wrong when the PRN groups true keypoints into true boxes (Table 3, "Both GT"): causes counted, worst drawn.

`python -m mpn.evaluation.grouping_failures --model DIR --annotations FILE --output DIR` needs labels alone. It prints
what became of every labelled keypoint and which people lose most, writes the same figures to `causes.json`, and draws
the people with the lowest OKS: the labels on the left, the result on the right. With --coco the photographs lie
beneath.

OKS is COCO's: each labelled keypoint counts exp(-d^2 / (2 area (2 sigma)^2)), d being its distance from the truth, and
a person's OKS is the mean of these. So what is lost, 1 - OKS, divides among the keypoints without remainder.

Symbols: N labelled people of an image, K = 17.
"""

import argparse
import dataclasses
import itertools
import pathlib

import cv2
import numpy as np

from mpn.arguments import add_coco_option, natural, positive_int
from mpn.cli import import_tensorflow, run
from mpn.data.coco import ImageRecord, annotation_file, image_folder, load_annotations, read_record
from mpn.errors import UserError
from mpn.files import make_writable, write_json
from mpn.images import write_image
from mpn.skeleton import KEYPOINTS, LIMBS, NUM_KEYPOINTS, OKS_SIGMAS

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
    from mpn.inference.grouping import GUESS_CONFIDENCE

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
    """(N, K) float64: exp(-d^2 / (2 area (2 sigma)^2)) of each labelled keypoint, 0 for others, as pycocotools has it.

    Where the annotation has no area the box's stands in, as in `mpn.evaluation.coco`.
    """
    sides = record.boxes[:, 2:] - record.boxes[:, :2]
    areas = np.where(record.areas > 0, record.areas, sides.prod(axis=1)).astype(np.float64)
    squares = np.square(results[..., :2].astype(np.float64) - record.keypoints[..., :2]).sum(axis=-1)
    variances = np.square(2 * OKS_SIGMAS.astype(np.float64))
    labelled = record.keypoints[..., 2] > 0
    return np.exp(-squares / (2 * variances * (areas[:, None] + np.spacing(1)))) * labelled


def _overlaps(boxes):
    """(N,) float32: the largest IoU of each box with another one, 0 for a single box."""
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    shared = (high - low).clip(0).prod(axis=-1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    overlaps = shared / np.maximum(areas[:, None] + areas[None] - shared, 1e-9)
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


def print_summary(summary):
    """Prints the tables of `summarise`."""
    print(f"{summary['images']} images, {summary['people']} people, {summary['keypoints']} labelled keypoints")
    print("keypoints and boxes are ground truth: this measures grouping alone, not the whole system")
    print(f"mean OKS {summary['mean_oks']:.4f}; recall at OKS .50 to .95 {summary['recall']:.4f}")
    _print_table("what became of a keypoint", summary["causes"], "keypoints", "recall", "recall if right")
    for title, kind in (
        ("IoU with the most overlapping box", "overlap"),
        ("labelled keypoints of a person", "labelled keypoints"),
    ):
        _print_table(title, summary[kind], "people", "mean_oks", "mean OKS")
    _print_table("keypoint", summary["joints"], "labelled", "wrong", "wrong")


def _print_table(title, rows, counted, extra, extra_title):
    print(f"\n{title:<44}{counted:>10}{'share':>9}{'of the loss':>13}{extra_title:>17}")
    for name, row in rows.items():
        value = "-" if row[extra] is None else f"{row[extra]:.4f}"
        print(f"{name:<44}{row['count']:>10}{100 * row['share']:>7.2f} %{100 * row['loss']:>11.1f} %{value:>17}")


# --- pictures ---------------------------------------------------------------------------------------------------

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_SHIFT = 4  # fractional bits in cv2's drawing coordinates
_GAP = 6  # pixels between panels

# RGB. One colour a role instead of the limbs' own, so that it shows at a glance who has whose keypoint.
_PERSON, _OTHERS = (255, 160, 40), (95, 95, 95)
_CONCERNED = ((60, 140, 255), (160, 205, 255), (115, 110, 255), (30, 95, 190))  # shades of blue, one a person
_INK, _PAPER, _INSIDE, _OUTSIDE_IMAGE = (235, 235, 235), (24, 24, 24), (44, 44, 44), (10, 10, 10)
_CAUSE_COLOURS = (
    (60, 200, 90),  # right
    (255, 235, 60),  # outside the enlarged box
    (255, 60, 60),  # taken, own given away
    (255, 90, 220),  # taken, own left unused
    (60, 235, 235),  # left out, own given away
    (255, 255, 255),  # left out, own left unused
    (170, 120, 255),  # other
)
_PHOTOGRAPH_BRIGHTNESS = 0.45


def draw_failure(verdicts, person, side=640, photograph=None):
    """A person's labels beside what the grouping made of them, with a caption.

    They are orange. The others concerned, who took keypoints of theirs or lost some to them, are in shades of blue, the
    rest grey. The box is drawn in full and the enlarged one dashed. Rings of their cause's colour mark wrong keypoints;
    on the right a line leads from each to a cross at the true place, and guesses are hollow. Only labelled keypoints
    are drawn.

    Args:
        verdicts: Verdicts of the image.
        person: index of the person.
        side: width and height of each of the two views in pixels.
        photograph: (H, W, 3) uint8 RGB, or None for a blank background.

    Returns:
        (height, 2 side + 6, 3) uint8 RGB.
    """
    view = _View.around(verdicts, person, side)
    truth, found = (view.background(verdicts.record, photograph) for _ in range(2))
    truth_points, found_points = verdicts.record.keypoints[..., :2], verdicts.results[..., :2]
    labelled, concerned = verdicts.causes != NOT_LABELLED, verdicts.concerned(person)
    blues = dict(zip(np.flatnonzero(concerned), itertools.cycle(_CONCERNED), strict=False))
    others = sorted(set(range(len(labelled))) - {person}, key=lambda other: concerned[other])  # grey ones below
    guesses = verdicts.owners < 0
    for canvas, points, hollow, title in (
        (truth, truth_points, np.zeros_like(guesses), "labels"),
        (found, found_points, guesses, "result"),
    ):
        for other in others:
            colour = blues.get(other, _OTHERS)
            view.rectangle(canvas, verdicts.record.boxes[other], colour)
            view.skeleton(canvas, points[other], labelled[other], hollow[other], colour)
        view.rectangle(canvas, verdicts.record.boxes[person], _PERSON)
        view.dashed_rectangle(canvas, verdicts.enlarged[person], _PERSON)
        view.skeleton(canvas, points[person], labelled[person], hollow[person], _PERSON, bold=True)
        _write(canvas, title, (8, side - 10), 0.6)
    for joint in np.flatnonzero(verdicts.causes[person] > RIGHT):
        colour = _CAUSE_COLOURS[verdicts.causes[person, joint]]
        view.ring(truth, truth_points[person, joint], colour)
        view.line(found, found_points[person, joint], truth_points[person, joint], colour, 1)
        view.ring(found, found_points[person, joint], colour)
        view.cross(found, truth_points[person, joint], colour)
    gap = np.full((side, _GAP, 3), _PAPER, np.uint8)
    panels = np.concatenate([truth, gap, found], axis=1)
    return np.concatenate([_caption(verdicts, person, panels.shape[1]), panels])


def contact_sheet(pictures):
    """Pictures in two columns below the legend.

    Args:
        pictures: list of uint8 RGB arrays of one width, at least one.

    Returns:
        (height, width, 3) uint8 RGB.
    """
    columns = min(2, len(pictures))
    side_gap, blank = np.full((1, 3 * _GAP, 3), _PAPER, np.uint8), np.full_like(pictures[0][:1], _PAPER)
    rows = []
    for start in range(0, len(pictures), columns):
        row = [*pictures[start : start + columns], blank][:columns]  # the last row may be one short
        height = max(map(len, row)) + 2 * _GAP
        # Captions differ in length: the views below them stand in line.
        row = [np.concatenate([np.repeat(blank, height - len(picture), axis=0), picture]) for picture in row]
        row.insert(1, np.repeat(side_gap, height, axis=0))
        rows.append(np.concatenate(row[: 2 * columns - 1], axis=1))
    return np.concatenate([legend(rows[0].shape[1]), *rows])


def legend(width):
    """A strip that explains the pictures' colours and marks: (height, width, 3) uint8 RGB."""
    entries = (
        ("this person", _PERSON),
        ("others whose keypoints are mixed up with theirs", _CONCERNED[0]),
        ("everyone else", _OTHERS),
        ("dashed: the enlarged box that the PRN sees", _PERSON),
        ("ring: a wrong keypoint; the line leads to where it should be", _INK),
        ("hollow: a guess, as none was assigned", _INK),
    )
    return _strip(width, [entries])


def _caption(verdicts, person, width):
    """Strip above a picture: image, OKS, overlap, and the keypoints that met with each cause."""
    causes = verdicts.causes[person]
    heading = (
        f"image {verdicts.record.id}",
        f"OKS {verdicts.oks[person]:.2f}",
        f"{verdicts.counts[person]} labelled keypoints",
        f"IoU with the most overlapping box {verdicts.overlaps[person]:.2f}",
    )
    entries = []
    for index, colour in enumerate(_CAUSE_COLOURS):
        names = [KEYPOINTS[joint].replace("_", " ") for joint in np.flatnonzero(causes == index)]
        if names:
            listed = "" if index == RIGHT else f": {', '.join(names)}"
            entries.append((f"{len(names)} {CAUSES[index]}{listed}", colour))
    return _strip(width, [[(text, None) for text in heading], *([entry] for entry in entries)])


def _strip(width, rows):
    """Lines of text on dark paper.

    Args:
        width: of the strip in pixels.
        rows: list of lists of (text, RGB of the dot before it or None); words that do not fit a line go to the next.

    Returns:
        (height, width, 3) uint8 RGB.
    """
    scale, step, dot, space = 0.45, 20, 14, 5
    words, y = [], 0
    for row in rows:
        x, y = 8, y + step
        for text, colour in row:
            for index, word in enumerate(text.split()):
                first = colour if index == 0 else None
                length = cv2.getTextSize(word, _FONT, scale, 1)[0][0] + (dot if first else 0)
                if x > 8 and x + length > width - 4:
                    x, y = 8, y + step
                words.append((word, first, x, y))
                x += length + space
            x += 3 * space
    strip = np.full((y + 9, width, 3), _PAPER, np.uint8)
    for word, colour, x, y in words:
        if colour:
            cv2.circle(strip, (x + 4, y - 4), 4, colour, cv2.FILLED, cv2.LINE_AA)
        _write(strip, word, (x + (dot if colour else 0), y), scale)
    return strip


def _write(canvas, text, place, scale):
    cv2.putText(canvas, text, place, _FONT, scale, _INK, 1, cv2.LINE_AA)


@dataclasses.dataclass(frozen=True)
class _View:
    """A square part of an image, drawn large.

    Attributes:
        corner: (2,) float, its upper left corner in image pixels.
        scale: drawn pixels an image pixel.
        side: of the drawing in pixels.
    """

    corner: np.ndarray
    scale: float
    side: int

    @classmethod
    def around(cls, verdicts, person, side):
        """The view that shows a person's enlarged box and all their true and resulting keypoints."""
        labelled = verdicts.causes[person] != NOT_LABELLED
        points = (verdicts.record.keypoints[person, labelled, :2], verdicts.results[person, labelled, :2])
        points = np.concatenate([verdicts.enlarged[person].reshape(2, 2), *points])
        low, high = points.min(axis=0), points.max(axis=0)
        length = max(1.12 * float((high - low).max()), 8.0)
        return cls((low + high - length) / 2, side / length, side)

    def background(self, record, photograph):
        """(side, side, 3) uint8: the darkened photograph or a blank, darker outside the image."""
        shift = (0.5 - self.corner) * self.scale - 0.5  # cv2.warpAffine counts from the centre of pixel 0
        matrix = np.array([[self.scale, 0, shift[0]], [0, self.scale, shift[1]]])
        if photograph is None:
            image = np.full((record.height, record.width, 3), _INSIDE, np.uint8)
        else:
            image = cv2.convertScaleAbs(photograph, alpha=_PHOTOGRAPH_BRIGHTNESS)
        size = (self.side, self.side)
        return cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR, borderValue=_OUTSIDE_IMAGE)

    def rectangle(self, canvas, box, colour):
        cv2.rectangle(canvas, self._point(box[:2]), self._point(box[2:]), colour, 1, cv2.LINE_AA, _SHIFT)

    def dashed_rectangle(self, canvas, box, colour, dash=7):
        x1, y1, x2, y2 = box
        for a, b in (((x1, y1), (x2, y1)), ((x2, y1), (x2, y2)), ((x2, y2), (x1, y2)), ((x1, y2), (x1, y1))):
            a, b = np.array(a), np.array(b)
            count = max(1, int(np.abs(b - a).max() * self.scale / dash / 2))
            for start in np.arange(count) / count:
                self.line(canvas, a + start * (b - a), a + (start + 0.5 / count) * (b - a), colour, 1)

    def skeleton(self, canvas, points, shown, hollow, colour, bold=False):
        """Limbs and joints of the keypoints (K, 2) that `shown` (K,) names; those that `hollow` (K,) names as rings."""
        for a, b in LIMBS:
            if shown[a] and shown[b]:
                self.line(canvas, points[a], points[b], colour, 3 if bold else 1)
        for point, is_hollow in zip(points[shown], hollow[shown], strict=True):
            radius = 4 if bold else 3
            self.disc(canvas, point, colour, radius)
            if is_hollow:
                self.disc(canvas, point, _PAPER, radius - 1)

    def line(self, canvas, a, b, colour, width):
        cv2.line(canvas, self._point(a), self._point(b), colour, width, cv2.LINE_AA, _SHIFT)

    def disc(self, canvas, point, colour, radius):
        cv2.circle(canvas, self._point(point), radius << _SHIFT, colour, cv2.FILLED, cv2.LINE_AA, _SHIFT)

    def ring(self, canvas, point, colour, radius=8):
        cv2.circle(canvas, self._point(point), radius << _SHIFT, colour, 2, cv2.LINE_AA, _SHIFT)

    def cross(self, canvas, point, colour, reach=6):
        x, y = self._point(point)
        reach <<= _SHIFT
        for sign in (1, -1):
            ends = (x - reach, y - sign * reach), (x + reach, y + sign * reach)
            cv2.line(canvas, *ends, colour, 2, cv2.LINE_AA, _SHIFT)

    def _point(self, position):
        """(x, y) in cv2's fixed-point coordinates, which count from the centre of pixel 0."""
        drawn = (np.asarray(position, np.float64) - self.corner) * self.scale - 0.5
        return tuple(round(float(value) * 2**_SHIFT) for value in drawn.clip(-1e4, 1e4))


def _photograph(record):
    """The image of a record, or None where its file is not at hand."""
    return read_record(record) if record.path is not None and record.path.is_file() else None


def write_report(folder, verdicts, worst, settings=None):
    """Writes `causes.json`, one picture for each of the worst people, and `contact_sheet.png` with all of these.

    Args:
        folder: pathlib.Path, made if need be.
        verdicts: list of Verdicts.
        worst: how many people to draw.
        settings: dict of what the figures were measured with.

    Returns:
        dict, what `causes.json` holds: that of `summarise`, with settings, and "worst": a list of {image_id, box, oks,
        overlap, causes (count of each), picture (file name)}.

    Raises:
        UserError: a photograph is damaged or of another size than its annotations say.
        OSError: a file cannot be written.
    """
    make_writable(folder)
    report = summarise(verdicts) | {"settings": settings or {}, "worst": []}
    small = []
    for number, (image, person) in enumerate(worst_people(verdicts, worst), start=1):
        photograph = _photograph(image.record)
        picture = draw_failure(image, person, photograph=photograph)
        small.append(draw_failure(image, person, side=400, photograph=photograph))
        name = f"worst_{number:02d}.png"  # not by image id, so that a second run leaves no pictures of the first
        write_image(folder / name, np.concatenate([picture, legend(picture.shape[1])]))
        causes = image.causes[person]
        report["worst"].append(
            {
                "image_id": image.record.id,
                "box": [round(float(value), 2) for value in image.record.boxes[person]],
                "oks": float(image.oks[person]),
                "overlap": float(image.overlaps[person]),
                "causes": {name: int((causes == i).sum()) for i, name in enumerate(CAUSES) if (causes == i).any()},
                "picture": name,
            }
        )
    if small:
        write_image(folder / "contact_sheet.png", contact_sheet(small))
    write_json(folder / "causes.json", report, indent=2)
    return report


def main(argv=None):
    import_tensorflow()
    from mpn.inference.predictor import MultiPoseNet
    from mpn.precision import INFERENCE_PRECISIONS

    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--model", metavar="DIR", default="models/multiposenet", help="model directory")
    parser.add_argument("--annotations", metavar="FILE", help="COCO keypoints JSON (or .gz); default: that of --coco")
    add_coco_option(parser)
    parser.add_argument("--split", choices=("val", "train"), default="val", help="part of --coco")
    parser.add_argument("--output", metavar="DIR", default="grouping_failures", help="folder of pictures and figures")
    parser.add_argument("--worst", type=natural, default=10, metavar="N", help="people to draw")
    parser.add_argument("--limit", type=positive_int, metavar="N", help="first N images only")
    parser.add_argument("--precision", choices=INFERENCE_PRECISIONS, default="auto", help="bfloat16 where it is fast")
    options = parser.parse_args(argv)
    if not options.annotations and not options.coco:
        raise UserError("no labels: give --annotations FILE, or --coco DIR for photographs as well")
    path = options.annotations or annotation_file(options.coco, options.split)
    folder = image_folder(options.coco, options.split) if options.coco else None
    records = load_annotations(path, folder, options.limit)
    output = pathlib.Path(options.output)
    make_writable(output)  # before minutes of grouping, not after
    model = MultiPoseNet.load(options.model, parts=["prn"], precision=options.precision)
    settings = {
        "annotations": str(path),
        "model": str(options.model),
        "margin": model.config.prn_margin,
        "window": model.config.prn_window,
        "assignment": model.assignment,
        "precision": model.precision,
    }
    report = write_report(output, judge_all(model, records), options.worst, settings)
    print_summary(report)
    print(f"\n{len(report['worst'])} pictures and causes.json in {output}")


if __name__ == "__main__":
    run(main)
