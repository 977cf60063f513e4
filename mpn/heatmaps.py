"""Heatmap codec (§3.2): people to target heatmaps H, silhouette and mask W; heatmaps back to peaks.

Cell j of a heatmap covers pixels [4j, 4j + 4) of the network's input; its centre is at 4 (j + 1/2). Symbols: B batch,
H W image size, h w heatmap size, K = 17, N people.
"""

import cv2
import numpy as np

from mpn.lazy import ops
from mpn.skeleton import NUM_KEYPOINTS

STRIDE = 4


def cells(size):
    """Cells that cover an array of lengths in input pixels, which are whole numbers up to rounding."""
    return np.ceil(size / STRIDE - 1e-3).astype(int)  # rounding must not add a cell


# Standard deviation of a target Gaussian in cells: 7 px.
SIGMA = 1.75

# Each cell of a 3x3 neighbourhood gets its own offset, so that equal neighbours, common in bfloat16, make one peak.
_TIE_BREAK = 1e-6


def encode_keypoints(keypoints, height, width, sigma=SIGMA):
    """Target heatmaps of the keypoints (§3.5): a Gaussian of height 1 on each, (h, w, 17) float32 in [0, 1].

    `keypoints` is (N, 17, 3) float, x and y in input pixels and v; v = 0 is not labelled, and v = 1, occluded, counts
    like v = 2. `height` and `width` are the input's size in pixels, multiples of 4. `sigma` is in cells. Gaussians of
    one channel combine by maximum: two people side by side have two peaks of height 1.
    """
    h, w = height // STRIDE, width // STRIDE
    heatmaps = np.zeros((h, w, NUM_KEYPOINTS), np.float32)
    keypoints = np.asarray(keypoints, np.float32).reshape(-1, NUM_KEYPOINTS, 3)
    x, y = keypoints[..., 0] / STRIDE, keypoints[..., 1] / STRIDE
    # Tails of points outside the input would teach peaks at the border.
    person, channel = np.nonzero((keypoints[..., 2] > 0) & (x >= 0) & (x < w) & (y >= 0) & (y < h))
    x, y = x[person, channel], y[person, channel]
    reach = int(np.ceil(3 * sigma)) + 1  # a Gaussian is below 1 % of its peak there
    offsets = np.arange(-reach, reach + 1)

    def along(places, size):
        """Cells near a place on one axis, and the Gaussian there, which is 0 outside the heatmap."""
        near = np.floor(places).astype(int)[:, None] + offsets
        heights = np.exp(-((near + 0.5 - places[:, None]) ** 2) / (2 * sigma**2))
        return near.clip(0, size - 1), np.where((near < 0) | (near >= size), 0, heights)

    (columns, across), (rows, down) = along(x, w), along(y, h)
    cells_near = rows[:, :, None], columns[:, None, :], channel[:, None, None]
    np.maximum.at(heatmaps, cells_near, (down[:, :, None] * across[:, None, :]).astype(np.float32))
    return heatmaps


