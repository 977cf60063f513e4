"""Draws people over their image: silhouettes, boxes and skeletons."""

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from mpn.skeleton import KEYPOINTS, LIMB_COLOURS, LIMBS, NUM_KEYPOINTS

# RGB of boxes, labels and silhouettes. Similar colours are far apart, and dark letters are legible on each.
_PERSON_COLOURS = (
    (255, 145, 40),
    (75, 115, 255),
    (130, 235, 60),
    (255, 75, 200),
    (60, 220, 255),
    (255, 230, 60),
    (165, 80, 255),
    (255, 65, 65),
    (25, 175, 140),
    (255, 180, 205),
    (175, 120, 70),
    (225, 225, 225),
)
_SILHOUETTE_OPACITY = 0.25

# Measured on 229 people that small and small-refiner found in held-out photographs: of labelled keypoints with a
# confidence of .2 to .3, fewer than half are right (similarity .5 or more); of those with .3 to .4, 64 % are. From .3
# up, 90 % are right, and 98 % of all right ones are drawn.
LEAST_DRAWN_CONFIDENCE = 0.3
_RIM_COLOUR = (25, 25, 25)
_INK = (20, 20, 20)
# What is drawn of a person; the score belongs to the box.
LAYERS = POSES, BOXES, SILHOUETTES = "poses", "boxes", "silhouettes"
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_SAME_PERSON = 0.3  # least IoU of a person's boxes in neighbouring frames
_SHIFT = 4  # fractional bits in cv2's drawing coordinates
_CIRCLE = np.stack([f(np.linspace(0, 2 * np.pi, 32, endpoint=False)) for f in (np.cos, np.sin)], axis=1)
# Full-sized joints of these keypoints would hide the face.
_FACE = frozenset(i for i, name in enumerate(KEYPOINTS) if name.endswith(("nose", "eye", "ear")))
_REFERENCE_SIDE = 640  # the longer side of a COCO photograph, for which the sizes below are given in pixels


def draw_people(image, people, threshold=LEAST_DRAWN_CONFIDENCE, colours=None, layers=LAYERS):
    """Draws people, in image pixels and best first, over a copy of their (H, W, 3) uint8 RGB image.

    Each person has a colour for box, score and silhouette. Limbs have the colours of `mpn.skeleton`: warm on the
    person's left, cool on the right. Less confident limbs and keypoints are fainter. Lines and letters grow with the
    image.

    Keypoints with a confidence below `threshold` are not drawn, nor the limbs that end in them. `colours` has a number
    from 0 for each person, see SteadyColours; None takes their order. Twelve colours repeat. `layers` are those of
    LAYERS that are drawn. Raises ValueError for an image of another shape or dtype, or silhouettes of another size.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"an image to draw on is (H, W, 3) uint8, not {image.shape} {image.dtype}")
    numbers = range(len(people)) if colours is None else colours
    colours = [_PERSON_COLOURS[number % len(_PERSON_COLOURS)] for number in numbers]
    canvas = _with_silhouettes(image, people, colours) if SILHOUETTES in layers else image.copy()
    backwards = list(zip(people, colours, strict=True))[::-1]  # the best on top
    for person, colour in backwards:
        if BOXES in layers:
            _draw_box(canvas, person, colour)
        if POSES in layers:
            _draw_skeleton(canvas, person, threshold)
    for person, colour in backwards if BOXES in layers else ():
        _draw_score(canvas, person, colour)
    return canvas


def _with_silhouettes(image, people, colours):
    owner = np.full(image.shape[:2], -1, np.int32)
    # All silhouettes are parts of one map, so in overlapping boxes the owner of a pixel is unknown. The smallest box
    # gets it: most often that person is in front.
    areas = [np.prod(person.box[2:] - person.box[:2]) for person in people]
    for index in np.argsort(np.negative(areas), kind="stable"):
        mask = people[index].silhouette()
        if mask is None:
            continue
        if mask.shape != owner.shape:
            raise ValueError(f"silhouettes are of a {mask.shape} image, not of a {owner.shape} one")
        owner[mask] = index
    canvas = image.copy()
    inside = owner >= 0
    if inside.any():
        tints = np.array(colours, np.float32)[owner[inside]]
        canvas[inside] = np.rint((1 - _SILHOUETTE_OPACITY) * image[inside] + _SILHOUETTE_OPACITY * tints)
    return canvas


def _unit(canvas):
    """Pixels of this image per pixel of a COCO photograph."""
    return max(canvas.shape[:2]) / _REFERENCE_SIDE


def _visible_box(canvas, box):
    """First and last pixels, (x1, y1, x2, y2) int, of a box's part inside the image; None if it is outside."""
    if not np.isfinite(box).all():
        return None
    height, width = canvas.shape[:2]
    x1, y1 = (max(0, int(np.floor(v))) for v in box[:2])
    x2, y2 = (min(side, int(np.ceil(v))) - 1 for v, side in zip(box[2:], (width, height), strict=True))
    return (x1, y1, x2, y2) if x1 <= x2 and y1 <= y2 else None


