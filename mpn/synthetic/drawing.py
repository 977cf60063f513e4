"""Draws the figures of `mpn.synthetic.poses` part by part, from far to near, and finds their visible keypoints.

Left limbs are lighter and have a stripe; right limbs are darker.
"""

import cv2
import numpy as np

from mpn.skeleton import KEYPOINTS, NUM_KEYPOINTS
from mpn.synthetic.poses import FACE, HEAD_SHAPE, SIDES

# The joints at a limb's ends, its radii there in standing heights, and by how much it is drawn nearer than it is, so
# that at equal depths sleeves cover the shirt and the shirt covers the trousers.
_LIMBS = {
    "upper_arm": ("shoulder", "elbow", np.array([0.031, 0.025]), 0.02),
    "forearm": ("elbow", "wrist", np.array([0.024, 0.017]), 0.025),
    "thigh": ("hip", "knee", np.array([0.05, 0.036]), -0.02),
    "shin": ("knee", "ankle", np.array([0.035, 0.022]), -0.015),
}
_PARTS = ["head", "torso", *(f"{side}_{limb}" for side, _ in SIDES for limb in _LIMBS)]
PART_ID = {name: number for number, name in enumerate(_PARTS, start=1)}
# Parts on which a keypoint is visible; every other part hides it.
_JOINT_PARTS = {
    "shoulder": ("torso", "upper_arm"),
    "elbow": ("upper_arm", "forearm"),
    "wrist": ("forearm",),
    "hip": ("torso", "thigh"),
    "knee": ("thigh", "shin"),
    "ankle": ("shin",),
}
_FIRST_BODY_KEYPOINT = KEYPOINTS.index("left_shoulder")
_TORSO_KEYPOINTS = [KEYPOINTS.index(f"{side}_{name}") for side, _ in SIDES for name in ("shoulder", "hip")]
# Nose, eyes and ears are on the hidden side of the head where their z on the unit head is below this.
_FACE_LIMIT = np.array([0.0, 0.12, 0.12, -0.3, -0.3])
_CIRCLE = np.stack([np.cos(np.arange(12) * np.pi / 6), np.sin(np.arange(12) * np.pi / 6)], 1)
_SUBPIXEL_BITS = 4


class Canvas:
    """A picture, `image` (H, W, 3) uint8 RGB, and the part of a person that each pixel shows.

    `labels` is (H, W, 2) uint8: the owner, 0 for the background, and the part, a value of PART_ID.
    """

    def __init__(self, image):
        self.image = np.ascontiguousarray(image)
        self.labels = np.zeros((*image.shape[:2], 2), np.uint8)

    def fill(self, points, colour, label=None):
        """Fills a polygon, (n, 2) in continuous pixels, and with `label` (owner, part) labels its pixels."""
        points = np.rint((points - 0.5) * 2**_SUBPIXEL_BITS).astype(np.int32)[None]  # cv2 counts from pixel centres
        colour = tuple(int(value) for value in colour)
        cv2.fillPoly(self.image, points, colour, cv2.LINE_AA, _SUBPIXEL_BITS)
        if label is not None:
            cv2.fillPoly(self.labels, points, label, cv2.LINE_8, _SUBPIXEL_BITS)

    def line(self, start, end, width, colour):
        """Draws a line between points in continuous pixels, unless it is too thin to see."""
        if width >= 0.35:
            self.fill(_hull([start, end], [width / 2] * 2), colour)


def draw_figure(canvas, figure, origin, height, owner):
    """Draws a Figure on a Canvas.

    `origin` is the point between the hips, (x, y) in continuous pixels, `height` the standing height in pixels, and
    `owner` the person's number in the canvas's labels, 1-255.
    """
    _Pen(canvas, figure, np.asarray(origin, float), height, owner).draw()


