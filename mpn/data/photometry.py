"""Augmentation of a patch's pixels that moves nothing: colours, and things in front of people."""

import cv2
import numpy as np

# At full strength: factors on contrast and saturation, shift of brightness in grey levels, turn of the hue in degrees.
_CONTRAST, _SATURATION, _BRIGHTNESS, _HUE = 0.5, 0.6, 50.0, 25.0

_GREY = np.full((3, 3), 1 / 3)

# Occluders: how many at most, and their sides as shares of the patch's.
_MOST_OCCLUDERS = 3
_OCCLUDER_SIDES = (0.06, 0.3)


def jitter_colours(image, strength, rng):
    """Changes contrast, brightness, saturation and hue of an image at random, and returns a new image.

    `image` is (H, W, 3) uint8 RGB; `strength` is 0 (no change) to 1.
    """
    contrast, saturation, brightness, hue = strength * rng.uniform(-1, 1, 4)
    angle = np.deg2rad(hue * _HUE)
    # Rodrigues' rotation about the grey axis: it keeps greys and the mean of the channels.
    across = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    turn = np.cos(angle) * np.eye(3) + np.sin(angle) * across + (1 - np.cos(angle)) * _GREY
    saturation = 1 + saturation * _SATURATION
    matrix = (1 + contrast * _CONTRAST) * (saturation * turn + (1 - saturation) * _GREY)
    # Contrast is about the middle grey, so that it leaves the mean brightness alone.
    shift = brightness * _BRIGHTNESS - contrast * _CONTRAST * 127.5
    return cv2.transform(image, np.column_stack([matrix, np.full(3, shift)]))


def occlude(image, rng):
    """Covers some rectangles of an image with noise, as things in front of people do.

    Args:
        image: (H, W, 3) uint8 RGB.
        rng: numpy Generator.

    Returns:
        (H, W, 3) uint8 RGB, a new array.
    """
    image = image.copy()
    limits = np.array(image.shape[:2])
    for _ in range(rng.integers(1, _MOST_OCCLUDERS + 1)):
        sides = (rng.uniform(*_OCCLUDER_SIDES, 2) * limits).astype(int).clip(1)
        y, x = rng.integers(0, limits - sides + 1)
        noise = rng.normal(rng.uniform(0, 255, 3), rng.uniform(2, 40), (*sides, 3))
        image[y : y + sides[0], x : x + sides[1]] = noise.clip(0, 255)
    return image
