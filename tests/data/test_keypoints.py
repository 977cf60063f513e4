import numpy as np
import pytest
from batches import assert_same, differ, take

from mpn.data import order
from mpn.data.augmentation import PatchAugmentation
from mpn.data.coco import load_coco
from mpn.data.keypoints import keypoint_dataset
from mpn.data.patches import cut_patch, patch_map
from mpn.data.reading import Reading
from mpn.images import read_image

SIZE = 64
OUTPUTS = ("heatmaps", "K2")


@pytest.fixture(scope="module")
def records(synthetic_coco):
    return load_coco(synthetic_coco, "train", limit=10)


def test_keypoint_batches(records):
    (images, targets), _ = take(keypoint_dataset(records, SIZE, 4, OUTPUTS), 2)
    assert images.shape == (4, SIZE, SIZE, 3) and images.dtype == np.uint8 and images.std() > 10
    assert set(targets) == set(OUTPUTS)
    for y in targets.values():
        assert y.shape == (4, 16, 16, 36) and y.dtype == np.float32
    np.testing.assert_array_equal(targets["heatmaps"], targets["K2"])
    assert targets["K2"][..., :17].max() > 0.9 and set(np.unique(targets["K2"][..., 18:])) == {0, 1}


def test_keypoint_samples_repeat_with_a_seed_and_any_number_of_workers(records, monkeypatch):
    batches = []
    for seed, workers in ((1, 1), (1, 4), (2, 1)):
        monkeypatch.setattr(order, "WORKERS", workers)
        batches.append(take(keypoint_dataset(records, SIZE, 3, OUTPUTS, seed=seed), 4))
    assert_same(batches[0], batches[1])
    assert differ(batches[0], batches[2])
    resumed = take(keypoint_dataset(records, SIZE, 3, OUTPUTS, seed=1, part=order.Part(first=6)), 2)
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
        patch, *expected = cut_patch(image, record, matrix, SIZE)
        np.testing.assert_array_equal(images[0], patch)
        np.testing.assert_array_equal(targets["K2"][0], np.concatenate(expected, axis=-1))
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
        patch = cut_patch(read_image(records[index].path), records[index], matrix, SIZE)[0]
        np.testing.assert_array_equal(batches[index // 4][0][index % 4], patch)


def test_colours_change_pixels_and_not_targets(records):
    still = {"rotation": 0, "scale": (1, 1), "mirror": 0}
    options = {"seed": 1, "training": True}
    plain, changed, again = (
        take(keypoint_dataset(records, SIZE, 10, OUTPUTS, PatchAugmentation(**still | more), **options), 1)[0]
        for more in ({}, {"colour": 1.0}, {"colour": 1.0})
    )
    assert_same(changed, again)
    assert differ(plain[0], changed[0])
    assert not differ(plain[1], changed[1])


def test_validation_is_not_augmented(records):
    wild = PatchAugmentation(framing="image", colour=1.0, shift=1.0)
    plain = PatchAugmentation(framing="image")
    batches = [take(keypoint_dataset(records, SIZE, 4, OUTPUTS, a, training=False), 9) for a in (wild, plain)]
    assert_same(*batches)


def test_cached_images_give_the_same_samples_without_their_files(make_record, tmp_path, records):
    path = tmp_path / "image.png"
    path.write_bytes(records[0].path.read_bytes())
    record = make_record({"box": [60, 20, 130, 120]}, path=path)
    plain = take(keypoint_dataset([record], SIZE, 2, OUTPUTS, seed=1), 3)
    kept = keypoint_dataset([record], SIZE, 2, OUTPUTS, seed=1, reading=Reading(cached=True))
    batches = iter(kept.as_numpy_iterator())
    cached = [next(batches)]
    path.unlink()
    assert_same(plain, cached + [next(batches), next(batches)])
