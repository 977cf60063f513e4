"""Damaged images in training: which samples change, what is said, and when the run ends."""

import dataclasses
import shutil

import numpy as np
import pytest
import tensorflow as tf
from batches import assert_same, take

from mpn.data.coco import load_coco, read_record
from mpn.data.keypoints import keypoint_dataset
from mpn.data.order import Part
from mpn.data.person import person_dataset
from mpn.data.reading import Reading, SampleImages
from mpn.errors import UserError

# Sample numbers 0 to 13 are two passes over the seven records of tiny_coco.
PIPELINES = {
    "keypoints": lambda records, **more: keypoint_dataset(records, 64, 1, ("heatmaps",), seed=1, **more),
    "person": lambda records, **more: person_dataset(records, (96, 128), 1, seed=1, **more),
}


@pytest.fixture
def records(tiny_coco, tmp_path):
    """Seven records whose files a test may damage."""
    shutil.copytree(tiny_coco, tmp_path / "coco")
    return load_coco(tmp_path / "coco", "train")


def damage(record):
    record.path.write_bytes(record.path.read_bytes()[:500])


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_only_samples_of_the_damaged_image_change(pipeline, records, capfd):
    make = PIPELINES[pipeline]
    whole = take(make(records), 14)
    damage(records[2])
    batches = take(make(records, reading=Reading(damaged=0.01)), 14)
    changed = [n for n in range(14) if not np.array_equal(whole[n][0], batches[n][0])]
    assert len(changed) == 2 and changed[0] < 7 <= changed[1]  # each pass takes each image once
    for number in set(range(14)) - set(changed):
        assert_same(whole[number], batches[number])
    said = capfd.readouterr().out
    assert said.count(str(records[2].path)) == said.count("\n") == 1 and "1 of at most 3" in said
    # Sample n depends on n alone, so a resumed run or another host makes the same.
    resumed = take(make(records, reading=Reading(damaged=0.01), part=Part(first=changed[1])), 14 - changed[1])
    assert_same(resumed, batches[changed[1] :])


def test_another_image_comes_with_its_own_labels(records):
    damage(records[4])
    source = SampleImages(records, 0, Reading(damaged=0.5))
    chosen = [source.read(number, 4) for number in range(30)]
    for record, image in chosen:
        np.testing.assert_array_equal(image, read_record(record))
    assert {record.id for record, _ in chosen} == {record.id for record in records} - {records[4].id}
    again = [source.read(number, 4)[0].id for number in range(30)]
    assert again == [record.id for record, _ in chosen]


def test_a_batch_of_validation_stays_complete(records, capfd):
    whole = take(keypoint_dataset(records, 64, 4, ("heatmaps",), training=False), 9)
    damage(records[5])
    reading = Reading(damaged=0.01)
    batches = take(keypoint_dataset(records, 64, 4, ("heatmaps",), training=False, reading=reading), 9)
    assert [len(images) for images, _ in batches] == [4, 3]
    before, after = (np.concatenate([images for images, _ in some]) for some in (whole, batches))
    assert (before == after).all(axis=(1, 2, 3)).tolist() == [True] * 5 + [False, True]
    assert "damaged" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("share", "broken", "allowed"),
    [(0.01, 4, 3), (0.6, 5, 4), (1.0, 7, 6)],  # at least three, and never all seven
)
def test_too_many_damaged_images_end_the_run_in_one_sentence(records, capsys, share, broken, allowed):
    for record in records[:broken]:
        record.path.unlink()
    source = SampleImages(records, 0, Reading(damaged=share))
    for index in range(allowed):
        source._records[index].path.touch()  # damaged in another way: empty
    with pytest.raises(UserError) as caught:
        for number in range(7):
            source.read(number, number)
    message = str(caught.value)
    assert message.startswith(f"{broken} of 7 images are damaged or missing, and --damaged {share:g} allows {allowed}")
    assert message.count(".jpg") == 3 and "\n" not in message
    assert capsys.readouterr().out.count("\n") == allowed
    with pytest.raises(UserError, match="are damaged"):  # in every thread, not just in one
        source.read(0, 0)


def test_share_0_and_a_single_image_stop_at_once(records):
    damage(records[0])
    for some, reading in ((records, Reading()), (records[:1], Reading(damaged=1.0))):
        with pytest.raises(UserError, match=f"^image '{records[0].path}' is damaged"):
            SampleImages(some, 0, reading).read(0, 0)


def test_files_count_once_for_all_their_people(records):
    people = [dataclasses.replace(records[0], id=n) for n in range(9)] + records[1:]
    damage(records[0])
    source = SampleImages(people, 0, Reading(damaged=0.01))
    assert all(source.read(number, number)[0].path != records[0].path for number in range(len(people)))


def test_the_sentence_arrives_through_tensorflow(records):
    for record in records:
        damage(record)
    with pytest.raises(tf.errors.OpError, match="UserError: [4-7] of 7 images are damaged"):
        take(keypoint_dataset(records, 64, 1, ("heatmaps",), reading=Reading(damaged=0.01)), 7)


def test_kept_images_are_read_once(records):
    source = SampleImages(records, 0, Reading(cached=True))
    before = source.read(0, 0)[1]
    records[0].path.unlink()
    assert source.read(1, 0)[1] is before
