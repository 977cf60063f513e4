"""COCO's segmentations: polygons (flat lists of x and y) and run lengths (RLE), compressed or not.

They are checked when a file is read, since pycocotools' C code trusts its input.
"""

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from mpn.geometry import fill_polygon, warp_image

# Groups of 5 bits in a number of a compressed RLE; more would be a run longer than any image.
_MOST_GROUPS = 7
_LONGEST_RUN = 2**32
# Checking takes up to 73 bytes a character, so 2 GB at most. Masks of people have a few thousand counts.
_MOST_COUNTS = 2**22


def checked_segmentation(segmentation, width, height):
    """A file's segmentation, checked: its polygons, or {"size": [height, width], "counts": ...}.

    Returns [] where the file has none (None or an empty list), and None for malformed polygons. Raises ValueError where
    an RLE is damaged or does not fit the image; the message continues "an RLE".
    """
    if isinstance(segmentation, dict):
        return _checked_rle(segmentation, width, height)
    if segmentation is None or segmentation == []:
        return []
    if not isinstance(segmentation, list) or not all(_is_polygon(polygon, width, height) for polygon in segmentation):
        return None
    return segmentation


def segmentation_mask(segmentation, height, width):
    """The mask of polygons or an RLE: (height, width) uint8 of 0 and 1, as from pycocotools' `annToMask`."""
    rle = segmentation
    if not isinstance(rle, dict) or isinstance(rle["counts"], list):
        rle = coco_mask.frPyObjects(rle, height, width)
    return coco_mask.decode(coco_mask.merge(rle) if isinstance(rle, list) else rle)


def fill_segmentation(mask, matrix, segmentation, image_size):
    """Sets the pixels of `mask`, (h, w) uint8, inside polygons or an RLE to 1.

    `matrix` is (2, 3), image to mask; `image_size` is the image's (height, width).
    """
    if isinstance(segmentation, dict):
        mask |= warp_image(matrix, segmentation_mask(segmentation, *image_size), mask.shape, cv2.INTER_NEAREST)
        return
    for polygon in segmentation:
        fill_polygon(mask, matrix, np.reshape(polygon, (-1, 2)))


def _is_polygon(polygon, width, height):
    """Whether it has three or more points, none farther outside the image than the image is large."""
    if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2 or set(map(type, polygon)) - {int, float}:
        return False
    # `all`, since min and max may overlook a NaN.
    axes = ((polygon[::2], width), (polygon[1::2], height))
    return all(-side <= place <= 2 * side for places, side in axes for place in places)


def _checked_rle(rle, width, height):
    size, counts = rle.get("size"), rle.get("counts")
    if size != [height, width]:
        raise ValueError(f"for [height, width] {str(size)[:40]}, and its image has {[height, width]}")
    # No count but the first and the last needs to be 0.
    most = min(width * height + 2, _MOST_COUNTS)
    if isinstance(counts, list | str) and len(counts) > most * (_MOST_GROUPS if isinstance(counts, str) else 1):
        raise ValueError("with more counts than its image has room for")
    if isinstance(counts, list):
        if set(map(type, counts)) - {int} or min(counts, default=0) < 0:
            raise ValueError("with counts that are not whole numbers from 0")
        pixels = sum(counts)
    elif isinstance(counts, str):
        pixels = int(_decompressed(counts).sum())
    else:
        raise ValueError("without counts")
    if pixels != width * height:
        raise ValueError(f"with counts for {pixels} pixels, and its image has {width * height}")
    return {"size": [height, width], "counts": counts}


def _decompressed(text):
    """The runs of a compressed RLE, (R,) int64. Raises ValueError where it is damaged.

    Each character holds 5 bits of a number, the lowest first, and a bit that says whether the number goes on. From the
    fourth on, a number is the difference from the one two places before.
    """
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.int64) - 48
    if not len(codes) or codes.min() < 0 or codes.max() > 63:
        raise ValueError("with counts that are not a compressed RLE")
    last = (codes & 32) == 0
    if not last[-1]:
        raise ValueError("whose counts are cut short")
    ends = np.flatnonzero(last)
    starts = np.concatenate([[0], ends[:-1] + 1])
    groups = ends - starts + 1
    if groups.max() > _MOST_GROUPS:
        raise ValueError("with counts too large for any image")
    places = 5 * (np.arange(len(codes)) - np.repeat(starts, groups))
    runs = np.add.reduceat((codes & 31) << places, starts)
    runs -= np.where(codes[ends] & 16, np.int64(1) << (5 * groups), 0)  # the sign
    for chain in (runs[1::2], runs[2::2]):
        chain[:] = np.cumsum(chain)
    if runs.min() < 0 or runs.max() > _LONGEST_RUN:
        raise ValueError("with counts below 0 or too large for any image")
    return runs