def encode_targets(keypoints, silhouette, unknown_keypoints, unknown_silhouette):
    """Targets H and mask W of one input image (Eq. 4), both (h, w, 18) float32.

    `keypoints` is as in `encode_keypoints`; the other arguments are (H, W) bool. `unknown_keypoints` marks pixels where
    keypoints may be missing: people without annotated keypoints, crowds and padding. `unknown_silhouette` marks those
    where people may be missing from `silhouette`. The last target channel is 1 in cells that are at least half
    silhouette. The mask is 0 in cells that touch an unknown pixel, and 1 elsewhere.
    """
    height, width = silhouette.shape
    targets = np.empty((height // STRIDE, width // STRIDE, NUM_KEYPOINTS + 1), np.float32)
    mask = np.empty_like(targets)
    targets[..., :NUM_KEYPOINTS] = encode_keypoints(keypoints, height, width)
    targets[..., NUM_KEYPOINTS] = _pixels_in_cells(silhouette) >= STRIDE**2 / 2
    mask[..., :NUM_KEYPOINTS] = (_pixels_in_cells(unknown_keypoints) == 0)[..., None]
    mask[..., NUM_KEYPOINTS] = _pixels_in_cells(unknown_silhouette) == 0
    return targets, mask


def _pixels_in_cells(pixels):
    """Counts the set pixels of each cell: (H, W) bool to (h, w) uint8."""
    height, width = pixels.shape
    # The mean of values 0 and 16 over 16 pixels is exactly that number.
    return cv2.resize(
        pixels.astype(np.uint8) * np.uint8(STRIDE**2), (width // STRIDE, height // STRIDE), interpolation=cv2.INTER_AREA
    )


def smooth(heatmaps, sigma):
    """Smooths heatmaps, (B, h, w, K) float32, with a Gaussian of `sigma` cells that is cut off at 3 sigma.

    Beyond their border, heatmaps go on as their mirror image, so peaks in the outer three cells move by up to 1.5
    cells. h and w are at least 3 sigma. The result has the same shape.
    """
    reach = int(3 * sigma)
    weights = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * sigma**2)).astype(np.float32)
    kernel = np.tile(weights[:, None, None] / weights.sum(), (1, heatmaps.shape[3], 1))
    padded = ops.pad(heatmaps, ((0, 0), (reach, reach), (reach, reach), (0, 0)), "symmetric")
    for axis in (0, 1):
        padded = ops.depthwise_conv(padded, np.expand_dims(kernel, 1 - axis), padding="valid")
    return padded


def find_peaks_of_one(heatmaps):
    """The best peak of each keypoint in heatmaps that show one person, after `smooth` with the targets' own sigma.

    A person fills the crop of a refinement network, and the peaks of a person of that size are often ragged. Whole
    images gain nothing by smoothing. `heatmaps` is (B, h, w, K) float32, h and w at least 6. Returns positions, (B, K,
    2) float32 in cells, and scores, (B, K) float32, both as in `find_peaks`. Beyond the paper.
    """
    positions, scores = find_peaks(heatmaps, max_peaks=1, smoothing=SIGMA)
    return positions[:, :, 0], scores[:, :, 0]


def find_peaks(heatmaps, threshold=0.1, max_peaks=30, smoothing=None):
    """Finds the local maxima of heatmaps, at sub-cell precision.

    A peak is a cell that no cell of its 3x3 neighbourhood exceeds. Along each axis, a parabola through the logarithms
    of three cells refines its position; this is exact for a Gaussian. With `smoothing`, the sigma of `smooth`, peaks
    and their order are those of the smoothed heatmaps, and scores are the values there before smoothing.

    `heatmaps` is (B, h, w, K) float32, h and w at least 3. A peak must exceed `threshold`. Returns the best `max_peaks`
    of each image and keypoint, best first: positions, (B, K, max_peaks, 2) float32, x and y in cells, of which the
    centre of cell j is at j + 1/2; and scores, (B, K, max_peaks) float32 in (threshold, 1], 0 where there is no peak.
    """
    surface = heatmaps if smoothing is None else smooth(heatmaps, smoothing)
    shape = ops.shape(heatmaps)
    batch, h, w, channels = shape[0], shape[1], shape[2], heatmaps.shape[3]
    rows, columns = ops.arange(h), ops.arange(w)
    offsets = ops.cast(3 * (rows[:, None] % 3) + columns[None, :] % 3, "float32") * _TIE_BREAK
    values = surface + ops.expand_dims(offsets, -1)
    is_peak = ops.logical_and(values >= ops.max_pool(values, 3, 1, "same"), heatmaps > threshold)
    candidates = ops.where(is_peak, surface, 0.0)
    candidates = ops.reshape(ops.transpose(candidates, (0, 3, 1, 2)), (batch, channels, h * w))
    heights, index = ops.top_k(candidates, max_peaks)
    x, y = index % w, index // w
    flat, own = ops.reshape(surface, (-1,)), ops.reshape(heatmaps, (-1,))
    first = ops.arange(batch)[:, None, None] * (h * w * channels) + ops.arange(channels)[None, :, None]

    def refined(step, coordinate, size):
        """The maximum's coordinate along one axis, inside the peak's cell."""
        # At the border the parabola uses the three outermost cells.
        middle = ops.minimum(ops.maximum(coordinate, 1), size - 2)
        low, centre, high = (
            ops.log(ops.maximum(ops.take(flat, first + (index + (middle - coordinate + side) * step) * channels), 1e-3))
            for side in (-1, 0, 1)
        )
        shift = (high - low) / (2 * ops.maximum(2 * centre - low - high, 1e-6))
        shift = shift + ops.cast(middle - coordinate, "float32")
        return ops.cast(coordinate, "float32") + 0.5 + ops.clip(shift, -0.5, 0.5)

    positions = ops.stack([refined(1, x, w), refined(w, y, h)], axis=-1)
    scores = ops.where(heights > 0, ops.take(own, first + index * channels), 0.0)
    return positions, ops.minimum(scores, 1.0)
