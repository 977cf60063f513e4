"""Test-time augmentation (§4.2): averages the heatmaps of several views on one grid and collects their boxes.

The grid is that of the view with the largest scale. Gaussians are 7 px wide in every network input, so this view has
the narrowest ones in the image. A coarser grid would move the peaks of small people and merge them.
"""

import dataclasses
import functools

import numpy as np

from mpn.heatmaps import STRIDE, cells
from mpn.lazy import interpolate, tf
from mpn.skeleton import MIRROR, NUM_KEYPOINTS

# Heatmap channels of a mirrored view: left and right swap places, and the silhouette stays.
MIRRORED_CHANNELS = np.append(MIRROR, NUM_KEYPOINTS)

# Cells of the smallest grid, that of an input of 32 pixels. Finding peaks needs at least three.
_LEAST_CELLS = 8

# A position may lie this many cells outside a map.
_REACH = 0.5


@dataclasses.dataclass(frozen=True)
class Merged:
    """The heatmaps and boxes of all views of an image, on one grid with cells of 4 x 4 grid pixels."""

    heatmaps: "tf.Tensor | np.ndarray"  # (h, w, 18) float32, the average
    boxes: np.ndarray  # (N, 4) float32 [x1, y1, x2, y2] in grid pixels
    box_scores: np.ndarray  # (N,) float32
    scale: np.ndarray  # (2,) float32, grid pixels per image pixel along x and y
    size: np.ndarray  # (2,) float32, width and height of the image in grid pixels


def merge_views(views, look):
    """Runs `look` on the views of one image and merges the results.

    `views` comes from `Augmentation.views`. `look` takes a view's inputs and gives "heatmaps" (h, w, 18), "boxes"
    (N, 4) in input pixels and "box_scores" (N,), all tensors or all arrays.
    """
    scale, size, places = _grid([view for view, _ in views])
    heatmaps, boxes, scores = 0.0, [], []
    for view, inputs in views:
        found = look(*inputs)
        heatmaps = heatmaps + on_grid(found["heatmaps"], view, places)
        in_image, whole = view.boxes_in_image(np.asarray(found["boxes"]))
        boxes.append(in_image[whole] * np.tile(scale, 2))
        scores.append(np.asarray(found["box_scores"])[whole])
    return Merged(heatmaps, np.concatenate(boxes).astype(np.float32), np.concatenate(scores), scale, size)


def on_grid(heatmaps, view, places):
    """Brings a view's (h, w, 18) heatmaps to the grid, (H, W, 18), times the view's weight in each cell.

    `places` holds x of the grid's columns and y of its rows, in image pixels. The weights of all views sum to 1.
    """
    h, w, _ = heatmaps.shape
    if view.mirrored:
        take = np.take if isinstance(heatmaps, np.ndarray) else tf.gather
        heatmaps = take(heatmaps, MIRRORED_CHANNELS, axis=-1)
    columns, rows = (
        interpolation(view.cells(axis, places[axis]), cells) * view.weights(axis, places[axis])[:, None]
        for axis, cells in ((0, w), (1, h))
    )
    return resample(heatmaps, (rows * view.share).astype(np.float32), columns.astype(np.float32))


def _grid(views):
    """Scale and size, see Merged, and places, see `on_grid`, of the grid of the finest view without padding."""
    scale = np.array(max(view.scale for view in views), np.float32)
    size = scale * np.array(views[0].image_size, np.float32)
    counts = np.maximum(cells(size), _LEAST_CELLS)
    places = [STRIDE * (np.arange(count) + 0.5) / factor for count, factor in zip(counts, scale, strict=True)]
    return scale, size, places


def interpolation(positions, size):
    """Weights of a row's cells that interpolate it at (n,) positions with a cubic spline: (n, size) float32.

    Positions are in cells; cell i has its centre at i + 1/2. `size` is at least 3. Weights sum to 1, or are all 0 for
    positions more than half a cell outside. A spline keeps the peak of a heatmap's Gaussian within a hundredth of a
    cell. Linear interpolation would move it by up to half a cell, and short cubics by a twentieth.
    """
    positions = np.asarray(positions, np.float64)
    weights = _spline(size)(positions)
    weights[(positions < -_REACH) | (positions > size + _REACH)] = 0
    return weights.astype(np.float32)


@functools.lru_cache(maxsize=64)
def _spline(size):
    # The two outermost pieces are parabolas (no third derivative), which continue outside. A plateau there could hold
    # no peak, and a cubic would amplify the noise of the last cells.
    parabola = [(3, np.zeros(size))]
    return interpolate.make_interp_spline(np.arange(size) + 0.5, np.eye(size), k=3, bc_type=(parabola, parabola))


def resample(maps, rows, columns):
    """Resamples (h, w, C) maps to (H, W, C) by matrix products with (H, h) rows and (W, w) columns.

    Maps and result are tensors, or arrays, which need no TensorFlow.
    """
    lib = np if isinstance(maps, np.ndarray) else tf
    h, w, channels = maps.shape
    across = lib.matmul(columns, lib.reshape(lib.transpose(maps, (1, 0, 2)), (w, h * channels)))
    across = lib.transpose(lib.reshape(across, (len(columns), h, channels)), (1, 0, 2))
    down = lib.matmul(rows, lib.reshape(across, (h, len(columns) * channels)))
    return lib.reshape(down, (len(rows), len(columns), channels))
