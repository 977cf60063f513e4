"""What the three training scripts have in common: schedules, and what users do wrong."""

import json
import math
import re
import shutil
import subprocess
import sys
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from runs import (
    ENVIRONMENT,
    ROOT,
    assert_one_sentence,
    call,
    exit_of,
    keypoint_arguments,
    person_arguments,
    prn_arguments,
)

import train_keypoints  # noqa: E402
import train_person  # noqa: E402
import train_prn  # noqa: E402
from mpn.config import ModelConfig
from mpn.model_directory import load_config, save_section
from mpn.training.callbacks import ResumablePlateau, StopOnNonFiniteLoss


def test_loss_that_is_not_finite_ends_the_run_with_its_step(labels_only, tmp_path, capsys):
    arguments = prn_arguments(tmp_path / "m", "--coco", labels_only, "--epochs", 2, "--learning-rate", 1e30)
    with pytest.raises(FloatingPointError, match=r"step [12] of epoch [12]"):
        call(train_prn, arguments)
    shutil.rmtree(tmp_path / "m")
    code, error = exit_of(train_prn, arguments, capsys)
    assert code == 1 and "learning-rate" in error
    assert_one_sentence(error)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_stop_on_non_finite_loss(value):
    callback = StopOnNonFiniteLoss(first_bad=lambda: 8)
    callback.on_epoch_begin(4)
    callback.on_train_batch_end(6, {"loss": 0.5})
    callback.on_train_batch_end(7, None)  # nobody looked
    with pytest.raises(FloatingPointError, match="step 8 of epoch 5"):
        callback.on_train_batch_end(20, {"loss": value})


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_whose_validation_loss_is_not_finite_reach_no_checkpoint(value):
    callback = StopOnNonFiniteLoss(first_bad=None)
    callback.on_epoch_end(4, {"val_loss": 0.5})
    with pytest.raises(FloatingPointError, match="validation loss .* epoch 6"):
        callback.on_epoch_end(5, {"val_loss": value})


