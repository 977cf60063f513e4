"""Differences between models and exports: hand values, and exports of the shipped model on photographs."""

import os
import pathlib

import numpy as np
import pytest
from exports import needs, picture

import mpn.export
from mpn.deployment import differences
from mpn.deployment.differences import Differences
from mpn.images import write_image
from mpn.people import Person

MPN_COCO = os.environ.get("MPN_COCO")


def person(left, x, confidence=0.9, score=0.5):
    """Someone whose nose, the only sure keypoint, is at (x, 20)."""
    keypoints = np.zeros((17, 3), np.float32)
    keypoints[0] = x, 20, confidence
    return Person(np.float32([left, 10, left + 30, 90]), score, keypoints, score)


def test_people_are_paired_by_their_boxes():
    total = Differences()
    total.add([person(100, 110, score=0.6), person(10, 23)], [person(10, 20), person(102, 111, score=0.8)])
    assert (total.photographs, total.other_counts, total.keypoints) == (1, 0, 2)
    assert (total.keypoint, total.box_side) == (3, 2)
    assert total.score == pytest.approx(0.2)
    total.add([person(0, 90)], [person(0, 10, confidence=0.3)])  # not sure enough to count
    assert (total.photographs, total.keypoints, total.keypoint) == (2, 2, 3)


def test_another_number_of_people_is_counted():
    total = Differences()
    total.add([], [person(0, 10)])
    total.add([], [])
    assert (total.photographs, total.other_counts, total.keypoints) == (2, 1, 0)


def test_command(source, tmp_path, capsys):
    for seed in range(2):
        write_image(tmp_path / f"{seed}.png", picture(seed=seed))
    differences.main([str(source), str(source), str(tmp_path), "--images", "1"])  # an export would take long
    assert "1 photographs, 0 of them with another number of people\n" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.skipif(not MPN_COCO, reason="MPN_COCO is not set")
@pytest.mark.parametrize("format", ["onnx", "openvino", "tflite"])
def test_small_on_photographs(format, tmp_path):
    """The shipped model on 20 photographs: the same people, to half a pixel."""
    needs(format)
    mpn.export.main(["small", str(tmp_path / "small"), "--format", format])
    paths = sorted((pathlib.Path(MPN_COCO) / "val2017").glob("*.jpg"))[:20]
    found = differences.differences("small", tmp_path / "small", paths)
    assert (found.photographs, found.other_counts) == (20, 0) and found.keypoints > 500
    assert found.keypoint <= 0.5 and found.box_side <= 0.5
    assert found.score <= 0.01  # a peak on the border of two of the PRN's cells may be in either