def visibility(canvas, figure, origin, height, owner):
    """Returns COCO's keypoints of a figure, (17, 3) int, once everyone is drawn; arguments as in `draw_figure`.

    x and y are pixel indices. v is 2 where the pixel shows that part of the person, 1 where something covers it, and 0,
    with x = y = 0, outside the picture and on the hidden side of the head.
    """
    picture_height, picture_width = canvas.labels.shape[:2]
    positions = np.floor(origin + figure.points[:, :2] * height).astype(int)
    torso_depth = figure.points[_TORSO_KEYPOINTS, 2].mean()
    averted = (FACE @ figure.head_axes.T)[:, 2] < _FACE_LIMIT
    keypoints = np.zeros((NUM_KEYPOINTS, 3), int)
    for k, (x, y) in enumerate(positions):
        if not (0 <= x < picture_width and 0 <= y < picture_height):
            continue
        seen_owner, seen_part = canvas.labels[y, x]
        if k < _FIRST_BODY_KEYPOINT:
            if averted[k]:
                continue
            seen = seen_part == PART_ID["head"]
        else:
            # Seen from the side, the chest covers the far shoulder and hip.
            behind = figure.points[k, 2] < torso_depth - 0.07
            seen = seen_part in _parts_at(KEYPOINTS[k]) and not (seen_part == PART_ID["torso"] and behind)
        keypoints[k] = x, y, 2 if seen and seen_owner == owner else 1
    return keypoints


def _parts_at(keypoint):
    side, joint = keypoint.split("_")
    return {PART_ID[part if part == "torso" else f"{side}_{part}"] for part in _JOINT_PARTS[joint]}


