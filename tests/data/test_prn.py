import numpy as np
import pytest
from batches import assert_same, differ, take

from mpn.data import order
from mpn.data.prn import collect_people, gather_people, prn_dataset
from mpn.errors import UserError
from mpn.skeleton import MIRROR

MARGIN = 0.2


def crowd_of(make_record, layout):
    """Records of people given as (box, number of keypoints), one list an image.

    Keypoints lie at places of their own, all inside the box and most of them off its middle.
    """
    rng = np.random.default_rng(0)
    records = []
    for image, people in enumerate(layout):
        described = []
        for box, count in people:
            x1, y1, x2, y2 = box
            places = np.array([x1, y1]) + rng.uniform(0.02, 0.98, (17, 2)) * (x2 - x1, y2 - y1)
            described.append({"box": box, "keypoints": {k: (*places[k], 1 + k % 2) for k in range(count)}})
        records.append(make_record(*described, identity=image))
    return records


@pytest.fixture
def people(make_record):
    """Five images: overlapping people, easy and hard ones, one with a single keypoint, one unlabelled."""
    layout = [
        [([10, 10, 60, 120], 17), ([40, 20, 90, 130], 12), ([100, 20, 130, 60], 1)],
        [([10, 10, 100, 140], 17), ([100, 10, 120, 60], 0)],
        [],
        [([50, 10, 70, 50], 2), ([20, 20, 40, 90], 1)],
        [([30, 10, 120, 60], 12)],
    ]
    return collect_people(crowd_of(make_record, layout))


def test_targets_are_sorted_from_easy_to_hard(people):
    counts = (people.keypoints[people.targets][..., 2] > 0).sum(axis=1)
    np.testing.assert_array_equal(counts, [17, 17, 12, 12, 2])
    # Equal counts: the larger box first. 90 x 130 > 50 x 110, and 50 x 110 > 90 x 50.
    expected = [[10, 10, 100, 140], [10, 10, 60, 120], [40, 20, 90, 130], [30, 10, 120, 60], [50, 10, 70, 50]]
    np.testing.assert_array_equal(people.boxes[people.targets], expected)


def test_people_of_an_image_stand_side_by_side(people):
    # Six labelled people; the two with a single keypoint are no targets but stay as neighbours.
    assert len(people.boxes) == 7
    np.testing.assert_array_equal(people.first, [0, 0, 0, 3, 4, 4, 6])
    np.testing.assert_array_equal(people.count, [3, 3, 3, 1, 2, 2, 1])


@pytest.mark.parametrize("layout", [[], [[([10, 10, 60, 120], 0)]], [[([10, 10, 60, 120], 1)]]])
def test_nobody_to_learn_from_is_an_error(make_record, layout):
    with pytest.raises(UserError, match="nothing to learn"):
        collect_people(crowd_of(make_record, layout))


def test_crowd_regions_are_no_people(make_record, people):
    points = {k: (20 + k, 30, 2) for k in range(17)}
    record = make_record({"box": [10, 10, 60, 60], "keypoints": points, "crowd": True}, identity=1)
    with pytest.raises(UserError, match="nothing to learn"):
        collect_people([record])


def cells_of(keypoints, box):
    """Grid rows and columns of (17, 3) keypoints in an enlarged box, and which of them lie inside."""
    x1, y1, x2, y2 = box
    width, height = x2 - x1, y2 - y1
    x = (keypoints[:, 0] - x1 + MARGIN * width) / ((1 + 2 * MARGIN) * width) * 36
    y = (keypoints[:, 1] - y1 + MARGIN * height) / ((1 + 2 * MARGIN) * height) * 56
    inside = (keypoints[:, 2] > 0) & (x > 0) & (x < 36) & (y > 0) & (y < 56)
    return np.where(inside, y, 0).astype(int), np.where(inside, x, 0).astype(int), inside


def test_prn_inputs_hold_everyone_and_labels_the_owner(people):
    dataset = prn_dataset(people, 2, MARGIN, training=False)
    assert int(dataset.cardinality()) == 3
    batches = take(dataset, 100)
    assert [len(x) for x, _ in batches] == [2, 2, 1]
    inputs, labels = (np.concatenate(arrays) for arrays in zip(*batches, strict=True))
    assert inputs.shape == labels.shape == (5, 56, 36, 17) and inputs.dtype == labels.dtype == np.float32
    neighbours = 0
    for x, y, target in zip(inputs, labels, people.targets, strict=True):
        box = people.boxes[target]
        rows, columns, inside = cells_of(people.keypoints[target], box)
        np.testing.assert_allclose(y.sum(axis=(0, 1)), inside, atol=1e-5)
        for k in np.flatnonzero(inside):
            assert np.unravel_index(y[..., k].argmax(), (56, 36)) == (rows[k], columns[k])
        everyone = np.arange(people.first[target], people.first[target] + people.count[target])
        points = np.zeros(17)
        for other in everyone:
            rows, columns, inside = cells_of(people.keypoints[other], box)
            assert (x[rows[inside], columns[inside], np.flatnonzero(inside)] > 0.75).all()
            points += inside
            neighbours += inside.sum() * (other != target)
        assert (x.max(axis=(0, 1))[points == 0] == 0).all()
        # A Gaussian of standard deviation 1 has mass 2 pi; some of it may be cut off or overlap.
        assert x.sum() <= 2 * np.pi * points.sum() * 1.01
    assert neighbours > 5