def _draw_box(canvas, person, colour):
    box = _visible_box(canvas, person.box)
    if box is None:
        return
    width = 1.2 * _unit(canvas)
    outlined = canvas.copy() if width < 1 else canvas
    cv2.rectangle(outlined, box[:2], box[2:], colour, max(1, round(width)), cv2.LINE_AA)
    if width < 1:  # on a small image, a fainter pixel stands for a thinner line
        opacity = max(0.5, width)
        canvas[...] = cv2.addWeighted(outlined, opacity, canvas, 1 - opacity, 0)


def _draw_score(canvas, person, colour):
    box = _visible_box(canvas, person.box)
    height, width = canvas.shape[:2]
    scale = max(0.3, 0.42 * _unit(canvas))
    thickness = max(1, round(1.1 * _unit(canvas)))
    text = f"{person.score:.2f}"
    (text_width, text_height), _ = cv2.getTextSize(text, _FONT, scale, thickness)
    margin = max(2, round(0.3 * text_height))
    label_width, label_height = text_width + 2 * margin, text_height + 2 * margin
    # A label would hide a tiny image, or a tiny person and the neighbours.
    if box is None or label_width > min(width / 2, 1.5 * (box[2] - box[0] + 1)) or label_height > height / 2:
        return
    x = min(box[0], width - label_width)
    y = box[1] - label_height if box[1] >= label_height else box[1]
    y = min(y, height - label_height)
    cv2.rectangle(canvas, (x, y), (x + label_width - 1, y + label_height - 1), colour, cv2.FILLED)
    baseline = (x + margin, y + margin + text_height)
    cv2.putText(canvas, text, baseline, _FONT, scale, _INK, thickness, cv2.LINE_AA)


def _draw_skeleton(canvas, person, threshold):
    width = _limb_width(canvas, person.box)
    keypoints = np.asarray(person.keypoints, np.float32)
    confidence = keypoints[:, 2]
    drawn = np.isfinite(keypoints).all(axis=1) & (confidence >= threshold) & (confidence > 0)
    keypoints = np.concatenate([keypoints[:, :2].clip(-1e5, 1e5), confidence[:, None].clip(0, 1)], axis=1)
    for (a, b), colour in zip(LIMBS, LIMB_COLOURS, strict=True):
        if drawn[a] and drawn[b]:
            _draw_limb(canvas, keypoints[a], keypoints[b], colour, width * (0.6 if _FACE >= {a, b} else 1))
    for joint in np.flatnonzero(drawn):
        _draw_joint(canvas, keypoints[joint], _JOINT_COLOURS[joint], width * (0.6 if joint in _FACE else 1))


