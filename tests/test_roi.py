import numpy as np
import pytest
from keras import ops

from mpn import roi
from mpn.heatmaps import encode_keypoints

# 36 x 56 cells of 2 x 2 pixels.
BOX = np.array([[10, 20, 82, 132]], np.float32)
RNG_BOXES = np.array([[10, 20, 82, 132], [-5.5, 3.25, 40, 300], [100, 100, 101.5, 102]], np.float32)


def numpy_of(tensors):
    return [ops.convert_to_numpy(t) for t in tensors]


def one_candidate(x, y, score=1.0):
    """Positions (1, 17, 1, 2) and scores (1, 17, 1) with one candidate, of keypoint 3."""
    positions, scores = np.zeros((1, 17, 1, 2), np.float32), np.zeros((1, 17, 1), np.float32)
    positions[0, 3, 0], scores[0, 3, 0] = (x, y), score
    return positions, scores


def test_boxes_grow_on_each_side_by_a_share_of_their_size():
    boxes = np.array([[10, 20, 30, 60], [0, 0, 0, 8]])
    grown = ops.convert_to_numpy(roi.enlarge_boxes(boxes, 0.5))
    np.testing.assert_allclose(grown, [[0, 0, 40, 80], [0, -4, 0, 12]])
    assert grown.dtype == np.float32
    np.testing.assert_allclose(roi.enlarge_boxes(boxes, 0), boxes)


def test_to_grid_by_hand():
    positions = np.array([[[[10, 20], [82, 132], [21, 35], [9.9, 50], [50, 132.1]]]], np.float32)
    grid, inside = numpy_of(roi.to_grid(positions, BOX))
    np.testing.assert_allclose(grid[0, 0, :3], [[0, 0], [36, 56], [5.5, 7.5]], atol=1e-5)
    np.testing.assert_array_equal(inside[0, 0], [True, True, True, False, False])


def test_highest_cells_returns_the_centre_of_the_cell():
    rng = np.random.default_rng(0)
    rows, columns = rng.integers(0, 56, (3, 17)), rng.integers(0, 36, (3, 17))
    maps = np.full((3, 17, 56, 36), 0.1, np.float32)
    n, k = np.indices((3, 17))
    maps[n, k, rows, columns] = 0.5 + k / 100
    positions, values = numpy_of(roi.highest_cells(maps, RNG_BOXES))
    np.testing.assert_allclose(values, 0.5 + k / 100, rtol=1e-6)
    corner, size = RNG_BOXES[:, None, :2], (RNG_BOXES[:, 2:] - RNG_BOXES[:, :2])[:, None]
    centres = corner + (np.stack([columns, rows], axis=-1) + 0.5) / (36, 56) * size
    np.testing.assert_allclose(positions, centres, rtol=1e-5)


def test_round_trip_is_within_half_a_cell():
    rng = np.random.default_rng(1)
    corner, size = RNG_BOXES[:, None, None, :2], (RNG_BOXES[:, 2:] - RNG_BOXES[:, :2])[:, None, None]
    positions = (corner + rng.uniform(0, 1, (3, 17, 1, 2)) * size).astype(np.float32)
    maps = roi.encode_maps(positions, np.ones((3, 17, 1)), RNG_BOXES)
    found, _ = numpy_of(roi.highest_cells(maps, RNG_BOXES))
    cells = np.abs(found - positions[:, :, 0]) / size[:, :, 0] * (36, 56)
    assert cells.max() <= 0.5 + 1e-3
    assert cells.max() > 0.4  # a grid is no finer than that


@pytest.mark.parametrize("box", [(11, 21, 155, 245), (1, 1, 290, 449), (60, 100, 100, 150), (-90, -31, 130, 245)])
def test_a_crop_has_its_maximum_where_a_drawn_peak_has_it(box):
    keypoints = np.zeros((1, 17, 3), np.float32)
    keypoints[0, :, :2] = 4 * np.array([(20, 30)] * 16 + [(70, 110)]) + 2
    keypoints[0, :16, 2] = 2
    boxes, scale = np.array([box, box], np.float32), (0.25, 0.25)
    heatmaps = encode_keypoints(keypoints, 480, 320).transpose(2, 0, 1)
    crops = ops.convert_to_numpy(roi.crop_maps(heatmaps, boxes, scale))
    drawn = ops.convert_to_numpy(
        roi.encode_maps(np.repeat(keypoints[:, :, None, :2], 2, 0), np.ones((2, 17, 1)), boxes)
    )
    assert crops.shape == (2, 17, 56, 36) and crops.dtype == np.float32 and 0.7 < crops.max() <= 1
    highest = [maps[:, :16].reshape(2, 16, -1).argmax(axis=2) for maps in (crops, drawn)]
    np.testing.assert_array_equal(*highest)
    assert not crops[:, 16].any()


