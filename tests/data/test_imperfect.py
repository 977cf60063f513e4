"""Imperfect peaks and boxes, against COCO's OKS formula, pycocotools' IoU and shares counted over many samples."""

import dataclasses

import numpy as np
import pytest
from pycocotools import mask
from pycocotools.cocoeval import Params

from mpn.data import order
from mpn.data.imperfect import PERFECT, Imperfections, boxes_at_iou, jitter_boxes
from mpn.data.prn import collect_people, gather_people, prn_dataset
from mpn.evaluation.sources import EMPTY, with_true_keypoints
from mpn.skeleton import MIRROR

PEOPLE = 4000
AREA = 5000.0


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def crowd():
    """Keypoints (x, y, v), boxes and areas of many people; every third keypoint of a person is not labelled."""
    random = rng(1)
    corners = random.uniform(0, 400, (PEOPLE, 2))
    sides = random.uniform(40, 160, (PEOPLE, 2))
    boxes = np.concatenate([corners, corners + sides], axis=1).astype(np.float32)
    places = corners[:, None] + random.random((PEOPLE, 17, 2)) * sides[:, None]
    visible = np.broadcast_to(np.arange(17) % 3 > 0, (PEOPLE, 17)) * 2
    keypoints = np.concatenate([places, visible[..., None]], axis=2).astype(np.float32)
    return keypoints, boxes, np.full(PEOPLE, AREA, np.float32)


def oks(found, true, areas):
    """COCO's similarity of each keypoint, (N, 17), with the constants that pycocotools has."""
    distances = np.square(found.astype(np.float64) - true).sum(axis=-1)
    variances = np.square(2 * Params("keypoints").kpt_oks_sigmas)
    return np.exp(-distances / (2 * areas[:, None] * variances))


# Peaks


def test_perfect_peaks_are_the_labels(crowd):
    keypoints, boxes, areas = crowd
    for imperfections in (PERFECT, Imperfections()):
        positions, heights = imperfections.peaks(keypoints, boxes, areas, rng())
        np.testing.assert_array_equal(positions, keypoints[..., :2])
        np.testing.assert_array_equal(heights, keypoints[..., 2] > 0)
        assert positions.dtype == heights.dtype == np.float32
    # Nothing random is asked for: neither boxes, areas nor a generator are needed.
    np.testing.assert_array_equal(PERFECT.peaks(keypoints, None, None, None)[0], keypoints[..., :2])


@pytest.mark.parametrize("displacement", [0.25, 0.5, 1.0])
def test_displacement_costs_the_oks_that_it_should(crowd, displacement):
    """An error of s = 2 sigma sqrt(area) d along x and y has d^2 (u^2 + v^2) / 2 as OKS's exponent, with u and v
    standard normal: u^2 + v^2 is exponential of mean 2, and the mean of exp(-d^2 e) over an exponential e of mean 1
    is 1 / (1 + d^2). The median of the OKS is 2^(-d^2).
    """
    keypoints, boxes, areas = crowd
    areas = areas * rng(2).uniform(0.1, 10, PEOPLE).astype(np.float32)
    positions, heights = Imperfections(displacement).peaks(keypoints, boxes, areas, rng())
    similarity = oks(positions, keypoints[..., :2], areas)
    assert similarity.mean() == pytest.approx(1 / (1 + displacement**2), abs=0.005)
    np.testing.assert_allclose(similarity.mean(axis=0), 1 / (1 + displacement**2), atol=0.02)
    np.testing.assert_allclose(np.median(similarity, axis=0), 0.5 ** (displacement**2), atol=0.04)
    shifts = positions - keypoints[..., :2]
    scaled = shifts / np.sqrt(areas)[:, None, None]
    assert np.abs(scaled.mean(axis=0) / scaled.std(axis=0)).max() < 0.08  # no side is preferred
    assert abs(np.corrcoef(scaled.reshape(-1, 2).T)[0, 1]) < 0.02
    np.testing.assert_array_equal(heights, keypoints[..., 2] > 0)