def _limb_width(canvas, box):
    """In pixels; smaller on small people, whose limbs would run together."""
    size = float(max(box[2] - box[0], box[3] - box[1]))
    least, most = (max(1.0, factor * _unit(canvas)) for factor in (1.2, 3.5))
    return float(np.clip(size / 60, least, most)) if np.isfinite(size) else least


def _draw_limb(canvas, a, b, colour, width):
    """Draws a dark-rimmed bar between two keypoints (x, y, confidence), as faint as the less confident one."""
    along = b[:2] - a[:2]
    length = float(np.hypot(*along))
    if length == 0:
        return
    across = np.array([-along[1], along[0]]) / (2 * length)

    def bar(full_width):
        side = across * full_width
        return np.stack([a[:2] + side, b[:2] + side, b[:2] - side, a[:2] - side])

    _draw_rimmed(canvas, bar(width + 2 * _rim(width)), bar(width), colour, min(a[2], b[2]))


def _draw_joint(canvas, joint, colour, width):
    """Draws a dark-rimmed disc at a keypoint (x, y, confidence), smaller and fainter with less confidence."""
    radius = width * (0.6 + 0.6 * joint[2])
    disc, rim = (joint[:2] + r * _CIRCLE for r in (radius, radius + _rim(width)))
    _draw_rimmed(canvas, rim, disc, colour, joint[2])


def _rim(width):
    """Pixels of the dark rim that sets a line off from a background of its colour."""
    return max(0.4, 0.25 * width)


def _draw_rimmed(canvas, rim, shape, colour, confidence):
    """Blends a coloured polygon and its dark rim, both (n, 2) convex corners in image pixels, into the canvas."""
    height, width = canvas.shape[:2]
    x1, y1 = np.floor(rim.min(axis=0) - 2).clip(0, (width, height)).astype(int)
    x2, y2 = np.ceil(rim.max(axis=0) + 2).clip(0, (width, height)).astype(int)
    if x1 >= x2 or y1 >= y2:
        return
    part = canvas[y1:y2, x1:x2]
    layer = part.copy()
    for polygon, fill in ((rim, _RIM_COLOUR), (shape, colour)):
        corners = np.rint((polygon - (x1, y1) - 0.5) * 2**_SHIFT)  # cv2 counts from pixel centres
        cv2.fillConvexPoly(layer, corners.astype(np.int32), fill, cv2.LINE_AA, _SHIFT)
    opacity = 0.25 + 0.75 * float(confidence)
    part[...] = cv2.addWeighted(layer, opacity, part, 1 - opacity, 0)


# The colour of the first limb that a keypoint belongs to.
_JOINT_COLOURS = tuple(
    next(colour for limb, colour in zip(LIMBS, LIMB_COLOURS, strict=True) if joint in limb)
    for joint in range(NUM_KEYPOINTS)
)


class SteadyColours:
    """Keeps each person's colour from one frame of a video to the next, although the order of people changes.

    This is no tracking: a person who was hidden for a frame gets another colour.
    """

    def __init__(self):
        self._boxes, self._numbers = np.zeros((0, 4)), []

    def of(self, people):
        """The colours of the next frame's people for `draw_people`: different int from 0 up.

        A person takes the number of the box that overlaps theirs in the last frame; new people take the smallest free
        numbers.
        """
        boxes = np.array([person.box for person in people], np.float64).reshape(-1, 4)
        boxes[:, 2:] -= boxes[:, :2]
        overlaps = np.array(coco_mask.iou(boxes, self._boxes, [0] * len(self._boxes)))
        numbers = [None] * len(people)
        while overlaps.size and overlaps.max() >= _SAME_PERSON:
            new, old = np.unravel_index(overlaps.argmax(), overlaps.shape)
            numbers[new] = self._numbers[old]
            overlaps[new], overlaps[:, old] = 0, 0
        free = iter(sorted(set(range(len(people))) - set(numbers)))
        self._boxes, self._numbers = boxes, [next(free) if number is None else number for number in numbers]
        return self._numbers
