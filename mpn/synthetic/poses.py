"""Random human figures in three dimensions for the synthetic set: their poses, colours and clothes.

The body frame has x to the person's left, y down and z ahead, the view frame x right, y down and z towards the viewer.
Both have their origin between the hips and the standing height as unit. There is no perspective.
"""

import dataclasses
import types

import numpy as np

from mpn.skeleton import KEYPOINTS, NUM_KEYPOINTS

SIDES = (("left", 1.0), ("right", -1.0))
_X, _Y, _Z = range(3)
# Nose, eyes and ears on a unit head.
FACE = np.array([[0, 0.12, 1.0], [0.38, -0.12, 0.85], [-0.38, -0.12, 0.85], [1.0, 0.02, 0], [-1.0, 0.02, 0]])
# Half the width, height and depth of a head, in head radii.
HEAD_SHAPE = np.array([0.82, 1.0, 0.92])

_ARM, _LEG = ("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle")
_SKINS = ((255, 219, 190), (236, 188, 150), (205, 150, 110), (160, 108, 72), (110, 72, 48), (78, 52, 38))
_HAIRS = ((25, 20, 18), (60, 38, 22), (112, 70, 35), (205, 165, 90), (150, 60, 25), (170, 170, 172))


@dataclasses.dataclass(frozen=True)
class Figure:
    """A posed figure in the view frame.

    `points` (17, 3) are the keypoints, `hands` and `toes` (2, 3) the ends of the left and right limbs, and `head` (3,)
    the centre of the head. The columns of `head_axes` (3, 3) are the head's left, down and ahead; `body_axes` are the
    chest's.
    """

    points: np.ndarray
    hands: np.ndarray
    toes: np.ndarray
    head: np.ndarray
    head_axes: np.ndarray
    body_axes: np.ndarray
    look: types.SimpleNamespace  # from `_sample_look`

    def extent(self):
        """Approximate box of the drawn figure, (x1, y1, x2, y2) in standing heights."""
        head = self.head[None] + np.array([[-1.3], [1.3]]) * self.look.head_radius
        points = np.concatenate([self.points, self.hands, self.toes, head])[:, :2]
        return (*(points.min(0) - 0.04), *(points.max(0) + 0.04))


def sample_figure(rng, yaw=None, lying=None):
    """Samples a Figure in a random pose.

    `yaw` is in degrees: 0 faces the viewer, 90 the picture's right; by default it is random, most often near 0.
    `lying` makes the figure lie or not; by default 7 % lie.
    """
    look = _sample_look(rng)
    pose = _sample_pose(rng)
    if yaw is None:
        yaw = rng.choice([0.0, 180.0, rng.uniform(0, 360)], p=[0.5, 0.2, 0.3]) + rng.uniform(-40, 40)
    if lying is None:
        lying = rng.random() < 0.07
    roll = rng.choice([-1, 1]) * rng.uniform(60, 110) if lying else rng.normal(0, 7)
    view = _turn(roll, _X, _Y) @ _turn(rng.uniform(-3, 22), _Z, _Y) @ _turn(yaw, _Z, _X)
    spine = _turn(pose["lean"], _Z, _Y) @ _turn(pose["side_lean"], _X, _Y) @ _turn(pose["twist"], _Z, _X)
    neck = _turn(rng.uniform(-45, 45), _Z, _X) @ _turn(rng.uniform(-18, 22), _Z, _Y)
    neck = neck @ _turn(rng.uniform(-12, 12), _X, _Y)

    points = np.zeros((NUM_KEYPOINTS, 3))
    hands, toes = np.zeros((2, 3)), np.zeros((2, 3))
    radius = look.head_radius
    head = spine @ np.array([0, -0.315 - 1.15 * radius, 0.01])
    points[:5] = head + (FACE * HEAD_SHAPE * radius) @ (spine @ neck).T
    for index, (side, sign) in enumerate(SIDES):
        *arm, hands[index] = _arm(pose, index, sign, spine)
        *leg, toes[index] = _leg(pose, index, sign)
        for name, position in zip(_ARM + _LEG, arm + leg, strict=True):
            points[KEYPOINTS.index(f"{side}_{name}")] = position
    return Figure(
        points=points @ view.T, hands=hands @ view.T, toes=toes @ view.T, head=view @ head,
        head_axes=view @ spine @ neck, body_axes=view @ spine, look=look,
    )  # fmt: skip


def _arm(pose, index, sign, spine):
    """Shoulder, elbow, wrist and fingertips in the body frame."""
    upper = _direction(sign, pose["arm_forward"][index], pose["arm_out"][index])
    fold = np.array([-sign, -1.0, 1.0]) * pose["fold"][index]
    fold -= (fold @ upper) * upper
    fold /= np.linalg.norm(fold).clip(1e-6)
    bend = np.radians(pose["elbow"][index])
    lower = np.cos(bend) * upper + np.sin(bend) * fold
    shoulder = np.array([sign * 0.108, -0.285, 0.0])
    elbow = shoulder + 0.172 * upper
    wrist = elbow + 0.15 * lower
    return [spine @ point for point in (shoulder, elbow, wrist, wrist + 0.05 * lower)]


