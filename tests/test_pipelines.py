import itertools

import cv2
import numpy as np
import pytest
from keras_retinanet.backend import bbox_transform_inv
from keras_retinanet.utils.anchors import anchor_targets_bbox, anchors_for_shape, compute_overlap

from mpn.data.coco import load_coco
from mpn.data.keypoint_pipeline import keypoint_dataset
from mpn.data.order import training_order
from mpn.data.patches import PatchAugmentation, cut_patch, patch_map
from mpn.data.person_pipeline import person_dataset
from mpn.data.prn_pipeline import collect_people, gather_people, prn_dataset
from mpn.errors import UserError
from mpn.images import read_image
from mpn.skeleton import MIRROR

SIZE = 64
OUTPUTS = ("heatmaps", "K2")
MARGIN = 0.2


@pytest.fixture(scope="module")
def records(synthetic_coco):
    return load_coco(synthetic_coco, "train", limit=10)


def take(dataset, count):
    """The first batches as nested numpy arrays."""
    return list(itertools.islice(dataset.as_numpy_iterator(), count))


def leaves(value):
    if isinstance(value, dict):
        value = [value[key] for key in sorted(value)]
    return [leaf for item in value for leaf in leaves(item)] if isinstance(value, (list, tuple)) else [value]


def assert_same(one, other):
    one, other = leaves(one), leaves(other)
    assert len(one) == len(other) > 0
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


def differ(one, other):
    return any(not np.array_equal(a, b) for a, b in zip(leaves(one), leaves(other), strict=True))


# Order


def test_each_pass_is_a_permutation():
    samples = np.array(take(training_order(7, seed=3), 21))
    np.testing.assert_array_equal(samples[:, 0], np.arange(21))
    np.testing.assert_array_equal(samples[:, 1], np.repeat([0, 1, 2], 7))
    passes = samples[:, 2].reshape(3, 7)
    np.testing.assert_array_equal(np.sort(passes), np.tile(np.arange(7), (3, 1)))
    assert len({tuple(order) for order in passes}) == 3


def test_a_seed_makes_an_order_repeatable():
    assert take(training_order(9, seed=5), 30) == take(training_order(9, seed=5), 30)
    assert take(training_order(9, seed=5), 9) != take(training_order(9, seed=6), 9)


@pytest.mark.parametrize("first", [1, 6, 7, 16])
def test_first_continues_where_a_run_stopped(first):
    assert take(training_order(7, 3, first=first), 15) == take(training_order(7, 3), first + 15)[first:]


def test_order_without_shuffling():
    assert [index for _, _, index in take(training_order(3, 0, shuffle=False), 7)] == [0, 1, 2, 0, 1, 2, 0]


# Keypoint subnet


def test_keypoint_batches(records):
    (images, targets), _ = take(keypoint_dataset(records, SIZE, 4, OUTPUTS), 2)
    assert images.shape == (4, SIZE, SIZE, 3) and images.dtype == np.uint8 and images.std() > 10
    assert set(targets) == set(OUTPUTS)
    for y in targets.values():
        assert y.shape == (4, 16, 16, 36) and y.dtype == np.float32
    np.testing.assert_array_equal(targets["heatmaps"], targets["K2"])
    assert targets["K2"][..., :17].max() > 0.9 and set(np.unique(targets["K2"][..., 18:])) == {0, 1}


def test_keypoint_samples_repeat_with_a_seed_and_any_number_of_workers(records):
    batches = [
        take(keypoint_dataset(records, SIZE, 3, OUTPUTS, seed=seed, workers=workers), 4)
        for seed, workers in ((1, 1), (1, 4), (2, 1))
    ]
    assert_same(batches[0], batches[1])
    assert differ(batches[0], batches[2])
    resumed = take(keypoint_dataset(records, SIZE, 3, OUTPUTS, seed=1, first=6), 2)
    assert_same(resumed, batches[0][2:])


