"""The 17 COCO keypoints, and all constants in their order."""

import numpy as np

_SIDES = {"left": "right", "right": "left"}
_PAIRS = ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")

KEYPOINTS = ("nose", *(f"{side}_{name}" for name in _PAIRS for side in _SIDES))

NUM_KEYPOINTS = len(KEYPOINTS)

# Keypoint k becomes MIRROR[k] when the image is mirrored.
MIRROR = np.array([KEYPOINTS.index("_".join(_SIDES.get(part, part) for part in name.split("_"))) for name in KEYPOINTS])

# Lines of a drawn skeleton in COCO's order: two keypoints and an RGB colour, warm on the left and cool on the right.
_LINES = (
    ((15, 13), (255, 128, 0)),
    ((13, 11), (255, 153, 51)),
    ((16, 14), (51, 153, 255)),
    ((14, 12), (102, 178, 255)),
    ((11, 12), (153, 102, 255)),
    ((5, 11), (255, 178, 102)),
    ((6, 12), (102, 204, 255)),
    ((5, 6), (178, 102, 255)),
    ((5, 7), (255, 102, 102)),
    ((6, 8), (0, 204, 204)),
    ((7, 9), (255, 51, 51)),
    ((8, 10), (0, 153, 153)),
    ((1, 2), (102, 255, 102)),
    ((0, 1), (51, 255, 51)),
    ((0, 2), (0, 230, 0)),
    ((1, 3), (153, 255, 51)),
    ((2, 4), (51, 255, 153)),
    ((3, 5), (204, 204, 0)),
    ((4, 6), (0, 204, 102)),
)
LIMBS = tuple(limb for limb, _ in _LINES)
LIMB_COLOURS = tuple(colour for _, colour in _LINES)

# COCO's constants for object keypoint similarity, exp(-d^2 / (2 area (2 sigma)^2)).
OKS_SIGMAS = np.array([26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89], np.float32) / 1000.0
