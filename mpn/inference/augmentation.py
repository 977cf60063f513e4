"""Test-time augmentation (§4.2): averages the heatmaps of several views on one grid, and collects their boxes.

The grid is that of the view with the largest scale. Gaussians are 7 px wide in every network input, so in that view
they are narrowest in the image: a coarser grid would lose their places and merge the peaks of small people. The other
views lose nothing on a finer grid.
"""

import dataclasses
import functools

import numpy as np
from scipy.interpolate import make_interp_spline

from mpn.heatmaps import STRIDE
from mpn.lazy import tf
from mpn.skeleton import MIRROR, NUM_KEYPOINTS

# Heatmap channels of a mirrored view: left and right change places, and the silhouette stays.
MIRRORED_CHANNELS = np.append(MIRROR, NUM_KEYPOINTS)

# Cells of the smallest grid, that of an input of 32 pixels. Finding peaks needs at least three.
_LEAST_CELLS = 8

# How many cells outside a map a position may lie and still be given a value.
_REACH = 0.5


@dataclasses.dataclass(frozen=True)
class Merged:
    """What several views of an image show together.

    Attributes:
        heatmaps: (h, w, 18) float32, the average on the grid; tensor or array, as `look` gives them.
        boxes: (N, 4) float32, [x1, y1, x2, y2] of all views in pixels of the grid, which has cells of 4 x 4 pixels.
        box_scores: (N,) float32.
        scale: (2,) float32, pixels of the grid per image pixel along x and y.
        size: (2,) float32, width and height of the image in pixels of the grid.
    """

    heatmaps: "tf.Tensor | np.ndarray"
    boxes: np.ndarray
    box_scores: np.ndarray
    scale: np.ndarray
    size: np.ndarray


def merge_views(views, look):
    """Looks at the views of one image and merges the results.

    Args:
        views: see `Augmentation.views`.
        look: function of a view's inputs that gives "heatmaps" (h, w, 18), "boxes" (N, 4) in input pixels and
            "box_scores" (N,), all tensors or all arrays.
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
    """A view's heatmaps on the grid, multiplied by the view's weight in every cell; weights of all views sum to 1.

    Args:
        heatmaps: (h, w, 18) float32 tensor or array, of the view's padded input.
        view: View.
        places: x of the W columns and y of the H rows of the grid, in image pixels.

    Returns:
        (H, W, 18) float32, tensor or array as `heatmaps`.
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
    """The grid of the finest view over the whole image without padding: scale and size as in Merged, and places."""
    scale = np.array(max(view.scale for view in views), np.float32)
    size = scale * np.array(views[0].image_size, np.float32)
    # Sizes are whole numbers; rounding must not add a cell.
    cells = np.maximum(np.ceil(size / STRIDE - 1e-3).astype(int), _LEAST_CELLS)
    places = [STRIDE * (np.arange(count) + 0.5) / factor for count, factor in zip(cells, scale, strict=True)]
    return scale, size, places


def interpolation(positions, size):
    """Weights of a row's cells in its values at some positions, by a cubic spline.

    A spline keeps the peak of a heatmap's Gaussian within a hundredth of a cell. Linear interpolation would move it by
    up to half a cell towards a centre, and short cubics by a twentieth.

    Args:
        positions: (n,) float, in cells of the row; cell i has its centre at i + 1/2.
        size: cells of the row, at least 3.

    Returns:
        (n, size) float32. Rows sum to 1; rows for positions more than half a cell outside are 0.
    """
    positions = np.asarray(positions, np.float64)
    weights = _spline(size)(positions)
    weights[(positions < -_REACH) | (positions > size + _REACH)] = 0
    return weights.astype(np.float32)


@functools.lru_cache(maxsize=64)
def _spline(size):
    # The two outermost pieces are parabolas (no third derivative) and continue outside: a plateau would have no place
    # for a peak, and a cubic would amplify the noise of the last cells.
    parabola = [(3, np.zeros(size))]
    return make_interp_spline(np.arange(size) + 0.5, np.eye(size), k=3, bc_type=(parabola, parabola))


def resample(maps, rows, columns):
    """Brings (h, w, C) maps to another grid, (H, W, C), by matrix products with (H, h) rows and (W, w) columns.

    Maps and result are tensors, or arrays, which need no TensorFlow.
    """
    lib = np if isinstance(maps, np.ndarray) else tf
    h, w, channels = maps.shape
    across = lib.matmul(columns, lib.reshape(lib.transpose(maps, (1, 0, 2)), (w, h * channels)))
    across = lib.transpose(lib.reshape(across, (len(columns), h, channels)), (1, 0, 2))
    down = lib.matmul(rows, lib.reshape(across, (h, len(columns) * channels)))
    return lib.reshape(down, (len(rows), len(columns), channels))
