"""Augmentation of an image's colours."""

import cv2
import numpy as np

# At full strength: factors on contrast and saturation, shift of brightness in grey levels, turn of the hue in degrees.
_CONTRAST, _SATURATION, _BRIGHTNESS, _HUE = 0.5, 0.6, 50.0, 25.0

_GREY = np.full((3, 3), 1 / 3)


def jitter_colours(image, strength, rng):
    """Returns a copy of an image with random changes of contrast, brightness, saturation and hue.

    `image` is (H, W, 3) uint8 RGB; `strength` is 0 (no change) to 1.
    """
    contrast, saturation, brightness, hue = strength * rng.uniform(-1, 1, 4)
    angle = np.deg2rad(hue * _HUE)
    # Rodrigues' rotation about the grey axis keeps greys and the mean of the channels.
    across = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    turn = np.cos(angle) * np.eye(3) + np.sin(angle) * across + (1 - np.cos(angle)) * _GREY
    saturation = 1 + saturation * _SATURATION
    matrix = (1 + contrast * _CONTRAST) * (saturation * turn + (1 - saturation) * _GREY)
    # Contrast changes about the middle grey, to keep the mean brightness.
    shift = brightness * _BRIGHTNESS - contrast * _CONTRAST * 127.5
    return cv2.transform(image, np.column_stack([matrix, np.full(3, shift)]))
