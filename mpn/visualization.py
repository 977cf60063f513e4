"""Draws people over their image: silhouettes, boxes and skeletons."""

import colorsys
import functools

import cv2
import numpy as np

from mpn.skeleton import KEYPOINTS, LIMB_COLOURS, LIMBS, NUM_KEYPOINTS

_SILHOUETTE_OPACITY = 0.3
_RIM_COLOUR = (25, 25, 25)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_SHIFT = 4  # fractional bits in cv2's drawing coordinates
# Keypoints that lie so close together that full-sized joints would hide the face.
_FACE = frozenset(i for i, name in enumerate(KEYPOINTS) if name.endswith(("nose", "eye", "ear")))
_REFERENCE_SIDE = 640  # the longer side of a COCO photograph, for which the sizes below are given in pixels


def draw_people(image, people, threshold=0.1):
    """A picture of what was found; the image itself is left alone.

    Each person has a colour for box, score and silhouette. Limbs have the colours of `mpn.skeleton`, warm on
    the person's left and cool on the right. Limbs and joints are the fainter the less confident they are.

    Args:
        image: (H, W, 3) uint8 RGB.
        people: list of Person, in pixels of `image`, best first; may be empty.
        threshold: keypoints less confident than this are not drawn, nor the limbs that end in them.

    Returns:
        (H, W, 3) uint8 RGB, a new array.

    Raises:
        ValueError: `image` is not (H, W, 3) uint8, or silhouettes belong to an image of another size.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"an image to draw on is (H, W, 3) uint8, not {image.shape} {image.dtype}")
    canvas = _with_silhouettes(image, people)
    for index, person in reversed(list(enumerate(people))):  # the best on top
        _draw_box(canvas, person, _person_colour(index))
        _draw_skeleton(canvas, person, threshold)
    for index, person in reversed(list(enumerate(people))):
        _draw_score(canvas, person, _person_colour(index))
    return canvas


@functools.cache
def _person_colour(index):
    """A bright RGB colour, 0 to 255, far from those of the people before it."""
    hue = (0.08 + 0.618034 * index) % 1  # steps of the golden ratio never come back close to an earlier hue
    return tuple(round(255 * channel) for channel in colorsys.hsv_to_rgb(hue, 0.75, 1.0))


def _with_silhouettes(image, people):
    """A copy of the image, (H, W, 3) uint8, with every silhouette tinted in its person's colour.

    All silhouettes are parts of one map, so where boxes overlap, a pixel's owner is unknown: it goes to the
    smallest box, most often that of a person within the larger one's, instead of to a mixture of colours.
    """
    owner = np.full(image.shape[:2], -1, np.int32)
    for index in sorted(range(len(people)), key=lambda index: -_area(people[index].box)):
        mask = people[index].silhouette()
        if mask is None:
            continue
        if mask.shape != owner.shape:
            raise ValueError(f"silhouettes are of a {mask.shape} image, not of a {owner.shape} one")
        owner[mask] = index
    canvas = image.copy()
    inside = owner >= 0
    if inside.any():
        colours = np.array([_person_colour(index) for index in range(len(people))], np.float32)
        mixed = (1 - _SILHOUETTE_OPACITY) * image[inside] + _SILHOUETTE_OPACITY * colours[owner[inside]]
        canvas[inside] = np.rint(mixed)
    return canvas


def _area(box):
    return float((box[2] - box[0]) * (box[3] - box[1]))


def _unit(canvas):
    """Factor from pixels of a COCO photograph to pixels of this one."""
    return max(canvas.shape[:2]) / _REFERENCE_SIDE


def _visible_box(canvas, box):
    """First and last pixels, (x1, y1, x2, y2) int, of the part of a box inside the image; None if outside."""
    if not np.isfinite(box).all():
        return None
    height, width = canvas.shape[:2]
    x1, y1 = (max(0, int(np.floor(v))) for v in box[:2])
    x2, y2 = (min(side, int(np.ceil(v))) - 1 for v, side in zip(box[2:], (width, height), strict=True))
    return (x1, y1, x2, y2) if x1 <= x2 and y1 <= y2 else None


def _draw_box(canvas, person, colour):
    """Outlines, in place, the part of the person's box that the image shows."""
    box = _visible_box(canvas, person.box)
    if box is not None:
        thickness = max(1, round(1.2 * _unit(canvas)))
        cv2.rectangle(canvas, box[:2], box[2:], colour, thickness, cv2.LINE_AA)


