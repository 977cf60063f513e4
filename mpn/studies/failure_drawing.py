"""Pictures of people whom the PRN grouped wrongly: the labels beside the result, each cause in a colour of its own."""

import dataclasses
import itertools

import cv2
import numpy as np

from mpn.skeleton import KEYPOINTS, LIMBS
from mpn.studies.grouping_verdicts import CAUSES, NOT_LABELLED, RIGHT

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
