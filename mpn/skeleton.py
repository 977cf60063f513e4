"""The 17 COCO keypoints and everything that depends on their order: the only place that knows it."""

import numpy as np

KEYPOINTS = (
    "nose",
    "left_eye",
    "right_eye",
    "left_ear",
    "right_ear",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_hip",
    "right_hip",
    "left_knee",
    "right_knee",
    "left_ankle",
    "right_ankle",
)

NUM_KEYPOINTS = len(KEYPOINTS)


def _mirrored(name):
    if name.startswith("left_"):
        return name.replace("left_", "right_")
    return name.replace("right_", "left_")


# MIRROR[k] is the keypoint that k becomes when the image is mirrored left to right.
MIRROR = np.array([KEYPOINTS.index(_mirrored(name)) for name in KEYPOINTS])

# Pairs of keypoints that a skeleton drawing joins, in COCO's order, counted from 0.
LIMBS = (
    (15, 13),
    (13, 11),
    (16, 14),
    (14, 12),
    (11, 12),
    (5, 11),
    (6, 12),
    (5, 6),
    (5, 7),
    (6, 8),
    (7, 9),
    (8, 10),
    (1, 2),
    (0, 1),
    (0, 2),
    (1, 3),
    (2, 4),
    (3, 5),
    (4, 6),
)

# One RGB colour a limb: left side warm, right side cool, the middle and the face between.
LIMB_COLOURS = (
    (255, 128, 0),
    (255, 153, 51),
    (51, 153, 255),
    (102, 178, 255),
    (153, 102, 255),
    (255, 178, 102),
    (102, 204, 255),
    (178, 102, 255),
    (255, 102, 102),
    (0, 204, 204),
    (255, 51, 51),
    (0, 153, 153),
    (102, 255, 102),
    (51, 255, 51),
    (0, 230, 0),
    (153, 255, 51),
    (51, 255, 153),
    (204, 204, 0),
    (0, 204, 102),
)

# COCO's per-keypoint constants for object keypoint similarity: OKS falls off as exp(-d^2 / (2 area (2 sigma)^2)).
OKS_SIGMAS = np.array([26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89], np.float32) / 1000.0
