import ml_dtypes
import numpy as np
import pytest
from keras import ops
from scipy.ndimage import gaussian_filter

from mpn.heatmaps import SIGMA, encode_keypoints, encode_targets, find_peaks, find_peaks_of_one, smooth

HEIGHT, WIDTH = 96, 128
LEFT_SHOULDER = 5


def peaks_of(heatmaps, **options):
    """Positions in pixels, (B, K, max_peaks, 2), and scores."""
    positions, scores = find_peaks(np.asarray(heatmaps, np.float32), **options)
    return 4 * ops.convert_to_numpy(positions), ops.convert_to_numpy(scores)


def person(*points):
    """(1, 17, 3): a person with the given {keypoint: (x, y, v)} entries."""
    keypoints = np.zeros((1, 17, 3), np.float32)
    for index, point in points:
        keypoints[0, index] = point
    return keypoints


def points_near_the_border(rng, count):
    """(count, 2) points of which one coordinate is less than two cells from the border."""
    points = rng.uniform(0, (WIDTH, HEIGHT), (count, 2))
    axis = rng.integers(0, 2, count)
    depth = rng.uniform(0, 8, count)
    points[np.arange(count), axis] = np.where(
        rng.random(count) < 0.5, depth, np.array([WIDTH, HEIGHT])[axis] - 1e-3 - depth
    )
    return points


@pytest.mark.parametrize(
    "where, smoothing",
    [("anywhere", None), ("border", None), ("corner", None), ("inside", SIGMA)],
)
def test_round_trip_returns_every_keypoint_within_half_a_pixel(where, smoothing):
    rng = np.random.default_rng(0)
    count = 24 * 17
    points = {
        "anywhere": lambda: rng.uniform(0, (WIDTH, HEIGHT), (count, 2)),
        "inside": lambda: rng.uniform(16, (WIDTH - 16, HEIGHT - 16), (count, 2)),
        "border": lambda: points_near_the_border(rng, count),
        "corner": lambda: rng.integers(0, 2, (count, 2)) * (WIDTH - 4, HEIGHT - 4) + rng.uniform(0, 3.99, (count, 2)),
    }[where]()
    keypoints = np.concatenate([points, np.full((count, 1), 2)], axis=1).reshape(24, 1, 17, 3)
    positions, scores = peaks_of(
        [encode_keypoints(k, HEIGHT, WIDTH) for k in keypoints], max_peaks=3, smoothing=smoothing
    )
    np.testing.assert_array_equal((scores > 0).sum(axis=2), 1)
    errors = np.linalg.norm(positions[:, :, 0] - points.reshape(24, 17, 2), axis=-1)
    assert errors.max() < 0.5
    assert scores[:, :, 0].min() > 0.9  # at most half a cell from a cell's centre on both axes: exp(-4 * 2 / 98)


def test_smoothing_is_that_of_scipy():
    heatmaps = np.random.default_rng(0).random((2, 9, 12, 17), np.float32)
    expected = gaussian_filter(heatmaps, (0, 1.4, 1.4, 0), mode="reflect", radius=(0, 4, 4, 0))
    np.testing.assert_allclose(smooth(heatmaps, 1.4), expected, atol=1e-6)


def test_smoothed_peaks_have_the_scores_of_the_heatmap():
    heatmap = 0.5 * encode_keypoints(person((0, (50, 50, 2))), HEIGHT, WIDTH)[None]
    heatmap[0, 12, 15, 0] = 0.55  # ragged: the best cell is three away from the middle
    heatmap[0, 3, 28, 0] = 0.8  # one cell alone is no keypoint
    positions, scores = peaks_of(heatmap, max_peaks=2, smoothing=SIGMA)
    np.testing.assert_allclose(positions[0, 0], [(50, 50), (114, 14)], atol=1.5)
    np.testing.assert_allclose(scores[0, 0], [heatmap[0, 12, 12, 0], 0.8])
    position, score = (ops.convert_to_numpy(found) for found in find_peaks_of_one(heatmap))
    np.testing.assert_array_equal(4 * position[0, 0], positions[0, 0, 0])
    assert score[0, 0] == scores[0, 0, 0] and score[0, 1] == 0


def test_gaussian_has_height_1_and_a_standard_deviation_of_7_pixels():
    # The centre of the cell in column 8 and row 5.
    heatmap = encode_keypoints(person((LEFT_SHOULDER, (34, 22, 2))), HEIGHT, WIDTH)
    assert heatmap.shape == (24, 32, 17) and heatmap.dtype == np.float32
    channel = heatmap[..., LEFT_SHOULDER]
    assert channel[5, 8] == 1
    assert channel[5, 9] == pytest.approx(np.exp(-(4**2) / (2 * 7**2)), abs=1e-6)
    assert channel[4, 8] == pytest.approx(0.84936, abs=1e-5)
    assert channel[6, 10] == pytest.approx(np.exp(-(8**2 + 4**2) / (2 * 7**2)), abs=1e-6)
    assert channel[5, 14] == pytest.approx(np.exp(-(24**2) / (2 * 7**2)), abs=1e-6)
    assert channel[5, 20] == 0 and channel[20, 8] == 0
    assert np.delete(heatmap, LEFT_SHOULDER, axis=-1).max() == 0