def test_people_of_an_image_take_turns_from_pass_to_pass(make_record, records):
    box = [[10, 20, 60, 100], [100, 20, 190, 120]]
    people = [{"box": b, "keypoints": {k: (b[0] + 2 * k, b[1] + 2 * k, 2) for k in range(9)}} for b in box]
    record = make_record(*people, path=records[0].path)
    augmentation = PatchAugmentation(rotation=0, scale=(1, 1), mirror=0)
    batches = take(keypoint_dataset([record], SIZE, 1, OUTPUTS, augmentation), 3)
    image = read_image(record.path)
    for turn, (images, targets) in enumerate(batches):
        matrix = patch_map(record, SIZE, augmentation, turn, np.random.default_rng(0))
        patch = cut_patch(image, record, matrix, SIZE)
        np.testing.assert_array_equal(images[0], patch.image)
        np.testing.assert_array_equal(targets["K2"][0], np.concatenate(patch.encode(), axis=-1))
    assert differ(batches[0], batches[1])
    assert_same(batches[0], batches[2])


def test_every_keypoint_sample_has_its_own_augmentation(make_record, records):
    record = make_record({"box": [60, 20, 130, 120]}, path=records[0].path)
    ((images, _),) = take(keypoint_dataset([record], SIZE, 4, OUTPUTS), 1)
    assert len({image.tobytes() for image in images}) == 4


