"""Affine maps between an image and the network's input, and what they do to images, points and outlines.

An affine map is a (2, 3) float64 matrix on continuous pixel coordinates, where pixel i spans [i, i + 1).
"""

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from mpn.skeleton import MIRROR

# Fractional bits that cv2 reads in polygon corners.
_SHIFT = 4


def affine(centre, size, scale, degrees=0.0, mirror=False):
    """The map that brings a point of the image to the middle of a patch: crop, scale, rotation and mirror in one.

    Args:
        centre: (2,) x and y in image pixels.
        size: (height, width) of the patch in pixels.
        scale: patch pixels an image pixel.
        degrees: rotation, positive turns x towards y (clockwise as displayed).
        mirror: flip left to right before rotating.

    Returns:
        (2, 3) float64.
    """
    angle = np.deg2rad(degrees)
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    if mirror:
        linear = linear @ np.diag([-1.0, 1.0])
    middle = np.array([size[1], size[0]]) / 2
    return np.column_stack([linear, middle - linear @ np.asarray(centre, np.float64)])


def transform_points(matrix, points):
    """Applies an affine map: (..., 2) float in pixels to the same shape, float32."""
    return (np.asarray(points) @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)


def transform_keypoints(matrix, keypoints):
    """Moves (N, 17, 3) keypoints; a map that mirrors also swaps left and right. Unlabelled ones stay 0."""
    moved = keypoints.copy()
    moved[..., :2] = transform_points(matrix, keypoints[..., :2])
    moved[keypoints[..., 2] == 0] = 0
    return moved[:, MIRROR] if np.linalg.det(matrix[:, :2]) < 0 else moved


def warp_image(matrix, image, size, interpolation=cv2.INTER_LINEAR):
    """Resamples an image.

    Args:
        matrix: (2, 3), image to patch.
        image: (H, W) or (H, W, 3) array.
        size: (height, width) of the patch.
        interpolation: cv2's constant.

    Returns:
        (height, width[, 3]) array of the same dtype, 0 outside the image.
    """
    shifted = matrix.copy()
    if interpolation == cv2.INTER_LINEAR:
        before = image.shape[:2]
        image = _shrink(image, np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
        shifted[:, :2] *= np.divide(before, image.shape[:2])[::-1]
    # cv2 counts from pixel centres: x_cv = x - 1/2 on both sides.
    shifted[:, 2] += shifted[:, :2] @ (0.5, 0.5) - 0.5
    return cv2.warpAffine(image, shifted, (size[1], size[0]), flags=interpolation)


def _shrink(image, scale):
    """An image averaged to a whole fraction of its size, before it is scaled down by linear interpolation.

    That reads four pixels of the image for one: below a half it would pass over some, and fine texture become noise.

    Args:
        image: (H, W) or (H, W, 3) array.
        scale: by which it is going to be scaled in all.
    """
    height, width = image.shape[:2]
    times = min(int(1 / max(scale, 1e-6)), height, width)
    if times < 2:
        return image
    return cv2.resize(image, (round(width / times), round(height / times)), interpolation=cv2.INTER_AREA)


def fill_polygon(mask, matrix, points):
    """Sets the pixels of `mask` ((h, w) uint8) inside a polygon ((P, 2) image pixels) to 1, in place."""
    corners = (transform_points(matrix, points) - 0.5) * (1 << _SHIFT)
    limit = 2**30  # far outside is as good as farther outside, and must fit cv2's 32 bits
    cv2.fillPoly(mask, [np.rint(corners.clip(-limit, limit)).astype(np.int32)], 1, shift=_SHIFT)


def fill_box(mask, matrix, box):
    """Sets the pixels of `mask` inside a box ([x1, y1, x2, y2] image pixels) to 1, in place."""
    x1, y1, x2, y2 = box
    fill_polygon(mask, matrix, [(x1, y1), (x2, y1), (x2, y2), (x1, y2)])


def fill_segmentation(mask, matrix, segmentation, image_size):
    """Sets the pixels of `mask` inside a COCO segmentation to 1, in place.

    Args:
        mask: (h, w) uint8.
        matrix: (2, 3), image to mask.
        segmentation: list of polygons (flat lists of x, y) or an RLE dict, compressed or not.
        image_size: (height, width) of the image.
    """
    if isinstance(segmentation, dict):
        rle = segmentation
        if isinstance(rle["counts"], list):
            rle = coco_mask.frPyObjects(rle, *image_size)
        mask |= warp_image(matrix, coco_mask.decode(rle), mask.shape, cv2.INTER_NEAREST)
    else:
        for polygon in segmentation:
            fill_polygon(mask, matrix, np.reshape(polygon, (-1, 2)))


def fit_image(image, image_size):
    """Scales an image to the network's input size, keeping its shape.

    Args:
        image: (H, W, 3) uint8.
        image_size: shorter and longest side allowed in pixels; the result has the largest scale that respects both.

    Returns:
        scaled: (h, w, 3) uint8.
        scale: (2,) float32, pixels of `scaled` an image pixel along x and y (they differ by rounding only).
    """
    height, width = image.shape[:2]
    factor = min(image_size[0] / min(height, width), image_size[1] / max(height, width))
    new_width, new_height = max(1, round(width * factor)), max(1, round(height * factor))
    # As `warp_image` does it: the network sees whole images as it saw patches.
    scaled = cv2.resize(_shrink(image, factor), (new_width, new_height), interpolation=cv2.INTER_LINEAR)
    return scaled, np.array([new_width / width, new_height / height], np.float32)


def pad_to_multiple(size, multiple=32):
    """The smallest multiple that is not less than `size`; works on ints and on integer tensors."""
    return (size + multiple - 1) // multiple * multiple