def test_a_keypoint_between_two_cells_raises_both_equally():
    channel = encode_keypoints(person((0, (32, 22, 2))), HEIGHT, WIDTH)[..., 0]
    assert channel[5, 7] == channel[5, 8] == pytest.approx(np.exp(-(2**2) / (2 * 7**2)), abs=1e-6)


def test_people_combine_by_maximum():
    keypoints = np.concatenate([person((3, (34, 22, 2))), person((3, (50, 22, 2)))])
    channel = encode_keypoints(keypoints, HEIGHT, WIDTH)[..., 3]
    assert channel[5, 8] == channel[5, 12] == 1
    assert channel[5, 10] == pytest.approx(np.exp(-(8**2) / (2 * 7**2)), abs=1e-6)  # a sum would be twice that


@pytest.mark.parametrize(
    "point", [(34, 22, 0), (-0.01, 22, 2), (WIDTH, 22, 2), (34, -0.01, 2), (34, HEIGHT, 2), (-500, 1e4, 1)]
)
def test_unlabelled_and_outside_points_give_nothing(point):
    assert encode_keypoints(person((0, point)), HEIGHT, WIDTH).max() == 0


def test_the_last_pixel_is_inside():
    channel = encode_keypoints(person((0, (WIDTH - 0.01, HEIGHT - 0.01, 2))), HEIGHT, WIDTH)[..., 0]
    assert channel.argmax() == channel.size - 1


def test_occluded_keypoints_count_like_visible_ones():
    occluded = encode_keypoints(person((7, (40, 50, 1))), HEIGHT, WIDTH)
    np.testing.assert_array_equal(occluded, encode_keypoints(person((7, (40, 50, 2))), HEIGHT, WIDTH))
    assert occluded.max() > 0.9


def test_nobody_gives_empty_heatmaps():
    assert encode_keypoints(np.zeros((0, 17, 3)), HEIGHT, WIDTH).shape == (24, 32, 17)
    assert encode_keypoints(np.zeros((0, 17, 3)), HEIGHT, WIDTH).max() == 0


def test_mask_is_0_in_cells_with_an_unknown_pixel_and_1_elsewhere():
    unknown_keypoints, unknown_silhouette = np.zeros((2, 16, 24), bool)
    unknown_keypoints[7, 9] = True  # one pixel of the cell in row 1 and column 2
    unknown_silhouette[12:, 20:] = True  # all of the cell in row 3 and column 5
    empty = np.zeros((16, 24), bool)
    targets, mask = encode_targets(np.zeros((0, 17, 3)), empty, unknown_keypoints, unknown_silhouette)
    expected = np.ones((4, 6, 18))
    expected[1, 2, :17] = 0
    expected[3, 5, 17] = 0
    np.testing.assert_array_equal(mask, expected)
    assert mask.dtype == targets.dtype == np.float32
    assert targets.shape == (4, 6, 18) and targets.max() == 0


def test_silhouette_needs_half_a_cell():
    silhouette = np.zeros((8, 12), bool)
    silhouette[0:2, 0:4] = True  # 8 of 16 pixels
    silhouette[0:2, 4:7] = silhouette[2, 4] = True  # 7 of 16
    silhouette[4:8, 8:12] = True
    known = np.zeros((8, 12), bool)
    targets, mask = encode_targets(person((16, (6, 2, 2))), silhouette, known, known)
    np.testing.assert_array_equal(targets[..., 17], [[1, 0, 0], [0, 0, 1]])
    np.testing.assert_array_equal(targets[..., :17], encode_keypoints(person((16, (6, 2, 2))), 8, 12))
    assert targets[0, 1, 16] == 1 and mask.min() == 1


def test_masks_are_reduced_as_by_counting_the_pixels_of_each_cell():
    rng = np.random.default_rng(0)
    for share in (0.02, 0.5):  # where the masks have both values, and where the silhouette has
        silhouette, unknown_keypoints, unknown_silhouette = rng.random((3, 96, 64)) < share
        targets, mask = encode_targets(np.zeros((0, 17, 3)), silhouette, unknown_keypoints, unknown_silhouette)
        cells = (24, 4, 16, 4)
        np.testing.assert_array_equal(targets[..., 17], silhouette.reshape(cells).mean(axis=(1, 3)) >= 0.5)
        for unknown, channels in ((unknown_keypoints, slice(0, 17)), (unknown_silhouette, slice(17, 18))):
            known = ~unknown.reshape(cells).any(axis=(1, 3))
            np.testing.assert_array_equal(
                mask[..., channels], np.broadcast_to(known[..., None], mask[..., channels].shape)
            )


