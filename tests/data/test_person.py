import cv2
import numpy as np
import pytest
from batches import assert_same, differ, take
from keras_retinanet.backend import bbox_transform_inv
from keras_retinanet.utils.anchors import anchor_targets_bbox, anchors_for_shape, compute_overlap

from mpn.data import order
from mpn.data.coco import load_coco
from mpn.data.person import person_dataset
from mpn.images import read_image


@pytest.fixture(scope="module")
def records(synthetic_coco):
    return load_coco(synthetic_coco, "train", limit=10)


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


def test_person_samples_repeat_with_a_seed_and_can_be_resumed(records, monkeypatch):
    batches = []
    for seed, workers in ((1, 1), (1, 3), (2, 1)):
        monkeypatch.setattr(order, "WORKERS", workers)
        batches.append(take(person_dataset(records, (48, 64), 2, seed=seed), 4))
    assert_same(batches[0], batches[1])
    assert differ(batches[0], batches[2])
    assert_same(take(person_dataset(records, (48, 64), 2, seed=1, part=order.Part(first=4)), 2), batches[0][2:])


def test_scales_are_random_and_boxes_follow(make_record, records):
    record = make_record({"box": [48, 36, 144, 108]}, path=records[0].path)
    widths = []
    for images, targets in take(person_dataset([record], (144, 192), 1, mirror=0.0, scale=(0.5, 1.5), seed=2), 12):
        # What is not padding is as wide as the image times its factor; the box is the middle half of it.
        width = np.flatnonzero(images[0].any(axis=(0, 2))).max() + 1
        height = np.flatnonzero(images[0].any(axis=(1, 2))).max() + 1
        box = np.array([width, height, 3 * width, 3 * height]) / 4
        anchors = anchors_of(*images.shape[1:3])
        positive = targets["classification"][0, :, 1] == 1
        decoded = np.asarray(bbox_transform_inv(anchors[None, positive], targets["regression"][:, positive, :4]))[0]
        assert positive.any()
        np.testing.assert_allclose(decoded, np.broadcast_to(box, decoded.shape), atol=1.5)
        widths.append(width)
    assert 96 <= min(widths) < 140 and 240 < max(widths) <= 288


def test_validation_is_neither_scaled_nor_coloured(records):
    plain, wild = (
        take(person_dataset(records, (48, 64), 2, training=False, **more), 9)
        for more in ({}, {"scale": (0.5, 1.5), "colour": 1.0})
    )
    assert_same(plain, wild)


def test_colours_change_pixels_alone(records):
    plain, coloured = (take(person_dataset(records, (48, 64), 4, seed=1, colour=colour), 1)[0] for colour in (0.0, 1.0))
    assert differ(plain[0], coloured[0]) and not differ(plain[1], coloured[1])