def _leg(pose, index, sign):
    """Hip, knee, ankle and toes in the body frame."""
    forward, out, knee_bend = pose["leg_forward"][index], pose["leg_out"][index], pose["knee"][index]
    hip = np.array([sign * 0.06, 0.0, 0.0])
    knee = hip + 0.245 * _direction(sign, forward, out)
    ankle = knee + 0.24 * _direction(sign, forward - knee_bend, 0.5 * out)
    foot = _direction(sign, forward - knee_bend + 75, 8 + out * 0.5)
    return [hip, knee, ankle, ankle + 0.075 * foot + [0, 0.012, 0]]


def _sample_pose(rng):
    """Samples joint angles in degrees, within human limits; pairs are left and right."""

    def two(low, high):
        return rng.uniform(low, high, 2)

    pose = {
        "leg_forward": two(-8, 10), "leg_out": two(0, 12), "knee": two(0, 10),
        "arm_forward": two(-20, 30), "arm_out": two(4, 30), "elbow": two(0, 60),
        "fold": rng.uniform(0.05, 1, (2, 3)),  # how much an elbow bends the forearm inwards, upwards and ahead
        "lean": rng.uniform(-6, 12), "side_lean": rng.uniform(-8, 8), "twist": rng.uniform(-20, 20),
    }  # fmt: skip
    kinds = ("stand", "walk", "sit", "arms up", "reach", "act")
    kind = rng.choice(kinds, p=[0.2, 0.2, 0.16, 0.14, 0.16, 0.14])
    if kind == "walk":
        ahead = np.array([1, -1]) * rng.choice([-1, 1])
        pose |= {"leg_forward": ahead * two(12, 38), "knee": np.where(ahead > 0, two(0, 25), two(15, 65)),
                 "arm_forward": -ahead * two(10, 45), "elbow": two(5, 85)}  # fmt: skip
    elif kind == "sit":
        pose |= {"leg_forward": two(65, 98), "knee": two(60, 105), "leg_out": two(0, 28),
                 "arm_forward": two(0, 60), "elbow": two(20, 100), "lean": rng.uniform(-12, 25)}  # fmt: skip
    elif kind == "arms up":
        pose |= {"arm_out": two(100, 170), "elbow": two(0, 90)}
    elif kind == "reach":
        pose |= {"arm_forward": two(-30, 150), "arm_out": two(5, 95), "elbow": two(0, 125)}
    elif kind == "act":
        pose |= {"leg_forward": two(-25, 80), "leg_out": two(0, 40), "knee": two(0, 110),
                 "arm_forward": two(-40, 150), "arm_out": two(0, 120), "elbow": two(0, 125),
                 "lean": rng.uniform(-15, 50)}  # fmt: skip
    return pose


def _sample_look(rng):
    """Samples the colours (RGB, 0-255) and clothes of a figure."""
    shirt, trousers, shoes = (rng.uniform(25, 205, 3) for _ in range(3))
    light = np.array([250.0, 245, rng.choice([90, 240])])
    dark = np.array([20.0, 20, 60])
    return types.SimpleNamespace(
        skin=np.array(_SKINS[rng.integers(len(_SKINS))]) * rng.uniform(0.9, 1.0),
        hair=np.array(_HAIRS[rng.integers(len(_HAIRS))]) * rng.uniform(0.8, 1.1),
        shirt=shirt, trousers=trousers, shoes=shoes * 0.6,
        accent=light if (shirt + trousers).mean() < 280 else dark,
        pattern=str(rng.choice(["plain", "hoops", "stripes", "dots"])),
        long_sleeves=rng.random() < 0.5, long_trousers=rng.random() < 0.65, long_hair=rng.random() < 0.35,
        girth=rng.uniform(0.9, 1.3), head_radius=rng.uniform(0.066, 0.082),
    )  # fmt: skip


def _direction(sign, forward, out):
    """Unit vector of a limb; it hangs down where both angles, in degrees, are 0. `sign` is 1 for left."""
    forward, out = np.radians(forward), np.radians(out)
    return np.array([sign * np.sin(out), np.cos(out) * np.cos(forward), np.cos(out) * np.sin(forward)])


def _turn(degrees, start, end):
    """Rotation matrix from the axis `start` towards the axis `end`."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    matrix = np.eye(3)
    matrix[start, start] = matrix[end, end] = cosine
    matrix[end, start], matrix[start, end] = sine, -sine
    return matrix
