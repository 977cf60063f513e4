"""Stage 1, run on a few small drawn images: files, refusals, and resuming after a kill."""

import math
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from runs import (
    ENVIRONMENT,
    ROOT,
    assert_one_sentence,
    assert_same_log,
    assert_same_training,
    call,
    datasets_of,
    exit_of,
    keypoint_arguments,
    log_of,
    state_of,
)

import train_keypoints  # noqa: E402
from mpn.model_directory import last_checkpoint, load_config, load_networks, run_folder, weights_file

LEVELS = ("K2", "K3", "K4", "K5")


def test_stage_1_writes_its_files(stage_1):
    config = load_config(stage_1)
    assert (config.backbone, config.width, config.keypoint_channels) == ("mobilenet_v2", 0.35, 16)
    assert config.image_size == (64, 106)
    assert weights_file(stage_1, "keypoints").is_file() and last_checkpoint(stage_1, "keypoints").is_file()
    assert list(run_folder(stage_1, "keypoints").rglob("events.out.tfevents.*"))
    assert not [path for path in stage_1.rglob("*") if path.name.startswith(".tmp-")]
    rows = log_of(stage_1, "keypoints")
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    for name in ("heatmaps", *LEVELS):
        for column in (f"{name}_loss", f"val_{name}_loss"):
            assert all(math.isfinite(float(row[column])) and float(row[column]) > 0 for row in rows)
    for row in rows:
        total = sum(float(row[f"{name}_loss"]) for name in ("heatmaps", *LEVELS))
        assert float(row["loss"]) == pytest.approx(total, rel=1e-3)
    state = state_of(stage_1, "keypoints")
    assert (state["epoch"], state["samples"]) == (3, 12)
    assert state["best"] == pytest.approx(min(float(row["val_loss"]) for row in rows), rel=1e-6)


def test_stage_1_stores_what_it_trained(stage_1):
    model = load_networks(stage_1, ("keypoints",)).keypoint_model()
    image = np.random.default_rng(0).uniform(0, 255, (1, 64, 64, 3)).astype(np.float32)
    outputs = model.predict_on_batch(image)
    assert sorted(outputs) == [*LEVELS, "heatmaps"]
    assert all(np.isfinite(value).all() and np.abs(value).max() > 0 for value in outputs.values())


def test_table_2_switches_reach_the_model(tiny_coco, tmp_path, monkeypatch):
    stages = []
    monkeypatch.setattr("mpn.training.keypoints.train", lambda stage, options: stages.append(stage))
    call(train_keypoints, keypoint_arguments(tiny_coco, tmp_path / "model", "--no-int", "--no-concat"))
    (stage,) = stages
    assert list(stage.model.output) == list(stage.loss) == ["heatmaps"]
    stage.save_best()
    config = load_config(tmp_path / "model")
    assert (config.concat, config.intermediate_supervision) == (False, False)


def test_second_run_without_resume_is_refused(tiny_coco, after_stage_1, capsys):
    before = last_checkpoint(after_stage_1, "keypoints").read_bytes()
    code, error = exit_of(train_keypoints, keypoint_arguments(tiny_coco, after_stage_1, "--epochs", 4), capsys)
    assert code == 1 and "--resume" in error
    assert_one_sentence(error)
    assert last_checkpoint(after_stage_1, "keypoints").read_bytes() == before


def test_resume_without_checkpoint_is_refused(tiny_coco, tmp_path, capsys):
    code, error = exit_of(train_keypoints, keypoint_arguments(tiny_coco, tmp_path / "new", "--resume"), capsys)
    assert code == 1 and "nothing to resume" in error
    assert_one_sentence(error)
    assert not (tmp_path / "new").exists()


def test_a_finished_run_stays_as_it_is(after_stage_1, capsys):
    before = last_checkpoint(after_stage_1, "keypoints").read_bytes()
    call(train_keypoints, ["--model", after_stage_1, "--resume"])
    assert "the run is finished, with epoch 3; raise --epochs" in capsys.readouterr().out
    assert last_checkpoint(after_stage_1, "keypoints").read_bytes() == before


