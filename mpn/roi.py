"""RoI codec (§3.4, §3.5): keypoints or peaks in a person box to the PRN's 56x36 grid, and back to the image.

A box is first enlarged by a margin on each side, since COCO boxes come from segmentations and many keypoints lie
outside. It is then stretched onto the grid: cell (r, c) has its centre at (c + 1/2, r + 1/2). Symbols: N boxes, K = 17,
M candidates per keypoint. All functions take and return Keras tensors and accept numpy arrays.

The PRN is trained on RoIs with keypoints last, (N, 56, 36, K). Grouping has them first, (N, K, 56, 36), which saves
four transpositions per image.
"""

from mpn.lazy import ops

# "36x56 (height/width = 1.56)": 56 rows, 36 columns.
ROI_HEIGHT, ROI_WIDTH = 56, 36

# Standard deviation in cells of the Gaussian around an input candidate and around a label (authors' code: 1 and 2).
INPUT_SIGMA, LABEL_SIGMA = 1.0, 2.0

# Boxes without area, which are annotation errors, get sides of this many pixels: their grid is empty instead of NaN.
_SMALLEST_SIDE = 1e-3


def enlarge_boxes(boxes, margin):
    """Grows (N, 4) boxes, [x1, y1, x2, y2], on each side by `margin` times their size: float32."""
    boxes = ops.cast(boxes, "float32")
    size = boxes[:, 2:] - boxes[:, :2]
    return ops.concatenate([boxes[:, :2] - margin * size, boxes[:, 2:] + margin * size], axis=1)


def to_grid(positions, boxes):
    """Image to grid coordinates.

    Args:
        positions: (N, K, M, 2) float, x and y in pixels.
        boxes: (N, 4) float, the enlarged boxes.

    Returns:
        positions: (N, K, M, 2) float32, x in [0, 36] and y in [0, 56] inside the box.
        inside: (N, K, M) bool.
    """
    boxes = ops.cast(boxes, "float32")
    corner = boxes[:, None, None, :2]
    size = ops.maximum(boxes[:, None, None, 2:] - corner, _SMALLEST_SIDE)
    shares = (ops.cast(positions, "float32") - corner) / size
    inside = ops.all(ops.logical_and(shares >= 0, shares <= 1), axis=-1)
    return shares * ops.convert_to_tensor([ROI_WIDTH, ROI_HEIGHT], "float32"), inside


def encode_maps(positions, scores, boxes, sigma=INPUT_SIGMA):
    """Grids with a Gaussian on every candidate inside the box: the PRN's input X, keypoints first.

    Args:
        positions: (N, K, M, 2) float, x and y in pixels.
        scores: (N, K, M) float, height of each Gaussian; 0 where there is no candidate.
        boxes: (N, 4) float, the enlarged boxes.
        sigma: standard deviation in cells.

    Returns:
        (N, K, 56, 36) float32: sums of Gaussians, clipped to [0, 1].
    """
    grid, inside = to_grid(positions, boxes)
    heights = ops.where(inside, ops.cast(scores, "float32"), 0.0)
    # A sum of separable Gaussians is a matrix product over the candidates.
    across = _gaussian(ROI_WIDTH, grid[..., 0], sigma)
    down = _gaussian(ROI_HEIGHT, grid[..., 1], sigma) * heights[..., None]
    return ops.minimum(ops.matmul(ops.transpose(down, (0, 1, 3, 2)), across), 1.0)


def crop_maps(heatmaps, boxes, scale):
    """Bilinear crops of heatmaps, resized to the grid: the PRN's input X as the paper's text reads, keypoints first.

    Args:
        heatmaps: (K, h, w) float32.
        boxes: (N, 4) float, the enlarged boxes in pixels.
        scale: (2,) float, heatmap cells per pixel along x and y.

    Returns:
        (N, K, 56, 36) float32, clipped to [0, 1]; 0 outside the heatmaps.
    """
    boxes, shape = ops.cast(boxes, "float32"), ops.shape(heatmaps)

    def weights(size, cells, axis):
        """(N, size, cells): how much each heatmap cell counts in each grid cell along an axis."""
        start, end = (boxes[:, index, None] * scale[axis] for index in (axis, axis + 2))
        centres = start + (end - start) * (ops.arange(size, dtype="float32") + 0.5) / size
        return ops.maximum(1 - ops.abs(centres[..., None] - ops.cast(ops.arange(cells), "float32") - 0.5), 0.0)

    rows, columns = weights(ROI_HEIGHT, shape[1], 1), weights(ROI_WIDTH, shape[2], 0)
    crops = ops.matmul(ops.matmul(rows[:, None], heatmaps[None]), ops.transpose(columns, (0, 2, 1))[:, None])
    return ops.clip(crops, 0.0, 1.0)