def test_a_disk_without_space_for_a_checkpoint_is_noticed_at_the_start(labels_only, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("mpn.files.shutil.disk_usage", lambda path: types.SimpleNamespace(free=1 << 20))
    code, error = exit_of(train_prn, prn_arguments(tmp_path / "m", "--coco", labels_only, "--epochs", 1), capsys)
    assert code == 1 and "No space left" in error and "training" in error
    assert_one_sentence(error)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_disk_that_is_full_under_tensorboard_is_one_sentence(labels_only, tmp_path, monkeypatch, capsys):
    def full(*_, **__):
        raise tf.errors.ResourceExhaustedError(None, None, f"{tmp_path}/train; No space left on device")

    monkeypatch.setattr(keras.callbacks.TensorBoard, "on_train_begin", full)
    code, error = exit_of(train_prn, prn_arguments(tmp_path / "m", "--coco", labels_only, "--epochs", 1), capsys)
    assert code == 1 and "No space left" in error and str(tmp_path) in error
    assert_one_sentence(error)


def plateau_on(learning_rate):
    """A schedule with patience 2 on a compiled model."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(learning_rate), "mse")
    plateau = ResumablePlateau(2)
    plateau.set_model(model)
    return plateau, model


def test_plateau_goes_on_where_it_stopped():
    losses = [5.0, 4.0, 4.5, 4.2, 3.0, 3.5, 3.5, 3.5, 3.5]
    whole, model = plateau_on(1.0)
    whole.on_train_begin()
    assert whole.memory()["best"] is None
    rates = []
    for epoch, loss in enumerate(losses):
        whole.on_epoch_end(epoch, {"val_loss": loss})
        rates.append(float(model.optimizer.learning_rate))
    np.testing.assert_allclose(rates, [1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.001], rtol=1e-5)
    for stop in range(len(losses) + 1):
        first, model = plateau_on(1.0)
        first.on_train_begin()
        for epoch in range(stop):
            first.on_epoch_end(epoch, {"val_loss": losses[epoch]})
        memory = json.loads(json.dumps(first.memory(), allow_nan=False))
        second, resumed = plateau_on(float(model.optimizer.learning_rate))
        second.restore(memory)
        second.on_train_begin()
        for epoch in range(stop, len(losses)):
            second.on_epoch_end(epoch, {"val_loss": losses[epoch]})
            assert float(resumed.optimizer.learning_rate) == pytest.approx(rates[epoch], rel=1e-5)
        assert second.memory() == whole.memory()


def test_plateau_has_a_lower_end():
    plateau, model = plateau_on(3e-7)
    plateau.on_train_begin()
    for epoch in range(9):
        plateau.on_epoch_end(epoch, {"val_loss": 1.0})
    assert float(model.optimizer.learning_rate) == pytest.approx(1e-7)


@pytest.mark.parametrize("script", [train_keypoints, train_person, train_prn])
@pytest.mark.parametrize("flags", [("--precision", "float8"), ("--epochs", "0"), ("--learning-rate", "-1"), ("--wat",)])
def test_wrong_flags_exit_with_2(script, flags, capsys):
    code, error = exit_of(script, flags, capsys)
    assert code == 2 and flags[0] in error


def scripts_with_images(coco, model, stage_1):
    return {
        train_keypoints: keypoint_arguments(coco, model),
        train_person: person_arguments(coco, stage_1),
        train_prn: prn_arguments(model, "--coco", coco),
    }


@pytest.mark.parametrize("script", [train_keypoints, train_person, train_prn])
def test_missing_coco_folder(script, stage_1, tmp_path, capsys):
    arguments = scripts_with_images(tmp_path / "nowhere", tmp_path / "model", stage_1)[script]
    code, error = exit_of(script, arguments, capsys)
    assert code == 1 and str(tmp_path / "nowhere") in error
    assert_one_sentence(error)
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("script", [train_keypoints, train_person])
def test_missing_images_are_named(script, labels_only, stage_1, tmp_path, capsys):
    arguments = scripts_with_images(labels_only, tmp_path / "model", stage_1)[script]
    code, error = exit_of(script, arguments, capsys)
    assert code == 1 and "train2017" in error
    assert_one_sentence(error)


@pytest.mark.parametrize("script", [train_keypoints, train_prn])
def test_model_directory_that_cannot_be_made(script, tiny_coco, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    arguments = scripts_with_images(tiny_coco, tmp_path / "file" / "model", None)[script]
    code, error = exit_of(script, arguments, capsys)
    assert code == 1 and str(tmp_path / "file") in error
    assert_one_sentence(error)


def test_too_many_damaged_images_end_the_run_with_their_names(tiny_coco, tmp_path):
    """In a process of its own: TensorFlow's data threads must not keep it alive."""
    coco = tmp_path / "coco"
    shutil.copytree(tiny_coco, coco)
    for path in (coco / "train2017").iterdir():
        path.write_bytes(path.read_bytes()[:500])
    command = [
        sys.executable,
        "tests/backbones.py",
        "train_keypoints.py",
        *keypoint_arguments(coco, tmp_path / "model"),
    ]
    result = subprocess.run(
        [str(a) for a in command], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=600
    )
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert re.match("error: [4-6] of 6 images are damaged", last) and str(coco / "train2017") in last
    assert not (tmp_path / "model" / "keypoints.weights.h5").exists()


def test_stages_do_not_undo_each_others_configuration(tmp_path):
    save_section(ModelConfig(backbone="mobilenet_v2"), tmp_path, "keypoints")
    save_section(ModelConfig(prn_nodes=7), tmp_path, "prn")  # started when there was no config.json yet
    save_section(ModelConfig(backbone="mobilenet_v2", width=0.5), tmp_path, "keypoints")
    config = load_config(tmp_path)
    assert (config.backbone, config.width, config.prn_nodes) == ("mobilenet_v2", 0.5, 7)