def _draw_score(canvas, person, colour):
    """Writes, in place, the person's pose score on a label at the box's upper left corner."""
    box = _visible_box(canvas, person.box)
    height, width = canvas.shape[:2]
    scale = max(0.32, 0.42 * _unit(canvas))
    thickness = max(1, round(1.1 * _unit(canvas)))
    text = f"{person.score:.2f}"
    (text_width, text_height), _ = cv2.getTextSize(text, _FONT, scale, thickness)
    margin = max(2, round(0.3 * text_height))
    label_width, label_height = text_width + 2 * margin, text_height + 2 * margin
    if box is None or label_width > width / 2 or label_height > height / 2:  # a label would hide a tiny image
        return
    x = min(box[0], width - label_width)
    y = box[1] - label_height if box[1] >= label_height else box[1]
    y = min(y, height - label_height)
    cv2.rectangle(canvas, (x, y), (x + label_width - 1, y + label_height - 1), colour, cv2.FILLED)
    dark_text = np.dot(colour, (0.299, 0.587, 0.114)) > 110
    ink = (20, 20, 20) if dark_text else (255, 255, 255)
    baseline = (x + margin, y + margin + text_height)
    cv2.putText(canvas, text, baseline, _FONT, scale, ink, thickness, cv2.LINE_AA)


def _draw_skeleton(canvas, person, threshold):
    """Draws, in place, limbs and then joints of at least the threshold's confidence."""
    width = _limb_width(canvas, person.box)
    keypoints = np.asarray(person.keypoints, np.float32)
    drawn = np.isfinite(keypoints).all(axis=1) & (keypoints[:, 2] >= threshold) & (keypoints[:, 2] > 0)
    for (a, b), colour in zip(LIMBS, LIMB_COLOURS, strict=True):
        if drawn[a] and drawn[b]:
            _draw_limb(canvas, keypoints[a], keypoints[b], colour, width * (0.6 if _FACE >= {a, b} else 1))
    for joint in np.flatnonzero(drawn):
        _draw_joint(canvas, keypoints[joint], _JOINT_COLOURS[joint], width * (0.6 if joint in _FACE else 1))


def _limb_width(canvas, box):
    """Pixels: thinner on small people, whose limbs would run together."""
    size = float(max(box[2] - box[0], box[3] - box[1]))
    least, most = (max(1.0, factor * _unit(canvas)) for factor in (1.2, 3.5))
    return float(np.clip(size / 60, least, most)) if np.isfinite(size) else least


def _opacity(confidence):
    """Of a limb or joint: never so faint that it cannot be seen."""
    return float(np.clip(0.25 + 0.75 * confidence, 0, 1))


def _draw_limb(canvas, a, b, colour, width):
    """Draws a line between two keypoints (x, y, confidence), in place, as faint as the less confident one."""

    def draw(layer, origin):
        points = _cv2_point(a, origin), _cv2_point(b, origin)
        cv2.line(layer, *points, colour, max(1, round(width)), cv2.LINE_AA, _SHIFT)

    _draw_faint(canvas, np.stack([a[:2], b[:2]]), width, _opacity(min(a[2], b[2])), draw)


def _draw_joint(canvas, joint, colour, width):
    """Draws a dark-rimmed disc at a keypoint (x, y, confidence), in place, smaller and fainter if unsure."""
    radius = width * (0.6 + 0.6 * float(np.clip(joint[2], 0, 1)))
    outer = radius + max(0.6, 0.3 * width)

    def draw(layer, origin):
        centre = _cv2_point(joint, origin)
        for r, fill in ((outer, _RIM_COLOUR), (radius, colour)):
            cv2.circle(layer, centre, round(r * 2**_SHIFT), fill, cv2.FILLED, cv2.LINE_AA, _SHIFT)

    _draw_faint(canvas, joint[None, :2], outer, _opacity(joint[2]), draw)


def _draw_faint(canvas, points, margin, opacity, draw):
    """Blends a drawing into the canvas, in place.

    Args:
        canvas: (H, W, 3) uint8.
        points: (n, 2) image pixels; the drawing lies within `margin` + 2 pixels of their bounding box.
        opacity: of the drawing, in [0, 1].
        draw: function of a layer to draw on, a copy of part of the canvas, and its upper left corner (x, y).
    """
    height, width = canvas.shape[:2]
    x1, y1 = np.floor(points.min(axis=0) - margin - 2).clip(0, (width, height)).astype(int)
    x2, y2 = np.ceil(points.max(axis=0) + margin + 2).clip(0, (width, height)).astype(int)
    if x1 >= x2 or y1 >= y2:
        return
    part = canvas[y1:y2, x1:x2]
    layer = part.copy()
    draw(layer, (x1, y1))
    part[...] = cv2.addWeighted(layer, opacity, part, 1 - opacity, 0)


def _cv2_point(keypoint, origin):
    """(x, y) in cv2's fixed-point coordinates, which count from the centre of pixel 0."""
    x, y = (np.clip(keypoint[:2], -1e5, 1e5) - origin - 0.5) * 2**_SHIFT
    return round(float(x)), round(float(y))


def _joint_colours():
    """One RGB colour a keypoint: that of the first limb it belongs to, so that sides keep their colours."""
    return tuple(
        next(colour for limb, colour in zip(LIMBS, LIMB_COLOURS, strict=True) if joint in limb)
        for joint in range(NUM_KEYPOINTS)
    )


_JOINT_COLOURS = _joint_colours()
