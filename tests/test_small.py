"""The model that comes with the package: its size, what it finds on a photograph, and its AP on COCO images."""

import json
import os

import h5py
import numpy as np
import pytest
import skimage.data

import evaluate
from mpn import MultiPoseNet
from mpn.demo.settings import LEAST_POSE_SCORE
from mpn.inference.refiner import Refiner
from mpn.model_directory import PRETRAINED
from mpn.skeleton import KEYPOINTS
from mpn.weights import check_numbers, read_notes

MPN_COCO = os.environ.get("MPN_COCO")

# Marked by hand on the photograph of 512 x 512 pixels, and how far off a keypoint may be found.
ASTRONAUT = {
    "nose": (224, 121, 15),
    "left_eye": (247, 103, 15),
    "right_eye": (203, 101, 15),
    "left_ear": (272, 127, 20),
    "right_ear": (176, 119, 20),
    "left_shoulder": (320, 265, 90),  # a peak at the neck ring is as high as that of the shoulder
    "right_shoulder": (89, 250, 40),
}


def test_weights_are_small():
    assert sum(path.stat().st_size for path in PRETRAINED.rglob("*") if path.is_file()) <= 45e6


def test_weights_and_position_maps_have_their_checksums():
    for path in PRETRAINED.rglob("*.weights.h5"):
        check_numbers(path)
        with h5py.File(path) as file:
            assert "mpn_sha256" in file.attrs, path
        assert path.stem != "prn.weights" or "position_prior" in read_notes(path)


def test_astronaut():
    """One person, whose face and shoulders are where a person sees them."""
    image = skimage.data.astronaut()
    people = MultiPoseNet.load("small", precision="float32").predict(image)
    found = [person for person in people if person.score >= LEAST_POSE_SCORE]
    assert len(found) == 1
    for name, (x, y, distance) in ASTRONAUT.items():
        place = found[0].keypoints[KEYPOINTS.index(name)]
        assert np.hypot(place[0] - x, place[1] - y) <= distance, (name, place)
    x1, y1, x2, y2 = found[0].box
    assert x1 < 89 and x2 > 320 and y1 < 60 and y2 > 400
    (refined,) = Refiner.load("small-refiner", "float32").refine(image, found)
    for name, (x, y, distance) in ASTRONAUT.items():
        if "shoulder" not in name:
            place = refined.keypoints[KEYPOINTS.index(name)]
            assert np.hypot(place[0] - x, place[1] - y) <= distance, (name, place)


@pytest.mark.slow
@pytest.mark.skipif(not MPN_COCO, reason="MPN_COCO is not set")
@pytest.mark.parametrize(("more", "poses", "boxes"), [((), 0.36, 0.31), (("--refine", "small-refiner"), 0.45, 0.31)])
def test_average_precision(tmp_path, more, poses, boxes):
    """On 200 photographs of val2017, none of which were trained on or chosen by."""
    metrics = tmp_path / "metrics.json"
    arguments = ["--coco", MPN_COCO, "--model", "small", "--precision", "float32", *more]
    arguments += ["--output", tmp_path, "--metrics", metrics]
    evaluate.main([str(word) for word in arguments])
    figures = json.loads(metrics.read_text())
    if figures["settings"]["images"] != 200:
        pytest.skip("MPN_COCO has another val split, whose images may have been trained on")
    assert figures["keypoints"]["AP"] >= poses
    assert figures["boxes"]["AP"] >= boxes
    assert figures["silhouettes"]["IoU"] >= 0.7