class _Pen:
    def __init__(self, canvas, figure, origin, height, owner):
        self.canvas, self.figure, self.look = canvas, figure, figure.look
        self.origin, self.height, self.owner = origin, height, owner

    def draw(self):
        point = dict(zip(KEYPOINTS, self.figure.points, strict=True))
        torso_depth = self.figure.points[_TORSO_KEYPOINTS, 2].mean()
        jobs = [(torso_depth, self._torso, (point,)), (self.figure.head[2], self._head, ())]
        for (side, _), hand, toe in zip(SIDES, self.figure.hands, self.figure.toes, strict=True):
            for limb, (start, end, _, nearer) in _LIMBS.items():
                start, end = point[f"{side}_{start}"], point[f"{side}_{end}"]
                tip = {"forearm": hand, "shin": toe}.get(limb)
                jobs.append(((start + end)[2] / 2 + nearer, self._limb, (side, limb, start, end, tip)))
        for _, method, arguments in sorted(jobs, key=lambda job: job[0]):
            method(*arguments)

    def _place(self, points):
        """Maps points (..., 3) of the view frame to continuous pixels."""
        return self.origin + np.asarray(points)[..., :2] * self.height

    def _solid(self, points, radii, colour, part):
        """Draws the hull of balls, with a dark rim that separates parts of one colour."""
        centres, radii = self._place(points), np.asarray(radii) * self.height
        rim = min(1.0, 0.012 * self.height)
        self.canvas.fill(_hull(centres, radii), _shade(colour, 0.5), (self.owner, PART_ID[part]))
        self.canvas.fill(_hull(centres, np.maximum(radii - rim, 0.3)), colour)

    def _limb(self, side, limb, start, end, tip):
        look = self.look
        if tip is not None:
            radii, colour = ([0.016, 0.02], look.skin) if limb == "forearm" else ([0.026, 0.019], look.shoes)
            self._solid([end, tip], radii, colour, f"{side}_{limb}")
        colour = {
            "upper_arm": look.shirt,
            "forearm": look.shirt if look.long_sleeves else look.skin,
            "thigh": look.trousers,
            "shin": look.trousers if look.long_trousers else look.skin,
        }[limb]
        colour = _shade(colour, 1.2 if side == "left" else 0.78)
        radii = _LIMBS[limb][2] * look.girth
        self._solid([start, end], radii, colour, f"{side}_{limb}")
        share, stripe = (0.7, look.accent) if side == "left" else (0.5, _shade(colour, 0.8))
        self.canvas.line(*self._place([start, end]), share * (radii.mean() * self.height), stripe)

    def _torso(self, point):
        look, axes, girth = self.look, self.figure.body_axes, self.look.girth
        shoulders = (point["left_shoulder"] + point["right_shoulder"]) / 2
        hips = (point["left_hip"] + point["right_hip"]) / 2
        chest, waist = shoulders * 0.7 + hips * 0.3, shoulders * 0.2 + hips * 0.8
        # The neck ends at the chin: a longer one would cover the face of a person who leans back.
        chin = self.figure.head + 0.7 * look.head_radius * axes[:, 1]
        self._solid([shoulders, chin], [0.033, 0.03], _shade(look.skin, 0.85), "torso")
        pelvis = [point["left_hip"], point["right_hip"], waist]
        self._solid(pelvis, np.array([0.05, 0.05, 0.06]) * girth, look.trousers, "torso")
        side = axes[:, 0] * 0.03 * girth
        shirt = [point["left_shoulder"], point["right_shoulder"], chest, waist + side, waist - side]
        self._solid(shirt, np.array([0.034, 0.034, 0.075, 0.06, 0.06]) * girth, look.shirt, "torso")
        self._pattern(shoulders, waist)
        if axes[2, 2] > 0.1:  # the chest faces the viewer
            front = axes[:, 2] * 0.06 * girth
            top, bottom = self._place(shoulders + front), self._place(waist + front)
            collar = self._place([shoulders + axes[:, 0] * 0.035, shoulders - axes[:, 0] * 0.035])
            self.canvas.line(top, bottom, 0.012 * self.height, _shade(look.shirt, 0.55))
            throat = top * 0.8 + bottom * 0.2
            self.canvas.fill(np.array([collar[0], throat, collar[1]]), _shade(look.skin, 0.9))

    def _pattern(self, top, bottom):
        look, across = self.look, self.figure.body_axes[:, 0] * 0.085 * self.look.girth
        width, colour = 0.016 * self.height, _shade(look.accent, 0.85)
        if look.pattern == "hoops":
            for share in (0.15, 0.38, 0.61, 0.84):
                middle = top + (bottom - top) * share
                self.canvas.line(*self._place([middle - across, middle + across]), width, colour)
        elif look.pattern == "stripes":
            for share in (-0.8, -0.4, 0.4, 0.8):
                ends = np.array([top, bottom]) + across * share
                self.canvas.line(*self._place(ends), width * 0.7, colour)
        elif look.pattern == "dots":
            for down in (0.2, 0.45, 0.7, 0.95):
                for share in (-0.8, -0.3, 0.3, 0.8):
                    spot = self._place(top + (bottom - top) * down + across * share)
                    self.canvas.line(spot, spot, width * 1.3, colour)

    def _head(self):
        look, axes = self.look, self.figure.head_axes
        radius = look.head_radius * self.height
        directions = FACE @ axes.T
        if look.long_hair:
            ends = [self.figure.head - 0.02 * axes[:, 2], self.figure.head + axes @ [0, 0.09, -0.045]]
            self._solid(ends, [look.head_radius * 0.9, look.head_radius * 0.75], look.hair, "head")
            if axes[2, 2] > 0:  # the neck is in front of the hair
                throat = self.figure.head + axes @ [0, 0.115, 0]
                self._solid([self.figure.head, throat], [0.03, 0.03], _shade(look.skin, 0.85), "torso")
        self._ears(radius, directions[3:5, 2] < 0)
        middle = self._place(self.figure.head)
        outline = _head_outline(axes, radius)
        self.canvas.fill(middle + outline, _shade(look.hair, 0.5), (self.owner, PART_ID["head"]))
        self.canvas.fill(middle + outline * max(1 - 1 / radius, 0.9), look.hair)
        face = _cap(axes, np.array([0, 0.42, 1.0]), 64, radius)
        if face is not None:
            self.canvas.fill(middle + face, look.skin)
        self._ears(radius, directions[3:5, 2] >= 0)
        self._features(radius, directions)

    def _ears(self, radius, which):
        for position in self._place(self.figure.points[3:5][which]):
            outline, colour = _hull([position], [0.24 * radius]), _shade(self.look.skin, 0.72)
            self.canvas.fill(outline, colour, (self.owner, PART_ID["head"]))

    def _features(self, radius, directions):
        """Draws the eyes, brows, nose and mouth that face the viewer."""
        look, canvas, axes = self.look, self.canvas, self.figure.head_axes
        nose, *eyes = self._place(self.figure.points[:3])
        down, brow = axes[:2, 1] * radius, _shade(look.hair, 0.8)
        for eye, direction in zip(eyes, directions[1:3], strict=True):
            if direction[2] > _FACE_LIMIT[1]:
                canvas.line(eye, eye, 0.36 * radius, (250, 250, 250))
                canvas.line(eye, eye, 0.2 * radius, (30, 25, 30))
                above, side = eye - 0.25 * down, axes[:2, 0] * 0.17 * radius
                canvas.line(above - side, above + side, 0.1 * radius, brow)
        if directions[0, 2] > _FACE_LIMIT[0]:
            canvas.line(nose - 0.25 * down, nose, 0.2 * radius, _shade(look.skin, 0.7))
        mouth = axes @ np.array([0, 0.55, 0.8])
        if mouth[2] > 0.15:
            middle = self._place(self.figure.head) + mouth[:2] * radius * 0.95
            side = axes[:2, 0] * 0.27 * radius
            canvas.line(middle - side, middle + side, 0.13 * radius, (165, 60, 60))


