"""RoI codec (§3.4, §3.5): keypoints or peaks in a person box to the PRN's 56x36 grid, and back to the image.

Boxes, (N, 4) [x1, y1, x2, y2] in pixels, are first enlarged on each side: COCO boxes come from segmentations, and many
keypoints lie outside. The enlarged box is stretched onto the grid, where cell (r, c) has its centre at
(c + 1/2, r + 1/2). Symbols: N boxes, K = 17, M candidates per keypoint. All functions return Keras tensors and accept
numpy arrays. Except in `enlarge_boxes`, `boxes` are enlarged ones, and positions are x and y in image pixels.

The PRN is trained on RoIs with keypoints last, (N, 56, 36, K). Grouping has them first, (N, K, 56, 36), which saves
four transpositions per image.
"""

from mpn.lazy import ops

# The paper: "36x56 (height/width = 1.56)".
ROI_HEIGHT, ROI_WIDTH = 56, 36

# Standard deviations of Gaussians in cells, as in the authors' code.
INPUT_SIGMA, LABEL_SIGMA = 1.0, 2.0

# Least side in pixels, for wrong annotations without area: their grid is empty instead of NaN.
_SMALLEST_SIDE = 1e-3


def enlarge_boxes(boxes, margin):
    """Grows (N, 4) boxes on each side by `margin` times their size; float32."""
    boxes = ops.cast(boxes, "float32")
    size = boxes[:, 2:] - boxes[:, :2]
    return ops.concatenate([boxes[:, :2] - margin * size, boxes[:, 2:] + margin * size], axis=1)


def to_grid(positions, boxes):
    """Maps positions to the grid: (N, K, M, 2) float32, and whether each is inside the box, (N, K, M) bool."""
    boxes = ops.cast(boxes, "float32")
    corner = boxes[:, None, None, :2]
    size = ops.maximum(boxes[:, None, None, 2:] - corner, _SMALLEST_SIDE)
    shares = (ops.cast(positions, "float32") - corner) / size
    inside = ops.all(ops.logical_and(shares >= 0, shares <= 1), axis=-1)
    return shares * ops.convert_to_tensor([ROI_WIDTH, ROI_HEIGHT], "float32"), inside


def encode_maps(positions, scores, boxes, sigma=INPUT_SIGMA):
    """The PRN's input X, (N, K, 56, 36) float32: sums of Gaussians on candidates inside the box, clipped to [0, 1].

    `positions` is (N, K, M, 2). `scores`, (N, K, M), are the heights, 0 where there is no candidate. `sigma` is in
    cells.
    """
    grid, inside = to_grid(positions, boxes)
    heights = ops.where(inside, ops.cast(scores, "float32"), 0.0)
    # A sum of separable Gaussians is a matrix product over the candidates.
    across = _gaussian(ROI_WIDTH, grid[..., 0], sigma)
    down = _gaussian(ROI_HEIGHT, grid[..., 1], sigma) * ops.expand_dims(heights, -1)
    return ops.minimum(ops.matmul(ops.transpose(down, (0, 1, 3, 2)), across), 1.0)


def crop_maps(heatmaps, boxes, scale):
    """The PRN's input X as the paper's text reads: bilinear crops of heatmaps, (N, K, 56, 36) float32 in [0, 1].

    `heatmaps` is (K, h, w) float32; `scale` is heatmap cells per pixel along x and y. Crops are 0 outside the heatmaps.
    """
    boxes, shape = ops.cast(boxes, "float32"), ops.shape(heatmaps)

    def weights(size, cells, axis):
        """Share of each heatmap cell in each grid cell along an axis: (N, size, cells)."""
        start, end = (boxes[:, index, None] * scale[axis] for index in (axis, axis + 2))
        centres = start + (end - start) * (ops.arange(size, dtype="float32") + 0.5) / size
        return ops.maximum(1 - ops.abs(centres[..., None] - ops.cast(ops.arange(cells), "float32") - 0.5), 0.0)

    rows, columns = weights(ROI_HEIGHT, shape[1], 1), weights(ROI_WIDTH, shape[2], 0)
    crops = ops.matmul(ops.matmul(rows[:, None], heatmaps[None]), ops.transpose(columns, (0, 2, 1))[:, None])
    return ops.clip(crops, 0.0, 1.0)


def encode_rois(positions, scores, boxes, sigma=INPUT_SIGMA):
    """`encode_maps` with keypoints last, as the PRN is trained: (N, 56, 36, K) float32."""
    return ops.transpose(encode_maps(positions, scores, boxes, sigma), (0, 2, 3, 1))


def encode_labels(positions, labelled, boxes):
    """The PRN's training target Y: a distribution around each keypoint of the box's own person.

    `positions` is (N, K, 2); `labelled` is (N, K) float or bool. Returns (N, 56, 36, K) float32. The cells of a
    labelled keypoint inside the box sum to 1; all others are 0.
    """
    labels = encode_rois(positions[:, :, None], ops.cast(labelled, "float32")[:, :, None], boxes, LABEL_SIGMA)
    total = ops.sum(labels, axis=(1, 2), keepdims=True)
    return ops.where(total > 0, labels / ops.maximum(total, 1e-6), 0.0)


def window_sums(maps, positions, boxes, window):
    """Sums the PRN's output, (N, K, 56, 36), in a square window around the cell of each candidate, (N, K, M, 2).

    `window` is its odd side in cells. Returns (N, K, M) float32; 0 for a candidate outside the box.
    """
    grid, inside = to_grid(positions, boxes)
    across = _window(ROI_WIDTH, grid[..., 0], window)
    down = _window(ROI_HEIGHT, grid[..., 1], window)
    sums = ops.sum(ops.matmul(down, maps) * across, axis=-1)
    return ops.where(inside, sums, 0.0)


def highest_cells(maps, boxes):
    """Most probable cell of each keypoint (§3.5) in the PRN's output (N, K, 56, 36): centre (N, K, 2), value (N, K)."""
    flat = ops.reshape(maps, (-1, maps.shape[1], ROI_HEIGHT * ROI_WIDTH))
    values, index = (result[..., 0] for result in ops.top_k(flat, 1))  # faster than argmax
    cells = ops.stack([index % ROI_WIDTH, index // ROI_WIDTH], axis=-1)
    shares = (ops.cast(cells, "float32") + 0.5) / ops.convert_to_tensor([ROI_WIDTH, ROI_HEIGHT], "float32")
    boxes = ops.cast(boxes, "float32")
    corner, size = boxes[:, None, :2], boxes[:, None, 2:] - boxes[:, None, :2]
    return corner + shares * size, values


def _gaussian(size, centres, sigma):
    """exp(-d^2 / 2 sigma^2), with d the distance of each cell's centre from `centres` (...): (..., size)."""
    cells = ops.arange(size, dtype="float32") + 0.5
    return ops.exp(-ops.square(cells - ops.expand_dims(centres, -1)) / (2 * sigma**2))


def _window(size, centres, window):
    """1 for cells up to window // 2 cells from the one that holds `centres` (...): (..., size) float32."""
    cells = ops.arange(size, dtype="float32")
    return ops.cast(ops.abs(cells - ops.expand_dims(ops.floor(centres), -1)) <= window // 2, "float32")
