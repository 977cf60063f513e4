"""Affine maps between an image and the network's input, and overlaps of boxes.

Coordinates are continuous: pixel i spans [i, i + 1). An affine map is a (2, 3) float64 matrix. A box is
[x1, y1, x2, y2].
"""

import cv2
import numpy as np

from mpn.skeleton import MIRROR

# Fractional bits of the corners that cv2.fillPoly takes.
_SHIFT = 4


def affine(centre, size, scale, degrees=0.0, mirror=False):
    """The map from an image to a patch: crop, scale, rotation and mirror in one (2, 3) float64 matrix.

    `centre`, (x, y) in image pixels, goes to the middle of the patch, whose `size` is (height, width). `scale` is patch
    pixels per image pixel. `mirror` flips left to right; then the patch turns clockwise by `degrees`.
    """
    angle = np.deg2rad(degrees)
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    if mirror:
        linear = linear @ np.diag([-1.0, 1.0])
    middle = np.array([size[1], size[0]]) / 2
    return np.column_stack([linear, middle - linear @ np.asarray(centre, np.float64)])


def transform_points(matrix, points):
    """Applies an affine map to (..., 2) points; returns float32."""
    return (np.asarray(points) @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)


def transform_keypoints(matrix, keypoints):
    """Applies an affine map to (N, 17, 3) keypoints. A mirror swaps left and right; unlabelled keypoints stay 0."""
    moved = keypoints.copy()
    moved[..., :2] = transform_points(matrix, keypoints[..., :2])
    moved[keypoints[..., 2] == 0] = 0
    return moved[:, MIRROR] if np.linalg.det(matrix[:, :2]) < 0 else moved


def warp_image(matrix, image, size, interpolation=cv2.INTER_LINEAR):
    """Cuts a patch of `size` (height, width) from an (H, W[, 3]) image; 0 outside the image.

    `matrix` maps image to patch; `interpolation` is cv2.INTER_LINEAR or INTER_NEAREST.
    """
    shifted = matrix.copy()
    if interpolation == cv2.INTER_LINEAR:
        before = image.shape[:2]
        image = _shrink(image, np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
        shifted[:, :2] *= np.divide(before, image.shape[:2])[::-1]
    # cv2 counts from pixel centres: x_cv = x - 1/2, in image and patch.
    shifted[:, 2] += shifted[:, :2] @ (0.5, 0.5) - 0.5
    return cv2.warpAffine(image, shifted, (size[1], size[0]), flags=interpolation)


def _shrink(image, scale):
    """Averages an image to 1/n of its size, for the largest n with 1/n at least `scale`."""
    # Interpolation reads four pixels for one. Below half size it would skip some, and texture would become noise.
    height, width = image.shape[:2]
    times = min(int(1 / max(scale, 1e-6)), height, width)
    if times < 2:
        return image
    return cv2.resize(image, (round(width / times), round(height / times)), interpolation=cv2.INTER_AREA)


def fill_polygon(mask, matrix, points):
    """Sets the pixels of `mask`, (h, w) uint8, inside a polygon of (P, 2) image pixels to 1."""
    corners = (transform_points(matrix, points) - 0.5) * (1 << _SHIFT)
    limit = 2**26  # 4 million pixels: cv2 needs 32-bit corners and takes time for every row
    cv2.fillPoly(mask, [np.rint(corners.clip(-limit, limit)).astype(np.int32)], 1, shift=_SHIFT)


def fill_box(mask, matrix, box):
    """Sets the pixels of `mask`, (h, w) uint8, inside a box in image pixels to 1."""
    x1, y1, x2, y2 = box
    fill_polygon(mask, matrix, [(x1, y1), (x2, y1), (x2, y2), (x1, y2)])


def fit_factor(height, width, image_size):
    """The factor that makes an image as large as `image_size`, (shorter, longest side) in pixels, allows."""
    return min(image_size[0] / min(height, width), image_size[1] / max(height, width))


def input_size(height, width, image_size, square=False):
    """Height and width of `network_input` for an image of `height` and `width`."""
    factor = fit_factor(height, width, image_size)
    padded = tuple(pad_to_multiple(max(1, round(side * factor))) for side in (height, width))
    return (max(padded),) * 2 if square else padded


def fit_image(image, image_size):
    """Scales an (H, W, 3) uint8 image as large as `image_size`, (shorter, longest side) in pixels, allows.

    Returns the scaled image and its scale along x and y, (2,) float32; the two differ by rounding.
    """
    sides = image.shape[1::-1]
    factor = fit_factor(*sides, image_size)
    new_sides = [max(1, round(side * factor)) for side in sides]
    # As in `warp_image`, so that whole images look like patches to the network.
    scaled = cv2.resize(_shrink(image, factor), new_sides, interpolation=cv2.INTER_LINEAR)
    return scaled, np.divide(new_sides, sides).astype(np.float32)


def network_input(image, image_size, factor=1.0, mirrored=False, square=False):
    """Scales an (H, W, 3) uint8 RGB image and pads it, on the right and below, to a multiple of 32 or to a square.

    `factor` multiplies `image_size`, see `fit_image`; `mirrored` swaps left and right before padding. Returns the
    input, (1, h, w, 3) uint8, its width and height without padding, (2,) float32, and the scale, (2,) float32 input
    pixels per image pixel along x and y.
    """
    image_size = [factor * side for side in image_size]
    scaled, scale = fit_image(image, image_size)
    height, width = scaled.shape[:2]
    images = np.zeros((1, *input_size(*image.shape[:2], image_size, square), 3), np.uint8)
    images[0, :height, :width] = scaled[:, ::-1] if mirrored else scaled
    return images, np.array([width, height], np.float32), scale


def pad_to_multiple(size, multiple=32):
    """Rounds an int or integer tensor up to a multiple."""
    return (size + multiple - 1) // multiple * multiple


def mirror_boxes(boxes, width):
    """Mirrors (N, 4) boxes left to right in an image `width` pixels wide."""
    return np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], axis=1)


def box_intersections(boxes, others):
    """Shared areas of (..., 4) and (..., 4) boxes, broadcast to (...)."""
    low, high = np.maximum(boxes[..., :2], others[..., :2]), np.minimum(boxes[..., 2:], others[..., 2:])
    return (high - low).clip(0).prod(axis=-1)


def box_iou(boxes, others):
    """Intersection over union of (..., 4) and (..., 4) boxes, broadcast to (...); 0 if both have no area.

    `box_iou(boxes[:, None], others)` compares (N, 4) boxes with (M, 4) others and gives (N, M).
    """
    shared = box_intersections(boxes, others)
    areas = [(some[..., 2:] - some[..., :2]).clip(0).prod(axis=-1) for some in (boxes, others)]
    return shared / np.maximum(areas[0] + areas[1] - shared, 1e-9)