def _cap(axes, direction, angle, radius):
    """Outline of the visible part of a cap of the head, (n, 2) pixels from the head's centre; None if it is hidden.

    `direction` is that of the cap's middle in the head's frame; `angle`, below 90 degrees, is from there to its rim.
    """
    centre = direction / np.linalg.norm(direction)
    first = np.cross(centre, [0.3, 1.0, 0.2])
    first /= np.linalg.norm(first)
    second = np.cross(centre, first)
    turn, angle = np.arange(36)[:, None] * (np.pi / 18), np.radians(angle)
    ring = np.cos(angle) * centre + np.sin(angle) * (np.cos(turn) * first + np.sin(turn) * second)
    ring = ring @ axes.T
    seen = ring[:, 2] > 0
    if not seen.any():
        return None
    if not seen.all():
        # Follow the ring as far as it is visible, then go back along the outline of the head.
        ring = np.roll(ring, -np.flatnonzero(seen & ~np.roll(seen, 1))[0], 0)[: np.count_nonzero(seen)]
        middle = np.arctan2(*(axes @ centre)[1::-1])
        ends = np.arctan2(ring[[-1, 0], 1], ring[[-1, 0], 0]) - middle
        back = np.linspace(*((ends + np.pi) % (2 * np.pi) - np.pi), 9) + middle
        ring = np.concatenate([ring, np.stack([np.cos(back), np.sin(back), np.zeros(9)], 1)])
    return ((ring @ axes) * HEAD_SHAPE) @ axes.T[:, :2] * radius


def _head_outline(axes, radius):
    """Outline of the whole head, (24, 2) pixels from its centre."""
    turn = np.arange(24) * (np.pi / 12)
    directions = np.stack([np.cos(turn), np.sin(turn)], 1)
    # On the outline, the normal of the ellipsoid is at right angles to the line of sight.
    flat = ((axes * HEAD_SHAPE**2) @ axes.T)[:2, :2]
    reach = np.sqrt(np.einsum("ni,ij,nj->n", directions, flat, directions))
    return directions @ flat / reach[:, None] * radius


def _hull(centres, radii):
    """Convex hull, (n, 2), of discs with centres (m, 2) and radii (m,)."""
    points = np.asarray(centres)[:, None] + np.asarray(radii)[:, None, None] * _CIRCLE
    return cv2.convexHull(points.reshape(-1, 2).astype(np.float32))[:, 0]


def _shade(colour, factor):
    return np.clip(np.asarray(colour) * factor, 0, 255)
