"""Copy-paste augmentation: people cut out of other images along their silhouettes."""

import dataclasses

import cv2
import numpy as np

from mpn.data.segmentations import fill_segmentation
from mpn.geometry import affine, transform_keypoints, warp_image

# Who is worth pasting: enough of the body in sight, and enough pixels to be enlarged.
_LEAST_KEYPOINTS = 8
_LEAST_SIDE = 64

# The pasted person: longer side as a share of the patch's, turn in degrees.
_SHARES = (0.25, 0.8)
_ROTATION = 20.0


def people_to_paste(records):
    """Everyone who can be cut out: (index of the record, index of the person in it), a list of pairs.

    Args:
        records: list of ImageRecord.
    """
    chosen = []
    for number, record in enumerate(records):
        sides = (record.boxes[:, 2:] - record.boxes[:, :2]).max(axis=1, initial=0)
        counts = (record.keypoints[..., 2] > 0).sum(axis=1)
        whole = record.labelled & (counts >= _LEAST_KEYPOINTS) & (sides >= _LEAST_SIDE)
        chosen += [(number, int(i)) for i in np.flatnonzero(whole) if record.segmentations[i] and not record.partial]
    return chosen


def pasting_map(box, size, rng):
    """The random affine map, image to patch, that brings a person somewhere into a patch: (2, 3) float64.

    Args:
        box: (4,) [x1, y1, x2, y2], the person's in image pixels.
        size: side of the patch in pixels.
        rng: numpy Generator.
    """
    x1, y1, x2, y2 = box
    scale = rng.uniform(*_SHARES) * size / max(x2 - x1, y2 - y1)
    degrees, mirror = rng.uniform(-_ROTATION, _ROTATION), rng.random() < 0.5
    matrix = affine(((x1 + x2) / 2, (y1 + y2) / 2), (size, size), scale, degrees, mirror)
    matrix[:, 2] += rng.uniform(-0.5, 0.5, 2) * size
    return matrix


def paste_person(patch, image, record, index, matrix):
    """A patch with one more person in front of everybody in it.

    Keypoints that the person hides are not there any more; what is behind becomes known to be background.

    Args:
        patch: Patch.
        image: (H, W, 3) uint8 RGB, another image.
        record: its ImageRecord.
        index: of the person, who must have a segmentation.
        matrix: (2, 3), that image to the patch.

    Returns:
        Patch.
    """
    size = patch.silhouette.shape
    mask = np.zeros(size, np.uint8)
    fill_segmentation(mask, matrix, record.segmentations[index], (record.height, record.width))
    inside = mask > 0
    # Soft edges, so that nothing is learned from the cut.
    opacity = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 1.0)[..., None]
    person = warp_image(matrix, image, size).astype(np.float32)
    blended = opacity * person + (1 - opacity) * patch.image
    hidden = patch.keypoints.copy()
    columns, rows = (np.floor(hidden[..., axis]).astype(int) for axis in (0, 1))
    within = (columns >= 0) & (columns < size[1]) & (rows >= 0) & (rows < size[0])
    hidden[within & inside[rows.clip(0, size[0] - 1), columns.clip(0, size[1] - 1)]] = 0
    return dataclasses.replace(
        patch,
        image=np.rint(blended).astype(np.uint8),
        keypoints=np.concatenate([hidden, transform_keypoints(matrix, record.keypoints[index : index + 1])]),
        silhouette=patch.silhouette | inside,
        unknown_keypoints=patch.unknown_keypoints & ~inside,
        unknown_silhouette=patch.unknown_silhouette & ~inside,
    )
