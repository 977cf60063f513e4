"""The heatmaps of an image on one sheet: a panel for each keypoint and one for the silhouette."""

import cv2
import numpy as np

from mpn.skeleton import KEYPOINTS

_NAMES = (*KEYPOINTS, "silhouette")
_COLUMNS = 6
# In pixels of the sheet.
_PANEL, _LEAST_WIDTH, _LABEL, _GAP = 320, 200, 24, 8
_PAPER, _INK, _FAINT_INK = (18, 18, 20), (240, 240, 240), (165, 165, 170)
_DIMMED = 0.45
_FONT, _LETTERS = cv2.FONT_HERSHEY_SIMPLEX, 0.45


def draw_heatmaps(image, heatmaps):
    """Draws each heatmap over the dimmed image, six in a row, in COCO's order and the silhouette last.

    `image` is (H, W, 3) uint8 RGB, `heatmaps` (h, w, 18) float, see `MultiPoseNet.heatmaps`. Values up to 0 are
    transparent; blue, green, yellow and red rise to 1. A label above each panel gives the keypoint's name and the
    highest value. Returns (H', W', 3) uint8 RGB; images on it have 320 pixels on the longer side. Raises ValueError
    unless there are 18 heatmaps.
    """
    if heatmaps.ndim != 3 or heatmaps.shape[2] != len(_NAMES):
        raise ValueError(f"heatmaps are (h, w, {len(_NAMES)}), not {heatmaps.shape}")
    factor = _PANEL / max(image.shape[:2])
    height, width = (max(1, round(side * factor)) for side in image.shape[:2])
    ground = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)
    ground = ground.astype(np.float32) * _DIMMED
    pitch = np.array([max(width, _LEAST_WIDTH) + _GAP, _LABEL + height + _GAP])
    columns, rows = _COLUMNS, -(-len(_NAMES) // _COLUMNS)
    sheet = np.full((rows * pitch[1] + _GAP, columns * pitch[0] + _GAP, 3), _PAPER, np.uint8)
    for index, name in enumerate(_NAMES):
        x, y = (int(v) for v in pitch * (index % columns, index // columns) + _GAP)
        heat = np.nan_to_num(heatmaps[..., index].astype(np.float32))
        _write_label(sheet, name, f"{heat.max():.2f}", x, y)
        heat = cv2.resize(heat.clip(0, 1), (width, height), interpolation=cv2.INTER_LINEAR)
        sheet[y + _LABEL : y + _LABEL + height, x : x + width] = _with_heat(ground, heat)
    return sheet


def _with_heat(ground, heat):
    """Blends a heatmap, (H, W) float32 in [0, 1], into a float32 RGB picture in 0-255; returns uint8."""
    colours = cv2.applyColorMap(np.rint(255 * (0.2 + 0.75 * heat)).astype(np.uint8), cv2.COLORMAP_JET)[..., ::-1]
    opacity = np.minimum(2 * heat, 0.65)[..., None]  # silhouettes do not hide the image
    return np.rint(ground * (1 - opacity) + colours * opacity).astype(np.uint8)


def _write_label(sheet, name, value, x, y):
    """Writes a name and a fainter value on the line with the upper left corner (x, y)."""
    (name_width, _), _ = cv2.getTextSize(name, _FONT, _LETTERS, 1)
    baseline = y + _LABEL - 8
    cv2.putText(sheet, name, (x, baseline), _FONT, _LETTERS, _INK, 1, cv2.LINE_AA)
    cv2.putText(sheet, value, (x + name_width + 10, baseline), _FONT, _LETTERS, _FAINT_INK, 1, cv2.LINE_AA)
