"""The refinement network: its samples, its training, and what that refuses."""

import numpy as np
import pytest
from runs import assert_one_sentence, exit_of, keypoint_arguments

import train_keypoints
import train_person
import train_prn
from mpn import MultiPoseNet
from mpn.config import ModelConfig
from mpn.data.augmentation import PatchAugmentation
from mpn.data.patches import patch_map, people_alone
from mpn.errors import UserError
from mpn.inference.refiner import Refiner
from mpn.model_directory import load_config

SIDE = 96


def test_shift_moves_people_from_the_middle(make_record):
    record = make_record({"box": (40, 30, 100, 130), "keypoints": {i: (50, 60, 2) for i in range(5)}})
    rng = np.random.default_rng(0)
    shifted = PatchAugmentation(rotation=0, scale=(1, 1), mirror=0, shift=0.1)
    moves = []
    for _ in range(200):
        matrix = patch_map(record, SIDE, shifted, 0, rng)
        moves.append(matrix[:, :2] @ (70, 80) + matrix[:, 2] - SIDE / 2)
    moves = np.array(moves)
    assert np.abs(moves).max() <= 0.1 * SIDE and (np.abs(moves).max(axis=0) > 0.09 * SIDE).all()
    assert (moves.min(axis=0) < -0.09 * SIDE).all()
    with pytest.raises(UserError, match="shift must be a number from 0 to 1, not 1.5"):
        PatchAugmentation(shift=1.5)


def test_samples_are_of_one_person_each(make_record):
    points = {i: (50 + i, 60, 2) for i in range(5)}
    record = make_record(
        {"box": (40, 30, 100, 130), "keypoints": points},
        {"box": (0, 0, 20, 20), "keypoints": {0: (5, 5, 2)}},
        {"box": (20, 0, 120, 120), "keypoints": points, "crowd": True},
        {"box": (60, 30, 150, 140), "keypoints": points},
    )
    alone = people_alone([record, make_record(), record])
    assert [one.boxes.tolist() for one in alone] == [[[40, 30, 100, 130]], [[60, 30, 150, 140]]] * 2
    assert all(one.width == record.width and len(one.keypoints) == 1 for one in alone)


def test_training_leaves_a_refinement_network(refiner):
    config = load_config(refiner)
    assert config.refiner_share == 0.7 and config.image_size == (64, 64)
    image = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
    keypoints = Refiner.load(refiner).find(image, np.float32([[10, 10, 60, 90], [0, 0, 128, 96]]))
    assert keypoints.shape == (2, 17, 3) and np.isfinite(keypoints).all()
    with pytest.raises(UserError, match="is a refinement network"):
        MultiPoseNet.load(refiner)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--refiner", 0.6, "--framing", "image"), "--refiner sees one person at a time: leave out --framing image"),
        (
            ("--refiner", 0.6, "--inference-size", 64),
            "--refiner works on crops of --image-size: leave out --inference-size",
        ),
        (("--initial-model", "nowhere"), "nowhere"),
    ],
)
def test_what_no_refinement_network_takes(tiny_coco, tmp_path, capsys, more, words):
    code, error = exit_of(train_keypoints, keypoint_arguments(tiny_coco, tmp_path / "model", *more), capsys)
    assert code == 1 and words in error
    assert_one_sentence(error)
    assert not (tmp_path / "model").exists()


def test_a_refinement_network_is_no_model_of_whole_images(refiner, tiny_coco, tmp_path, capsys):
    shared = ["--coco", tiny_coco, "--model", refiner, "--epochs", 1, "--steps-per-epoch", 1]
    for script in (train_person, train_prn):
        code, error = exit_of(script, shared, capsys)
        assert code == 1 and str(refiner) in error and "refinement network" in error
        assert_one_sentence(error)
    assert sorted(path.name for path in refiner.iterdir()) == ["config.json", "keypoints.weights.h5", "training"]
    whole = tmp_path / "model"
    whole.mkdir()
    (whole / "prn.weights.h5").touch()
    code, error = exit_of(train_keypoints, keypoint_arguments(tiny_coco, whole, "--refiner", 0.6), capsys)
    assert code == 1 and str(whole / "prn.weights.h5") in error
    assert_one_sentence(error)


def test_crops_are_squares_that_the_network_can_take():
    for size in ((64, 96), (80, 80)):
        with pytest.raises(UserError, match="square of a multiple of 32"):
            ModelConfig(image_size=size, refiner_share=0.5)


def test_runs_of_another_kind_are_not_resumed(refiner, stage_1, tiny_coco, capsys):
    more = ("--resume", "--epochs", 9, "--refiner", 0.5)
    code, error = exit_of(train_keypoints, keypoint_arguments(tiny_coco, stage_1, *more), capsys)
    assert code == 1 and "with no --refiner, not --refiner 0.5" in error
    assert_one_sentence(error)
    more = ("--resume", "--epochs", 9, "--inference-size", 96)
    code, error = exit_of(train_keypoints, keypoint_arguments(tiny_coco, refiner, *more), capsys)
    assert code == 1 and "with no --inference-size, not --inference-size 96 160" in error


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (("--image-size", 96), "--image-size 64"),
        (("--refiner", 0.5), "--refiner 0.7"),
    ],
)
def test_crops_stay_what_they_were(refiner, tiny_coco, capsys, changed, words):
    same = ("--refiner", 0.7, "--resume", "--epochs", 9)
    code, error = exit_of(train_keypoints, keypoint_arguments(tiny_coco, refiner, *same, *changed), capsys)
    assert code == 1 and words in error and str(refiner) in error
    assert_one_sentence(error)


def test_a_model_keeps_its_inference_size(stage_1, tiny_coco, capsys):
    same = ("--resume", "--epochs", 9)
    arguments = keypoint_arguments(tiny_coco, stage_1, *same, "--inference-size", 480, 800)
    code, error = exit_of(train_keypoints, arguments, capsys)
    before = " ".join(map(str, load_config(stage_1).image_size))
    assert code == 1 and f"--inference-size {before}" in error
    assert_one_sentence(error)
