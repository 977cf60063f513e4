"""Test-time augmentation (§4.2): heatmaps of several views averaged on one grid, boxes of all views together.

The grid is that of the view that sees the image largest. A Gaussian of a heatmap is 7 px wide in the input of every
view, so that it is narrowest, in the image, in the view of the largest scale; a coarser grid would be too coarse for
it, and lose both its place and peaks of small people that lie side by side, which the scale was asked for. Bringing
the others to a finer grid loses nothing. The price, peaks looked for in more cells, is small beside that view's pass.
"""

import dataclasses

import numpy as np

from mpn.heatmaps import STRIDE
from mpn.inference.resampling import interpolation, resample
from mpn.lazy import tf
from mpn.skeleton import MIRROR, NUM_KEYPOINTS

# Heatmap channels of a mirrored view: left is right, and the silhouette stays what it is.
MIRRORED_CHANNELS = np.append(MIRROR, NUM_KEYPOINTS)

# Cells of the smallest grid, that of an input of 32 pixels: finding peaks needs a few.
_LEAST_CELLS = 8


@dataclasses.dataclass(frozen=True)
class Merged:
    """What several views of an image show together.

    Attributes:
        heatmaps: (h, w, 18) float32, the average on the grid; a tensor where the pass gives tensors.
        boxes: (N, 4) float32, [x1, y1, x2, y2] of all views, in pixels of the grid: cells have 4 of them.
        box_scores: (N,) float32.
        scale: (2,) float32, pixels of the grid an image pixel along x and y.
        size: (2,) float32, width and height of the image in pixels of the grid.
    """

    heatmaps: "tf.Tensor | np.ndarray"
    boxes: np.ndarray
    box_scores: np.ndarray
    scale: np.ndarray
    size: np.ndarray


def merge_views(views, look):
    """Looks at the views of one image and merges what they show.

    Args:
        views: see `Augmentation.views`.
        look: the pass: function of its inputs that gives "heatmaps" (h, w, 18), "boxes" (N, 4) in input pixels and
            "box_scores" (N,), tensors or arrays.

    Returns:
        Merged.
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
    """A view's heatmaps on the grid, times the view's weight at every cell.

    Args:
        heatmaps: (h, w, 18) float32, tensor or array, of the view's padded input.
        view: View.
        places: x of the (W,) columns and y of the (H,) rows of the grid in image pixels.

    Returns:
        (H, W, 18) float32 of the same kind. Weights of all views sum to 1.
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
    """The finest view's grid over the whole image, without padding: scale, size as in Merged, and places of cells."""
    scale = np.array(max(view.scale for view in views), np.float32)
    size = scale * np.array(views[0].image_size, np.float32)
    # A size is a whole number but for rounding, which must not add a cell.
    cells = np.maximum(np.ceil(size / STRIDE - 1e-3).astype(int), _LEAST_CELLS)
    places = [STRIDE * (np.arange(count) + 0.5) / factor for count, factor in zip(cells, scale, strict=True)]
    return scale, size, places