def test_equal_neighbours_make_one_peak():
    patterns = {
        "single": [(0, 0)],
        "row": [(0, 0), (0, 1)],
        "column": [(0, 0), (1, 0)],
        "falling diagonal": [(0, 0), (1, 1)],
        "rising diagonal": [(0, 1), (1, 0)],
        "corner": [(0, 0), (0, 1), (1, 0)],
        "square": [(0, 0), (0, 1), (1, 0), (1, 1)],
    }
    # All places modulo 3, and the borders.
    places = [(row, column) for row in (0, 3, 4, 5, 8) for column in (0, 3, 4, 5, 8)]
    heatmaps = np.zeros((len(places), 10, 10, len(patterns)), np.float32)
    for heatmap, (row, column) in zip(heatmaps, places, strict=True):
        for channel, cells in enumerate(patterns.values()):
            for down, right in cells:
                heatmap[row + down, column + right, channel] = 0.7
    positions, scores = peaks_of(heatmaps)
    np.testing.assert_array_equal((scores > 0).sum(axis=2), 1)
    assert scores.max() == np.float32(0.7)
    middles = [[np.mean([[c, r] for r, c in cells], axis=0) + 0.5 for cells in patterns.values()] for _ in places]
    middles = np.array(middles) + np.array(places)[:, None, ::-1]
    assert np.abs(positions[:, :, 0] / 4 - middles).max() <= 1


@pytest.mark.parametrize("height", [1.0, 0.3])
def test_bfloat16_heatmaps_of_two_near_people_give_two_peaks(height):
    rng = np.random.default_rng(1)
    count = 40 * 17
    first = rng.uniform(32, 64, (count, 2))
    angle, distance = rng.uniform(0, 2 * np.pi, count), rng.uniform(16, 24, count)
    second = first + distance[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    points = np.stack([first, second]).reshape(2, 40, 17, 2).transpose(1, 0, 2, 3)
    keypoints = np.concatenate([points, np.ones((40, 2, 17, 1))], axis=-1)
    heatmaps = height * np.stack([encode_keypoints(k, HEIGHT, WIDTH) for k in keypoints])
    positions, scores = peaks_of(heatmaps.astype(ml_dtypes.bfloat16), max_peaks=5)
    np.testing.assert_array_equal((scores > 0).sum(axis=2), 2)
    found = positions[:, :, :2]  # (40, 17, peak, 2)
    distances = np.linalg.norm(found[:, :, :, None] - points.transpose(0, 2, 1, 3)[:, :, None], axis=-1)
    assert distances.min(axis=2).max() < 0.75 and distances.min(axis=3).max() < 0.75


def test_peaks_come_best_first_and_above_the_threshold():
    heatmaps = np.zeros((1, 12, 12, 2), np.float32)
    cells = {(1, 1): 0.3, (1, 6): 0.9, (6, 1): 0.5, (6, 6): 0.2, (10, 10): 0.1, (10, 2): 1.25}
    for (row, column), value in cells.items():
        heatmaps[0, row, column, 1] = value
    positions, scores = peaks_of(heatmaps, max_peaks=10)
    np.testing.assert_allclose(scores[0, 1], [1, 0.9, 0.5, 0.3, 0.2, 0, 0, 0, 0, 0], atol=1e-6)
    expected = [(2, 10), (6, 1), (1, 6), (1, 1), (6, 6)]
    np.testing.assert_allclose(positions[0, 1, :5] / 4, np.array(expected) + 0.5, atol=1e-5)
    assert scores[0, 0].max() == 0
    positions, scores = peaks_of(heatmaps, max_peaks=2)
    assert positions.shape == (1, 2, 2, 2)
    np.testing.assert_allclose(scores[0, 1], [1, 0.9])
    scores = peaks_of(heatmaps, threshold=0.25, max_peaks=10)[1]
    assert (scores[0, 1] > 0).sum() == 4


def test_empty_heatmaps_have_no_peaks():
    positions, scores = peaks_of(np.zeros((2, 8, 8, 17)))
    assert positions.shape == (2, 17, 30, 2) and scores.shape == (2, 17, 30)
    assert scores.max() == 0 and np.isfinite(positions).all()


def test_images_of_a_batch_and_channels_stay_apart():
    keypoints = [person((0, (30, 20, 2)), (16, (90.5, 70, 2))), person((0, (101, 44, 2)))]
    positions, scores = peaks_of([encode_keypoints(k, HEIGHT, WIDTH) for k in keypoints])
    expected = np.zeros((2, 17), int)
    expected[0, 0] = expected[0, 16] = expected[1, 0] = 1
    np.testing.assert_array_equal((scores > 0).sum(axis=2), expected)
    np.testing.assert_allclose(positions[0, 0, 0], (30, 20), atol=0.05)
    np.testing.assert_allclose(positions[0, 16, 0], (90.5, 70), atol=0.05)
    np.testing.assert_allclose(positions[1, 0, 0], (101, 44), atol=0.05)