def test_the_curriculum_comes_in_every_pass(people):
    still = take(prn_dataset(people, 5, MARGIN, training=False), 1)[0]
    for x, y in take(prn_dataset(people, 5, MARGIN, jitter=0, mirror=0), 2):
        np.testing.assert_allclose(x, still[0], atol=1e-6)
        np.testing.assert_allclose(y, still[1], atol=1e-6)
    # Batches run on from one pass to the next.
    batches = take(prn_dataset(people, 3, MARGIN, jitter=0, mirror=0), 5)
    labels = np.concatenate([y for _, y in batches])
    np.testing.assert_allclose(labels, np.concatenate([still[1]] * 3), atol=1e-6)


def test_without_a_curriculum_each_pass_is_shuffled(people):
    still = take(prn_dataset(people, 5, MARGIN, training=False), 1)[0][1]
    dataset = prn_dataset(people, 2, MARGIN, jitter=0, mirror=0, curriculum=False, seed=4)
    labels = np.concatenate([y for _, y in take(dataset, 5)])
    drawn = np.array([[np.allclose(label, other) for other in still] for label in labels]).argmax(axis=1).reshape(2, 5)
    np.testing.assert_array_equal(np.sort(drawn), np.tile(np.arange(5), (2, 1)))
    assert len({tuple(row) for row in drawn}) > 1


def test_prn_samples_repeat_with_a_seed_and_can_be_resumed(people, monkeypatch):
    for curriculum in (True, False):
        options = {"curriculum": curriculum, "mirror": 0.5, "jitter": 0.1}
        batches = []
        for seed, workers in ((1, 1), (1, 3), (2, 1)):
            monkeypatch.setattr(order, "WORKERS", workers)
            batches.append(take(prn_dataset(people, 2, MARGIN, seed=seed, **options), 3))
        assert_same(batches[0], batches[1])
        assert differ(batches[0], batches[2])
        assert differ(batches[0][0], take(prn_dataset(people, 2, MARGIN, training=False), 1)[0])
        assert_same(
            take(prn_dataset(people, 2, MARGIN, seed=1, part=order.Part(first=4), **options), 1), batches[0][2:]
        )


def test_mirrored_people_swap_left_and_right(people):
    still = take(prn_dataset(people, 5, MARGIN, jitter=0, mirror=0), 1)[0]
    mirrored = take(prn_dataset(people, 5, MARGIN, jitter=0, mirror=1), 1)[0]
    for plain, flipped in zip(still, mirrored, strict=True):
        np.testing.assert_allclose(flipped, plain[:, :, ::-1][..., MIRROR], atol=1e-4)
        assert np.abs(flipped - plain).max() > 0.02


def test_jitter_moves_boxes_alone_and_by_at_most_its_share(people):
    index = np.repeat(people.targets, 200)
    before = people.boxes.copy(), people.keypoints.copy()
    plain = gather_people(people, index)
    jittered = gather_people(people, index, np.random.default_rng(0), jitter=0.1)
    for a, b in zip(plain[:4], jittered[:4], strict=True):
        np.testing.assert_array_equal(a, b)
    sides = np.tile(people.boxes[index, 2:] - people.boxes[index, :2], 2)
    shares = (jittered[4] - people.boxes[index]) / sides
    assert 0.095 < np.abs(shares).max() <= 0.1 + 1e-5 and abs(shares.mean()) < 0.01
    assert np.abs(np.corrcoef(shares.T) - np.eye(4)).max() < 0.15  # each side on its own
    mirrored = gather_people(people, index, np.random.default_rng(0), mirror=1.0)
    np.testing.assert_array_equal(mirrored[4], plain[4][:, [2, 1, 0, 3]] * [-1, 1, -1, 1])
    half = gather_people(people, index, np.random.default_rng(0), mirror=0.5)[4]
    assert (half[:, 0] < 0).mean() == pytest.approx(0.5, abs=0.06)
    np.testing.assert_array_equal(people.boxes, before[0])  # the data themselves are as they were
    np.testing.assert_array_equal(people.keypoints, before[1])