def test_a_crop_is_bilinear_clipped_and_empty_outside():
    y, x = np.mgrid[:60, :50] + 0.5
    heatmaps = np.stack([x / 50, y / 60, x / 4, -x]).astype(np.float32)
    boxes = np.array([[20, 30, 92, 142], [-400, 10, -10, 40]], np.float32)  # at 2 and 3 pixels a cell
    crops = ops.convert_to_numpy(roi.crop_maps(heatmaps, boxes, (1 / 2, 1 / 3)))
    columns, rows = (20 + 2 * (np.arange(36) + 0.5)) / 2, (30 + 2 * (np.arange(56) + 0.5)) / 3
    np.testing.assert_allclose(crops[0, 0], np.tile(columns / 50, (56, 1)), atol=1e-5)
    np.testing.assert_allclose(crops[0, 1], np.tile(rows[:, None] / 60, (1, 36)), atol=1e-5)
    assert (crops[0, 2] == 1).all() and not crops[0, 3].any() and not crops[1].any()


def test_candidates_become_gaussians_of_their_score():
    positions, scores = one_candidate(10 + 2 * 5.5, 20 + 2 * 7.5, 0.8)
    rois = ops.convert_to_numpy(roi.encode_rois(positions, scores, BOX))
    assert rois.shape == (1, 56, 36, 17) and rois.dtype == np.float32
    assert rois[0, 7, 5, 3] == pytest.approx(0.8)
    assert rois[0, 7, 6, 3] == pytest.approx(0.8 * np.exp(-0.5), rel=1e-5)
    assert rois[0, 9, 4, 3] == pytest.approx(0.8 * np.exp(-2.5), rel=1e-5)
    assert np.delete(rois, 3, axis=-1).max() == 0
    rois = ops.convert_to_numpy(roi.encode_rois(positions, scores, BOX, sigma=2.0))
    assert rois[0, 9, 4, 3] == pytest.approx(0.8 * np.exp(-5 / 8), rel=1e-5)


def test_candidates_add_up_to_at_most_1():
    positions = np.zeros((1, 17, 3, 2), np.float32)
    positions[0, 0] = [(21, 35), (25, 35), (21, 35)]
    scores = np.zeros((1, 17, 3), np.float32)
    scores[0, 0] = 0.4, 0.4, 0
    rois = ops.convert_to_numpy(roi.encode_rois(positions, scores, BOX))
    assert rois[0, 7, 6, 0] == pytest.approx(0.8 * np.exp(-0.5), rel=1e-5)
    scores[0, 0] = 0.7, 0, 0.8
    assert ops.convert_to_numpy(roi.encode_rois(positions, scores, BOX))[0, 7, 5, 0] == 1


@pytest.mark.parametrize("point", [(9.99, 50), (82.01, 50), (50, 19.99), (50, 132.01), (-300, -300)])
def test_candidates_outside_are_left_out(point):
    positions, scores = one_candidate(*point)
    assert ops.convert_to_numpy(roi.encode_rois(positions, scores, BOX)).max() == 0
    assert ops.convert_to_numpy(roi.window_sums(np.ones((1, 17, 56, 36), np.float32), positions, BOX, 15)).max() == 0
    assert ops.convert_to_numpy(roi.encode_labels(positions[:, :, 0], scores[:, :, 0], BOX)).max() == 0


def test_a_margin_lets_candidates_beside_the_box_in():
    positions, scores = one_candidate(82 + 14, 50)  # 0.194 of 72 pixels beside the box
    for margin, expected in ((0.19, 0), (0.2, 1)):
        rois = ops.convert_to_numpy(roi.encode_rois(positions, scores, roi.enlarge_boxes(BOX, margin)))
        assert (rois.max() > 0.5) == expected


