"""The speed of the input pipelines: what the clock and the processor's time count, and the command."""

import json
import os
import time

import pytest
import tensorflow as tf
from runs import assert_one_sentence, exit_of

from mpn.data.coco import load_coco
from mpn.studies import input_speed
from mpn.studies.input_speed import decoding_time, measure


def batches_that(wait):
    """Endless batches of two, each of which takes a while to make."""
    return tf.data.Dataset.range(2**40).map(lambda n: tf.numpy_function(wait, (n,), tf.int64)).batch(2)


def test_waiting_takes_the_clocks_time_but_not_the_processors():
    rate, processor = measure(batches_that(lambda n: time.sleep(0.02) or n), 2, 20)
    assert 0 < rate <= 51 and processor < 0.019


def test_work_takes_the_processors_time():
    def work(number):
        end = time.thread_time() + 0.02
        while time.thread_time() < end:
            pass
        return number

    rate, processor = measure(batches_that(work), 2, 20)
    assert 0 < rate <= 51 and processor > 0.019


def test_each_image_is_decoded(tiny_coco, monkeypatch):
    records, read = load_coco(tiny_coco, "val"), []
    monkeypatch.setattr("mpn.data.coco.read_record", lambda record: read.append(record.id))
    assert decoding_time(records, 5) >= 0
    assert read == [records[n % 2].id for n in range(5)]


def test_the_command_prints_three_stages(tiny_coco, monkeypatch, capsys):
    used = []
    monkeypatch.setattr(os, "sched_setaffinity", lambda process, cores: used.append(cores), raising=False)
    input_speed.main(["--coco", str(tiny_coco), "--split", "val", "--samples", "2", "--cores", "1"])
    first, _, _, *rows = capsys.readouterr().out.splitlines()
    assert first.startswith("cores: 1; 2 images of ") and len(used[0]) == 1
    assert [row.split(" | ")[0] for row in rows] == ["| keypoints", "| person", "| prn"]
    for row in rows:
        rate, processor, _, cores = (cell.strip(" |").replace(",", "") for cell in row.split(" | ")[1:])
        assert float(rate) > 0 and float(cores) == pytest.approx(float(processor) / 10, abs=0.01)


def test_more_cores_than_there_are_is_one_sentence(tiny_coco, capsys):
    code, error = exit_of(input_speed, ["--coco", tiny_coco, "--cores", 10**6], capsys)
    assert code == 1 and "--cores 1000000 is more than" in error
    assert_one_sentence(error)


def test_a_split_without_people_is_one_sentence(tiny_coco, tmp_path, capsys):
    content = json.loads((tiny_coco / "annotations" / "person_keypoints_val2017.json").read_text())
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "person_keypoints_val2017.json").write_text(json.dumps({**content, "annotations": []}))
    (tmp_path / "val2017").symlink_to(tiny_coco / "val2017")
    code, error = exit_of(input_speed, ["--coco", tmp_path, "--split", "val"], capsys)
    assert code == 1 and "person_keypoints_val2017.json has a labelled keypoint" in error
    assert_one_sentence(error)