def test_damaged_checkpoint_is_refused(tiny_coco, after_stage_1, capsys):
    path = last_checkpoint(after_stage_1, "keypoints")
    path.write_bytes(path.read_bytes()[:-20000])
    arguments = keypoint_arguments(tiny_coco, after_stage_1, "--epochs", 4, "--resume")
    code, error = exit_of(train_keypoints, arguments, capsys)
    assert code == 1 and "last.weights.h5" in error
    assert_one_sentence(error)


def test_killed_and_resumed_run_equals_the_uninterrupted_one(tiny_coco, stage_1, tmp_path):
    killed = tmp_path / "killed"
    checkpoint = last_checkpoint(killed, "keypoints")
    arguments = keypoint_arguments(tiny_coco, killed, "--epochs", 3)
    process = subprocess.Popen(
        [
            str(word)
            for word in (sys.executable, ROOT / "tests" / "backbones.py", ROOT / "train_keypoints.py", *arguments)
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
        cwd=ROOT,
    )
    deadline = time.monotonic() + 300
    while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    error = process.communicate()[1].decode()
    assert checkpoint.exists(), error
    assert state_of(killed, "keypoints")["epoch"] < 3, "the run was not killed in time"
    call(train_keypoints, [*arguments, "--resume"])
    assert_same_log(stage_1, killed, "keypoints")
    assert_same_training(last_checkpoint(stage_1, "keypoints"), checkpoint)
    first, second = state_of(stage_1, "keypoints"), state_of(killed, "keypoints")
    for key in ("best", "epoch", "samples"):
        assert second[key] == pytest.approx(first[key], rel=1e-4)
    assert second["plateau"] == pytest.approx(first["plateau"], rel=1e-4)


def test_image_size_must_be_a_multiple_of_32(tiny_coco, tmp_path, capsys):
    arguments = keypoint_arguments(tiny_coco, tmp_path / "model", "--image-size", 100)
    code, error = exit_of(train_keypoints, arguments, capsys)
    assert code == 1 and "100" in error
    assert_one_sentence(error)


def test_a_run_can_start_from_another_model(tiny_coco, stage_1, tmp_path, monkeypatch):
    """Its weights and its architecture, whatever the options say; the image size is the run's own."""
    calls = []
    monkeypatch.setattr("mpn.training.keypoints.train", lambda stage, options: calls.append((stage, options)))
    model = tmp_path / "model"
    more = ("--initial-model", stage_1, "--image-size", 96, "--refiner", 0.6, "--channels", 99, 9, 9, 9)
    call(train_keypoints, keypoint_arguments(tiny_coco, model, *more))
    ((stage, options),) = calls
    stage.save_best()
    config = load_config(model)
    assert (config.width, config.keypoint_channels) == (0.35, 16)
    assert (options.width, options.channels) == (0.35, (16, 8, 16, 16))  # to which a resumed run is compared
    assert (config.image_size, config.refiner_share) == ((96, 96), 0.6)
    before, after = (datasets_of(weights_file(folder, "keypoints")) for folder in (stage_1, model))
    assert before.keys() == after.keys()
    for name, value in before.items():
        np.testing.assert_array_equal(after[name], value)


def test_normalisation_is_not_folded_into_a_model_to_start_from(tiny_coco, stage_1, tmp_path, capsys):
    more = ("--initial-model", stage_1, "--batch-normalization", "folded")
    code, error = exit_of(train_keypoints, keypoint_arguments(tiny_coco, tmp_path / "model", *more), capsys)
    assert code == 1 and "--batch-normalization folded" in error and str(stage_1) in error
    assert_one_sentence(error)


def test_a_model_to_start_from_must_exist(tiny_coco, tmp_path, capsys):
    arguments = keypoint_arguments(tiny_coco, tmp_path / "model", "--initial-model", tmp_path / "missing")
    code, error = exit_of(train_keypoints, arguments, capsys)
    assert code == 1 and "missing" in error
    assert_one_sentence(error)