def test_labels_are_distributions():
    rng = np.random.default_rng(2)
    positions = rng.uniform((10, 20), (82, 132), (1, 17, 2)).astype(np.float32)
    positions[0, 0] = 10, 20  # a corner, where most of the Gaussian is cut off
    positions[0, 1] = 21, 35
    positions[0, 2] = 5, 50  # outside
    labelled = np.ones((1, 17))
    labelled[0, 3] = 0
    labels = ops.convert_to_numpy(roi.encode_labels(positions, labelled, BOX))
    expected = np.ones(17)
    expected[[2, 3]] = 0
    np.testing.assert_allclose(labels.sum(axis=(1, 2))[0], expected, atol=1e-5)
    assert labels.min() >= 0
    assert np.unravel_index(labels[0, ..., 1].argmax(), (56, 36)) == (7, 5)
    assert labels[0, 8, 7, 1] / labels[0, 7, 5, 1] == pytest.approx(np.exp(-5 / 8), rel=1e-4)


@pytest.mark.parametrize("window", [1, 7, 15])
def test_window_sums_equal_brute_force(window):
    rng = np.random.default_rng(3)
    maps = rng.uniform(0, 1, (3, 17, 56, 36)).astype(np.float32)
    size = (RNG_BOXES[:, 2:] - RNG_BOXES[:, :2])[:, None, None]
    rows, columns = rng.integers(0, 56, (3, 17, 8)), rng.integers(0, 36, (3, 17, 8))
    rows[..., 0], columns[..., 1] = 0, 0
    rows[..., 2], columns[..., 3] = 55, 35
    rows[..., 4], columns[..., 4] = 55, 35
    grid = np.stack([columns, rows], axis=-1) + rng.uniform(0.05, 0.95, (3, 17, 8, 2))
    positions = (RNG_BOXES[:, None, None, :2] + grid / (36, 56) * size).astype(np.float32)
    sums = ops.convert_to_numpy(roi.window_sums(maps, positions, RNG_BOXES, window))
    half = window // 2
    for n, k, m in np.ndindex(3, 17, 8):
        r, c = rows[n, k, m], columns[n, k, m]
        patch = maps[n, k, max(r - half, 0) : r + half + 1, max(c - half, 0) : c + half + 1]
        assert sums[n, k, m] == pytest.approx(patch.sum(), rel=1e-4)


def test_no_boxes():
    positions, scores, boxes = np.zeros((0, 17, 4, 2)), np.zeros((0, 17, 4)), np.zeros((0, 4))
    assert roi.enlarge_boxes(boxes, 0.2).shape == (0, 4)
    assert roi.encode_rois(positions, scores, boxes).shape == (0, 56, 36, 17)
    assert roi.encode_labels(positions[:, :, 0], scores[:, :, 0], boxes).shape == (0, 56, 36, 17)
    maps = np.zeros((0, 17, 56, 36), np.float32)
    assert roi.encode_maps(positions, scores, boxes).shape == maps.shape
    assert roi.window_sums(maps, positions, boxes, 15).shape == (0, 17, 4)
    found, values = roi.highest_cells(maps, boxes)
    assert found.shape == (0, 17, 2) and values.shape == (0, 17)


def test_boxes_without_area_give_finite_values():
    boxes = np.array([[50, 60, 50, 60], [50, 60, 90, 60]], np.float32)
    boxes = roi.enlarge_boxes(boxes, 0.21)
    positions = np.tile(np.array([[50, 60], [1300, 700]], np.float32), (2, 17, 1, 1))
    scores = np.ones((2, 17, 2), np.float32)
    maps = ops.convert_to_numpy(roi.encode_maps(positions, scores, boxes))
    labels = ops.convert_to_numpy(roi.encode_labels(positions[:, :, 0], scores[:, :, 0], boxes))
    sums = ops.convert_to_numpy(roi.window_sums(maps, positions, boxes, 15))
    found, values = numpy_of(roi.highest_cells(maps, boxes))
    for array in (maps, labels, sums, found, values):
        assert np.isfinite(array).all()
    assert (sums[..., 1] == 0).all()