def test_keypoint_validation_is_one_pass_in_order_without_jitter(records):
    augmentation = PatchAugmentation(framing="image")
    dataset = keypoint_dataset(records, SIZE, 4, OUTPUTS, augmentation, seed=1, training=False)
    assert int(dataset.cardinality()) == 3
    batches = take(dataset, 100)
    assert [len(images) for images, _ in batches] == [4, 4, 2]
    other = keypoint_dataset(records, SIZE, 4, OUTPUTS, augmentation, seed=2, training=False)
    assert_same(batches, take(other, 100))
    still = augmentation.without_jitter()
    for index in (0, 9):
        matrix = patch_map(records[index], SIZE, still, 0, np.random.default_rng(0))
        patch = cut_patch(read_image(records[index].path), records[index], matrix, SIZE).image
        np.testing.assert_array_equal(batches[index // 4][0][index % 4], patch)


# Person subnet


def anchors_of(height, width):
    """keras-retinanet's anchors, (A, 4) float32: float64 decides ties at the image border differently."""
    return anchors_for_shape((height, width)).astype(np.float32)


def retinanet_targets(images, boxes):
    """What keras-retinanet itself makes of images (H, W, 3), not padded, and their boxes, in the frame of the batch."""
    height, width = (-(-max(image.shape[axis] for image in images) // 32) * 32 for axis in (0, 1))
    anchors = anchors_of(height, width)
    annotations = [{"bboxes": np.asarray(b, np.float64), "labels": np.zeros(len(b))} for b in boxes]
    regression, classification = anchor_targets_bbox(anchors, images, annotations, num_classes=1)
    return anchors, regression, classification


def visible(record):
    return record.of(~record.crowd)


@pytest.mark.parametrize("factor", [1, 2])
def test_person_targets_equal_those_of_keras_retinanet(records, factor):
    chosen = [visible(record) for record in records[:4]]
    # The sides are multiples of the image's: scaling is exact.
    dataset = person_dataset(chosen, (144 * factor, 192 * factor), 2, training=False)
    assert int(dataset.cardinality()) == 2
    batches = take(dataset, 100)
    assert len(batches) == 2
    for number, (images, targets) in enumerate(batches):
        pair = chosen[2 * number : 2 * number + 2]
        assert images.dtype == np.uint8 and images.shape == (2, {1: 160, 2: 288}[factor], 192 * factor, 3)
        assert images[:, 144 * factor :].max(initial=0) == 0
        if factor == 1:
            np.testing.assert_array_equal(images[0, :144], read_image(pair[0].path))
        shapes = [np.zeros((144 * factor, 192 * factor, 3))] * 2
        _, regression, classification = retinanet_targets(shapes, [factor * record.boxes for record in pair])
        np.testing.assert_array_equal(targets["classification"], classification)
        np.testing.assert_allclose(targets["regression"], regression, atol=1e-4)
        assert targets["regression"].dtype == targets["classification"].dtype == np.float32
        assert (classification[..., 1] == 1).sum() > 5


def test_positive_anchors_decode_to_their_boxes(records):
    chosen = [visible(record) for record in records if len(visible(record).boxes)][:3]
    ((_, targets),) = take(person_dataset(chosen, (144, 192), 3, training=False), 1)
    anchors = anchors_of(160, 192)
    for row, record in enumerate(chosen):
        regression = targets["regression"][row]
        positive = regression[:, 4] == 1
        decoded = bbox_transform_inv(
            anchors[None, positive], regression[None, positive, :4], mean=[0] * 4, std=[0.2] * 4
        )
        owners = compute_overlap(anchors[positive].astype(np.float64), record.boxes.astype(np.float64)).argmax(axis=1)
        assert positive.any()
        np.testing.assert_allclose(np.asarray(decoded)[0], record.boxes[owners], atol=1e-2)


def single(record, **options):
    """Images and targets of the only batch of one record."""
    ((images, targets),) = take(person_dataset([record], (144, 192), 1, **options), 1)
    return images[0], targets["regression"][0], targets["classification"][0]


def test_anchors_in_crowds_and_padding_are_ignored(make_record, records):
    people = [{"box": [10, 20, 60, 110]}, {"box": [120, 30, 150, 120]}]
    crowd = [{"box": [0, 0, 90, 144], "crowd": True}, {"box": [170, 20, 260, 90], "crowd": True}]
    _, plain_regression, plain = single(make_record(*people, path=records[0].path), training=False)
    _, regression, classification = single(make_record(*people, *crowd, path=records[0].path), training=False)
    anchors = anchors_of(160, 192)
    inside = np.zeros(len(anchors), bool)
    for x1, y1, x2, y2 in ((0, 0, 90, 144), (170, 20, 192, 90)):
        width = np.minimum(anchors[:, 2], x2) - np.maximum(anchors[:, 0], x1)
        height = np.minimum(anchors[:, 3], y2) - np.maximum(anchors[:, 1], y1)
        areas = (anchors[:, 2] - anchors[:, 0]) * (anchors[:, 3] - anchors[:, 1])
        inside |= width.clip(0) * height.clip(0) / areas > 0.5 - 1e-6
    positive = plain[:, 1] == 1
    assert positive[inside].any() and (plain[inside, 1] == 0).any()
    expected = np.where(inside & ~positive, -1, plain[:, 1])
    np.testing.assert_array_equal(classification[:, 1], expected)
    np.testing.assert_array_equal(regression[:, 4], expected)
    np.testing.assert_array_equal(classification[:, 0], plain[:, 0])  # a crowd is no person
    np.testing.assert_array_equal(regression[:, :4], plain_regression[:, :4])
    beyond = (anchors[:, 1] + anchors[:, 3]) / 2 >= 144
    assert beyond.any() and (classification[beyond, 1] == -1).all() and (regression[beyond, 4] == -1).all()


def test_images_of_a_batch_are_padded_to_the_largest(make_record, records, tmp_path):
    cv2.imwrite(str(tmp_path / "tall.png"), np.full((192, 96, 3), 200, np.uint8))
    tall = make_record({"box": [20, 30, 80, 180]}, width=96, height=192, path=tmp_path / "tall.png")
    wide = visible(next(record for record in records if len(visible(record).boxes)))
    ((images, targets),) = take(person_dataset([tall, wide], (96, 192), 2, training=False), 1)
    # The wide image becomes 128 x 96, the tall one keeps its size.
    assert images.shape == (2, 192, 128, 3)
    assert images[0, :, :96].min() == 200 and images[0, :, 96:].max() == 0 and images[1, 96:].max() == 0
    shapes = [np.zeros((192, 96, 3)), np.zeros((96, 128, 3))]
    _, regression, classification = retinanet_targets(shapes, [tall.boxes, wide.boxes * (96 / 144)])
    np.testing.assert_array_equal(targets["classification"], classification)
    np.testing.assert_allclose(targets["regression"], regression, atol=1e-4)


def test_images_without_valid_boxes_are_background(make_record, records):
    for record in (
        make_record(path=records[0].path),
        make_record({"box": [50, 50, 50, 90]}, {"box": [300, 300, 400, 400]}, path=records[0].path),
    ):
        _, regression, classification = single(record, training=False)
        centres = anchors_of(160, 192).reshape(-1, 2, 2).mean(axis=1)
        expected = np.where((centres < (192, 144)).all(axis=1), 0, -1)
        np.testing.assert_array_equal(classification[:, 1], expected)
        np.testing.assert_array_equal(regression[:, 4], expected)
        assert classification[:, 0].max() == 0
    mixed = [make_record(path=records[0].path), visible(records[0])]
    ((_, targets),) = take(person_dataset(mixed, (144, 192), 2, training=False), 1)
    assert (targets["classification"][0, :, 1] <= 0).all()


def test_mirrored_images_have_mirrored_boxes(make_record, records):
    record = make_record({"box": [10, 20, 60, 110]}, {"box": [120, 30, 150, 120]}, path=records[0].path)
    crowded = make_record({"box": [10, 20, 60, 110]}, {"box": [120, 0, 192, 144], "crowd": True}, path=record.path)
    mirrored, regression, classification = single(record, mirror=1.0)
    image = read_image(record.path)
    np.testing.assert_array_equal(mirrored[:144], image[:, ::-1])
    boxes = [[132, 20, 182, 110], [42, 30, 72, 120]]
    _, expected_regression, expected = retinanet_targets([image], [boxes])
    np.testing.assert_array_equal(classification, expected[0])
    np.testing.assert_allclose(regression, expected_regression[0], atol=1e-4)
    np.testing.assert_array_equal(single(record, mirror=0.0)[0][:144], image)
    ignored = single(crowded, mirror=1.0)[2][:, 1] == -1
    centres = anchors_of(160, 192).reshape(-1, 2, 2).mean(axis=1)
    small = np.ptp(anchors_of(160, 192)[:, ::2], axis=1) < 40
    assert ignored[small & (np.abs(centres - (36, 72)) < (16, 40)).all(axis=1)].all()
    assert not ignored[small & (centres[:, 0] > 110) & (np.abs(centres[:, 1] - 130) < 10)].any()


def test_person_samples_repeat_with_a_seed_and_can_be_resumed(records):
    batches = [
        take(person_dataset(records, (48, 64), 2, seed=seed, workers=workers), 4)
        for seed, workers in ((1, 1), (1, 3), (2, 1))
    ]
    assert_same(batches[0], batches[1])
    assert differ(batches[0], batches[2])
    assert_same(take(person_dataset(records, (48, 64), 2, seed=1, first=4), 2), batches[0][2:])


# Pose residual network


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
        [([50, 10, 70, 50], 2), ([20, 20, 20, 90], 5)],
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
    # Six labelled people; the box without area and the single keypoint are no targets but stay as neighbours.
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
    order = np.array([[np.allclose(label, other) for other in still] for label in labels]).argmax(axis=1).reshape(2, 5)
    np.testing.assert_array_equal(np.sort(order), np.tile(np.arange(5), (2, 1)))
    assert len({tuple(row) for row in order}) > 1


def test_prn_samples_repeat_with_a_seed_and_can_be_resumed(people):
    for curriculum in (True, False):
        options = {"curriculum": curriculum, "mirror": 0.5, "jitter": 0.1}
        batches = [
            take(prn_dataset(people, 2, MARGIN, seed=seed, workers=workers, **options), 3)
            for seed, workers in ((1, 1), (1, 3), (2, 1))
        ]
        assert_same(batches[0], batches[1])
        assert differ(batches[0], batches[2])
        assert differ(batches[0][0], take(prn_dataset(people, 2, MARGIN, training=False), 1)[0])
        assert_same(take(prn_dataset(people, 2, MARGIN, seed=1, first=4, **options), 1), batches[0][2:])


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