def encode_rois(positions, scores, boxes, sigma=INPUT_SIGMA):
    """`encode_maps` as the PRN is trained on it: (N, 56, 36, K) float32."""
    return ops.transpose(encode_maps(positions, scores, boxes, sigma), (0, 2, 3, 1))


def encode_labels(positions, labelled, boxes):
    """The PRN's training target Y: a distribution around each keypoint of the person whose box it is.

    Args:
        positions: (N, K, 2) float, x and y in pixels.
        labelled: (N, K) float or bool, whether the keypoint is labelled.
        boxes: (N, 4) float, the enlarged boxes.

    Returns:
        (N, 56, 36, K) float32; the cells of a labelled keypoint inside the box sum to 1, all others are 0.
    """
    labels = encode_rois(positions[:, :, None], ops.cast(labelled, "float32")[:, :, None], boxes, LABEL_SIGMA)
    total = ops.sum(labels, axis=(1, 2), keepdims=True)
    return ops.where(total > 0, labels / ops.maximum(total, 1e-6), 0.0)


def window_sums(maps, positions, boxes, window):
    """Sum of a PRN output in a square window around each candidate's cell.

    Args:
        maps: (N, K, 56, 36) float32, the PRN's output Y.
        positions: (N, K, M, 2) float, x and y in pixels.
        boxes: (N, 4) float, the enlarged boxes.
        window: odd side of the window in cells.

    Returns:
        (N, K, M) float32; 0 for a candidate outside the box.
    """
    grid, inside = to_grid(positions, boxes)
    across = _window(ROI_WIDTH, grid[..., 0], window)
    down = _window(ROI_HEIGHT, grid[..., 1], window)
    sums = ops.sum(ops.matmul(down, maps) * across, axis=-1)
    return ops.where(inside, sums, 0.0)


def highest_cells(maps, boxes):
    """The most probable cell of each keypoint as a place in the image (§3.5, "only one keypoint selected").

    Args:
        maps: (N, K, 56, 36) float32, the PRN's output Y.
        boxes: (N, 4) float, the enlarged boxes.

    Returns:
        positions: (N, K, 2) float32, centre of that cell in pixels.
        values: (N, K) float32, its value.
    """
    flat = ops.reshape(maps, (-1, maps.shape[1], ROI_HEIGHT * ROI_WIDTH))
    values, index = (result[..., 0] for result in ops.top_k(flat, 1))  # faster than argmax
    cells = ops.stack([index % ROI_WIDTH, index // ROI_WIDTH], axis=-1)
    shares = (ops.cast(cells, "float32") + 0.5) / ops.convert_to_tensor([ROI_WIDTH, ROI_HEIGHT], "float32")
    boxes = ops.cast(boxes, "float32")
    corner, size = boxes[:, None, :2], boxes[:, None, 2:] - boxes[:, None, :2]
    return corner + shares * size, values


def _gaussian(size, centres, sigma):
    """(..., size): exp(-d^2 / 2 sigma^2) for the distance d of every cell's centre from `centres` (...)."""
    cells = ops.arange(size, dtype="float32") + 0.5
    return ops.exp(-ops.square(cells - centres[..., None]) / (2 * sigma**2))


def _window(size, centres, window):
    """(..., size) float32: 1 for cells up to window // 2 cells from the one that holds `centres` (...)."""
    cells = ops.arange(size, dtype="float32")
    return ops.cast(ops.abs(cells - ops.floor(centres)[..., None]) <= window // 2, "float32")