@pytest.mark.parametrize("dropped", [0.1, 0.6])
def test_dropped_peaks_have_their_share(crowd, dropped):
    keypoints, boxes, areas = crowd
    positions, heights = Imperfections(dropped=dropped).peaks(keypoints, boxes, areas, rng())
    labelled = keypoints[..., 2] > 0
    assert set(np.unique(heights)) == {0, 1}
    assert (heights[~labelled] == 0).all()
    np.testing.assert_allclose((heights[:, labelled[0]] == 0).mean(axis=0), dropped, atol=0.035)
    np.testing.assert_array_equal(positions, keypoints[..., :2])
    missing = heights[:, labelled[0]] == 0
    assert np.abs(np.corrcoef(missing.T) - np.eye(missing.shape[1])).max() < 0.1  # each keypoint on its own


@pytest.mark.parametrize("share", [0.2, 0.7])
def test_false_peaks_have_their_share_and_lie_around_their_person(crowd, share):
    keypoints, boxes, areas = crowd
    positions, heights = Imperfections(false_peaks=share).peaks(keypoints, boxes, areas, rng())
    assert positions.shape == (2 * PEOPLE, 17, 2) and heights.shape == (2 * PEOPLE, 17)
    np.testing.assert_array_equal(positions[:PEOPLE], keypoints[..., :2])
    labelled = keypoints[..., 2] > 0
    np.testing.assert_array_equal(heights[:PEOPLE], labelled)
    false = heights[PEOPLE:]
    assert set(np.unique(false)) == {0, 1} and (false[~labelled] == 0).all()
    np.testing.assert_allclose(false[:, labelled[0]].mean(axis=0), share, atol=0.035)
    corner, sides = boxes[:, None, :2], (boxes[:, 2:] - boxes[:, :2])[:, None]
    places = ((positions[PEOPLE:] - corner) / sides)[false > 0]
    # Uniform from a quarter of the box before it to a quarter after it: mean 0.5, variance 1.5^2 / 12.
    assert places.min() == pytest.approx(-0.25, abs=0.01) and places.max() == pytest.approx(1.25, abs=0.01)
    np.testing.assert_allclose(places.mean(axis=0), 0.5, atol=0.02)
    np.testing.assert_allclose(places.var(axis=0), 1.5**2 / 12, atol=0.01)
    assert abs(np.corrcoef(places.T)[0, 1]) < 0.03


def test_false_peaks_are_false_even_where_the_true_one_is_dropped(crowd):
    keypoints, boxes, areas = crowd
    heights = Imperfections(dropped=0.5, false_peaks=0.5).peaks(keypoints, boxes, areas, rng())[1]
    labelled = keypoints[..., 2] > 0
    true, false = heights[:PEOPLE][labelled], heights[PEOPLE:][labelled]
    assert true.mean() == pytest.approx(0.5, abs=0.01) and false.mean() == pytest.approx(0.5, abs=0.01)
    assert abs(np.corrcoef(true, false)[0, 1]) < 0.02


def test_heights_are_uniform_from_the_least(crowd):
    keypoints, boxes, areas = crowd
    given = Imperfections(dropped=0.2, false_peaks=0.5, least_height=0.4)
    heights = given.peaks(keypoints, boxes, areas, rng())[1]
    for part in (heights[:PEOPLE], heights[PEOPLE:]):
        found = part[part > 0]
        assert found.min() == pytest.approx(0.4, abs=0.001) and found.max() == pytest.approx(1, abs=0.001)
        assert found.max() <= 1 and found.mean() == pytest.approx(0.7, abs=0.005)
    assert (heights[:PEOPLE][keypoints[..., 2] == 0] == 0).all()


