"""RoI codec (§3.4, §3.5): keypoints or peaks in a person box to the PRN's 56x36 grid, and back to the image.

A box is first enlarged by a margin on each side, since COCO boxes come from silhouettes and many keypoints lie outside
them; it is then stretched onto the grid. Cell (r, c) has its centre at (c + 1/2, r + 1/2) in grid units. Symbols: N
boxes, K = 17, M candidates a keypoint. All functions take and return Keras tensors and accept numpy arrays.

The PRN is trained on RoIs, (N, 56, 36, K), keypoints last. Grouping keeps each keypoint's map in one piece instead,
(N, K, 56, 36), which spares it four transpositions an image.
"""

from mpn.lazy import ops

# "36x56 (height/width = 1.56)": 56 rows, 36 columns.
ROI_HEIGHT, ROI_WIDTH = 56, 36

# Standard deviation in cells of the Gaussian around an input candidate and around a label (authors' code: 1 and 2).
INPUT_SIGMA, LABEL_SIGMA = 1.0, 2.0

# Boxes without area (an annotation error) are given this many pixels, so that their grid is empty and not NaN.
_SMALLEST_SIDE = 1e-3


def enlarge_boxes(boxes, margin):
    """Grows boxes on each side by `margin` times their size.

    Args:
        boxes: (N, 4) float, [x1, y1, x2, y2] in pixels.
        margin: share of the width or height.

    Returns:
        (N, 4) float32, which may reach outside the image.
    """
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
        (N, K, 56, 36) float32 in [0, 1]: sums of Gaussians, cut at 1.
    """
    grid, inside = to_grid(positions, boxes)
    heights = ops.where(inside, ops.cast(scores, "float32"), 0.0)
    # A sum of separable Gaussians is a matrix product over the candidates.
    across = _gaussian(ROI_WIDTH, grid[..., 0], sigma)
    down = _gaussian(ROI_HEIGHT, grid[..., 1], sigma) * heights[..., None]
    return ops.minimum(ops.matmul(ops.transpose(down, (0, 1, 3, 2)), across), 1.0)


def encode_rois(positions, scores, boxes, sigma=INPUT_SIGMA):
    """`encode_maps` as the PRN is trained on it: (N, 56, 36, K) float32."""
    return ops.transpose(encode_maps(positions, scores, boxes, sigma), (0, 2, 3, 1))


def encode_labels(positions, labelled, boxes):
    """The PRN's training target Y: for each keypoint of the box's owner a distribution around its place.

    Args:
        positions: (N, K, 2) float, x and y in pixels.
        labelled: (N, K) float or bool, whether the owner has the keypoint.
        boxes: (N, 4) float, the enlarged boxes.

    Returns:
        (N, 56, 36, K) float32; each labelled keypoint inside the box sums to 1 over the cells, every other to 0.
    """
    labels = encode_rois(positions[:, :, None], ops.cast(labelled, "float32")[:, :, None], boxes, LABEL_SIGMA)
    total = ops.sum(labels, axis=(1, 2), keepdims=True)
    return ops.where(total > 0, labels / ops.maximum(total, 1e-6), 0.0)


def window_sums(maps, positions, boxes, window):
    """Mass of a PRN output in a square window around each candidate's cell.

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
    """The most probable cell of each keypoint, as a place in the image (§3.5, "only one keypoint selected").

    Args:
        maps: (N, K, 56, 36) float32, the PRN's output Y.
        boxes: (N, 4) float, the enlarged boxes.

    Returns:
        positions: (N, K, 2) float32, centre of that cell in pixels.
        values: (N, K) float32, its value.
    """
    flat = ops.reshape(maps, (-1, maps.shape[1], ROI_HEIGHT * ROI_WIDTH))
    values, index = (result[..., 0] for result in ops.top_k(flat, 1))  # faster than `argmax`
    cells = ops.stack([index % ROI_WIDTH, index // ROI_WIDTH], axis=-1)
    shares = (ops.cast(cells, "float32") + 0.5) / ops.convert_to_tensor([ROI_WIDTH, ROI_HEIGHT], "float32")
    boxes = ops.cast(boxes, "float32")
    corner, size = boxes[:, None, :2], boxes[:, None, 2:] - boxes[:, None, :2]
    return corner + shares * size, values


def _gaussian(size, centres, sigma):
    """(..., size): exp(-d^2 / 2 sigma^2) of every cell centre's distance d from `centres` (...)."""
    cells = ops.arange(size, dtype="float32") + 0.5
    return ops.exp(-ops.square(cells - centres[..., None]) / (2 * sigma**2))


def _window(size, centres, window):
    """(..., size) float32: 1 for cells at most window // 2 away from the cell that holds `centres` (...)."""
    cells = ops.arange(size, dtype="float32")
    return ops.cast(ops.abs(cells - ops.floor(centres)[..., None]) <= window // 2, "float32")
