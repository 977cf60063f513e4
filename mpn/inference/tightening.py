"""Person boxes brought nearer to their people, by the silhouette that a refinement network sees in each box's crop."""

import cv2
import numpy as np

from mpn.data.geometry import transform_points
from mpn.heatmaps import STRIDE

# Selected on photographs held out from training. A silhouette of a network that is unsure of the outline stays low.
_SILHOUETTE = 0.4
_SHARE = 0.7

# Cells of a silhouette that is worth believing.
_LEAST_CELLS = 12


def tighten_boxes(boxes, silhouettes, crops, image_size):
    """Moves boxes towards the silhouettes in them.

    A person's silhouette is the connected part of their crop's with most cells inside their box. A box's new edges lie
    seven tenths of the way from where they were to the silhouette's; a box with hardly any silhouette stays.

    Args:
        boxes: (N, 4) float, [x1, y1, x2, y2] in image pixels.
        silhouettes: (N, h, w) float, the silhouette channel of each box's crop, stride 4.
        crops: list of N (2, 3), each the map from the image to the crop, without rotation.
        image_size: (H, W) of the image in pixels, at whose edges boxes end.

    Returns:
        (N, 4) float32.
    """
    rows = zip(boxes, silhouettes, crops, strict=True)
    return np.array([_tighten(*row, image_size) for row in rows], np.float32).reshape(-1, 4)


def _tighten(box, silhouette, crop, image_size):
    box = np.asarray(box, np.float64)
    (left, top), (right, bottom) = transform_points(crop, box.reshape(2, 2)) / STRIDE
    rows, columns = (np.arange(cells) + 0.5 for cells in silhouette.shape)
    inside = ((rows > top) & (rows < bottom))[:, None] & ((columns > left) & (columns < right))[None, :]
    count, parts, edges, _ = cv2.connectedComponentsWithStats(
        (silhouette > _SILHOUETTE).astype(np.uint8), connectivity=4
    )
    cells = np.bincount(parts[inside], minlength=count)
    cells[0] = 0  # the background
    part = np.argmax(cells)
    if cells[part] < _LEAST_CELLS:
        return box
    x, y, width, height = edges[part, :4]
    back = np.linalg.inv(np.vstack([crop, (0, 0, 1)]))[:2]
    found = transform_points(back, STRIDE * np.array([[x, y], [x + width, y + height]])).reshape(4)
    height, width = image_size
    tightened = (_SHARE * found + (1 - _SHARE) * box).clip(0, (width, height, width, height))
    return tightened if (tightened[2:] > tightened[:2]).all() else box