def test_peaks_repeat_with_a_generator_and_leave_the_labels_alone(crowd):
    keypoints, boxes, areas = (array.copy() for array in crowd)
    given = Imperfections(0.5, 0.2, 0.3, 0.5)
    one, again, other = (given.peaks(keypoints, boxes, areas, rng(seed)) for seed in (1, 1, 2))
    for a, b, c in zip(one, again, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert (a != c).any()
    for array, before in zip((keypoints, boxes, areas), crowd, strict=True):
        np.testing.assert_array_equal(array, before)


# Boxes


def measured_iou(first, second):
    """(N,): pycocotools' IoU of boxes given by their corners, pair by pair."""
    first, second = (
        np.concatenate([b[:, :2], b[:, 2:] - b[:, :2]], axis=1).astype(np.float64) for b in (first, second)
    )
    return np.array([mask.iou(a[None], b[None], [0])[0, 0] for a, b in zip(first, second, strict=True)])


@pytest.mark.parametrize("iou", [0.9, 0.8, 0.7])
def test_boxes_at_iou_reach_it(crowd, iou):
    boxes = crowd[1][:500]
    before = boxes.copy()
    moved = boxes_at_iou(boxes, iou, rng())
    np.testing.assert_array_equal(boxes, before)
    assert moved.dtype == np.float32 and moved.shape == boxes.shape
    np.testing.assert_allclose(measured_iou(moved, boxes), iou, atol=0.001)
    shares = (moved - boxes) / np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    assert (np.abs(shares.mean(axis=0)) < 0.02).all()  # all sides move, in both directions
    assert (shares.std(axis=0) > 0.2 * (1 - iou)).all()
    np.testing.assert_array_equal(boxes_at_iou(boxes, iou, rng()), moved)
    assert (boxes_at_iou(boxes, iou, rng(1)) != moved).mean() > 0.99


def test_boxes_at_iou_of_nobody():
    assert boxes_at_iou(np.zeros((0, 4), np.float32), 0.8, rng()).shape == (0, 4)


def test_boxes_at_iou_1_stay(crowd):
    np.testing.assert_allclose(boxes_at_iou(crowd[1][:50], 1.0, rng()), crowd[1][:50], atol=1e-3)


def test_jitter_is_bounded_and_each_side_moves_on_its_own(crowd):
    boxes = crowd[1]
    before = boxes.copy()
    moved = jitter_boxes(boxes, 0.2, rng())
    shares = (moved - boxes) / np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    assert moved.dtype == np.float32
    np.testing.assert_allclose(shares.min(axis=0), -0.2, atol=0.002)
    np.testing.assert_allclose(shares.max(axis=0), 0.2, atol=0.002)
    np.testing.assert_allclose(shares.std(axis=0), 0.4 / np.sqrt(12), atol=0.003)
    assert np.abs(np.corrcoef(shares.T) - np.eye(4)).max() < 0.06
    np.testing.assert_array_equal(jitter_boxes(boxes, 0.0, rng()), boxes)
    np.testing.assert_array_equal(jitter_boxes(boxes, 0.2, rng()), moved)
    np.testing.assert_array_equal(boxes, before)


# The PRN's samples


@pytest.fixture(scope="module")
def people(make_record):
    """Images of one, two and three people, whose boxes overlap; some keypoints are not labelled."""
    random = rng(3)
    records = []
    for image in range(60):
        described = []
        for number in range(1 + image % 3):
            x, y = 20 + 40 * number + random.uniform(0, 10), 15 + random.uniform(0, 15)
            box = [x, y, x + 60, y + 110]
            places = np.array([x, y]) + random.uniform(0.05, 0.95, (17, 2)) * (60, 110)
            keypoints = {k: (*places[k], 2) for k in range(17) if random.random() < 0.8}
            described.append({"box": box, "keypoints": keypoints})
        records.append(make_record(*described, identity=image))
    return collect_people(records)


def test_without_a_generator_samples_are_perfect(people):
    given = Imperfections(0.5, 0.5, 0.5, 0.5)
    plain, other = gather_people(people, people.targets), gather_people(people, people.targets, imperfections=given)
    for a, b in zip(plain, other, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(plain[2], people.keypoints[people.targets][..., :2])


@pytest.mark.parametrize("mirror", [0.0, 1.0, 0.5])
def test_the_owners_label_is_where_its_displaced_peak_is(people, mirror):
    given = Imperfections(displacement=0.5, false_peaks=0.3, least_height=0.5)
    positions, scores, own, labelled, boxes = gather_people(people, people.targets, rng(), 0.1, mirror, given)
    # One of the peaks of the joint is exactly there, wherever the owner has the keypoint.
    there = (positions == own[:, :, None]).all(axis=-1) & (scores > 0)
    np.testing.assert_array_equal(there.any(axis=2), labelled > 0)
    flipped = boxes[:, 0] < 0
    assert flipped.mean() == pytest.approx(mirror, abs=0.2)
    true = people.keypoints[people.targets]
    true[flipped] = true[flipped][:, MIRROR] * (-1, 1, 1)
    np.testing.assert_array_equal(labelled, true[..., 2] > 0)
    errors = np.linalg.norm(own - true[..., :2], axis=-1)[labelled > 0]
    # 2 sigma sqrt(area) / 2 is 2 to 9 pixels for boxes of 60 x 110.
    assert errors.min() > 0 and 4 < errors.mean() < 10


def test_mirroring_mirrors_displaced_dropped_and_false_peaks_alike(people):
    given = Imperfections(0.5, 0.2, 0.5, 0.3)
    plain, mirrored = (gather_people(people, people.targets, rng(5), 0.1, share, given) for share in (0.0, 1.0))
    flip = np.array([-1, 1], np.float32)
    np.testing.assert_array_equal(mirrored[0], plain[0][:, MIRROR] * flip)
    np.testing.assert_array_equal(mirrored[1], plain[1][:, MIRROR])
    np.testing.assert_array_equal(mirrored[2], plain[2][:, MIRROR] * flip)
    np.testing.assert_array_equal(mirrored[3], plain[3][:, MIRROR])
    np.testing.assert_array_equal(mirrored[4], plain[4][:, [2, 1, 0, 3]] * [-1, 1, -1, 1])


def test_dropped_peaks_keep_their_label(people):
    positions, scores, own, labelled, _ = gather_people(
        people, people.targets, rng(), imperfections=Imperfections(dropped=0.4)
    )
    np.testing.assert_array_equal(own, people.keypoints[people.targets][..., :2])
    np.testing.assert_array_equal(labelled, people.keypoints[people.targets, :, 2] > 0)
    there = ((positions == own[:, :, None]).all(axis=-1) & (scores > 0)).any(axis=2)
    assert not there[labelled == 0].any()
    assert there[labelled > 0].mean() == pytest.approx(0.6, abs=0.06)


def test_people_who_are_not_in_the_image_have_no_peaks(people):
    """Images of fewer people are filled up: what fills them is no peak, true or false."""
    given = Imperfections(0.5, 0.0, 1.0, 0.5)
    scores = gather_people(people, people.targets, rng(), imperfections=given)[1]
    for target, row in zip(people.targets, scores, strict=True):
        image = slice(people.first[target], people.first[target] + people.count[target])
        expected = 2 * (people.keypoints[image, :, 2] > 0).sum(axis=0)
        np.testing.assert_array_equal((row > 0).sum(axis=1), expected)


def test_false_peaks_are_in_the_input_and_not_in_the_target(people):
    options = {"batch_size": 64, "margin": 0.25, "jitter": 0.0, "mirror": 0.0, "seed": 1}
    plain, other = (
        next(prn_dataset(people, imperfections=given, **options).as_numpy_iterator())
        for given in (PERFECT, Imperfections(false_peaks=1.0))
    )
    np.testing.assert_array_equal(other[1], plain[1])
    more = other[0] - plain[0]
    assert more.min() >= 0
    # The only new mass is that of one Gaussian, 2 pi, a true keypoint in the box: all false ones of the owner are in
    # the box with its margin. Some is cut off at the border or where peaks meet.
    labelled = (plain[1].sum(axis=(1, 2)) > 0).sum()
    assert more.sum() > 0.7 * 2 * np.pi * labelled
    assert (more.max(axis=(1, 2)) > 0.5)[plain[1].sum(axis=(1, 2)) > 0].mean() > 0.8


def test_displaced_targets_are_where_the_input_has_a_peak(people):
    options = {"batch_size": 64, "margin": 0.5, "jitter": 0.1, "mirror": 0.5, "seed": 1}
    inputs, labels = next(
        prn_dataset(people, imperfections=Imperfections(displacement=0.4), **options).as_numpy_iterator()
    )
    clean = next(prn_dataset(people, **options).as_numpy_iterator())[1]
    moved = 0
    for x, y, before in zip(inputs, labels, clean, strict=True):
        for joint in np.flatnonzero(y.sum(axis=(0, 1)) > 0):
            row, column = np.unravel_index(y[..., joint].argmax(), (56, 36))
            assert x[row, column, joint] > 0.7  # at most 0.71 cells from the centre of the Gaussian
            moved += (row, column) != np.unravel_index(before[..., joint].argmax(), (56, 36))
    assert moved > 0.5 * (labels.sum(axis=(1, 2)) > 0).sum()


def test_samples_with_imperfections_repeat_with_a_seed_and_can_be_resumed(people):
    options = {"batch_size": 4, "margin": 0.25, "imperfections": Imperfections(0.5, 0.2, 0.5, 0.3)}

    def batches(count, **more):
        return [pair for pair, _ in zip(prn_dataset(people, **options, **more).as_numpy_iterator(), range(count))]  # noqa: B905

    one, again, other = batches(3, seed=1), batches(3, seed=1), batches(3, seed=2)
    resumed = batches(1, seed=1, part=order.Part(first=8))
    for part in (0, 1):
        for a, b in zip(one, again, strict=True):
            np.testing.assert_array_equal(a[part], b[part])
        assert (one[0][part] != other[0][part]).any()
        np.testing.assert_array_equal(resumed[0][part], one[2][part])


# Ground truth with imperfections


def test_imperfect_true_keypoints_depend_on_the_image_alone(make_record):
    described = [
        {"box": [10, 10, 60, 120], "keypoints": {k: (20 + k, 30 + 4 * k, 2) for k in range(17)}},
        {"box": [40, 10, 90, 120], "keypoints": {k: (50 + k, 30 + 4 * k, 2) for k in range(17)}},
    ]
    given = Imperfections(0.3, 0.1, 0.5, 0.5)
    first, second = (make_record(*described, identity=identity) for identity in (1, 2))
    one, again, other = (with_true_keypoints(EMPTY, record, given) for record in (first, first, second))
    np.testing.assert_array_equal(one.peaks, again.peaks)
    np.testing.assert_array_equal(one.peak_scores, again.peak_scores)
    assert (one.peaks != other.peaks).any() and (one.peak_scores != other.peak_scores).any()
    assert one.peaks.shape == (17, 4, 2)
    # Displacements are in the scale of the people: four times the area is twice as far.
    still = with_true_keypoints(EMPTY, first).peaks
    larger = dataclasses.replace(first, areas=4 * first.areas)
    near, far = (np.sort(with_true_keypoints(EMPTY, one, Imperfections(0.3)).peaks, axis=1) for one in (first, larger))
    still = np.sort(still, axis=1)
    np.testing.assert_allclose(np.abs(far - still).mean(), 2 * np.abs(near - still).mean(), rtol=0.1)
    assert np.abs(near - still).max() > 1
