"""Stage 2, run on a few small drawn images."""

import math
import shutil

import numpy as np
import pytest
from runs import (
    assert_one_sentence,
    assert_same_log,
    assert_same_training,
    call,
    datasets_of,
    exit_of,
    log_of,
    person_arguments,
)

import train_keypoints  # noqa: E402
import train_person  # noqa: E402
from mpn.errors import UserError
from mpn.model_directory import last_checkpoint, load_networks, run_folder, save_part, weights_file
from mpn.weights import fingerprint, read_notes


@pytest.fixture(scope="module")
def stage_2(tiny_coco, stage_1, tmp_path_factory):
    """A model directory after stage 1 and two epochs of stage 2; tests must not change it."""
    model = shutil.copytree(stage_1, tmp_path_factory.mktemp("stage_2") / "model")
    call(train_person, person_arguments(tiny_coco, model, "--epochs", 2, "--learning-rate", 0.01))
    return model


def test_stage_2_leaves_the_backbone_as_it_is(stage_1, stage_2):
    assert weights_file(stage_2, "keypoints").read_bytes() == weights_file(stage_1, "keypoints").read_bytes()
    before = fingerprint(load_networks(stage_1, ("keypoints",)).backbone)
    networks = load_networks(stage_2, ("keypoints", "person"))
    assert fingerprint(networks.backbone) == before
    assert read_notes(weights_file(stage_2, "person"))["backbone_fingerprint"] == before
    # What was trained is the subnet: classification starts from a bias of -log 99 and moves.
    bias = networks.person_detector.subnet.get_layer("classification_submodel").weights[-1].numpy()
    assert np.abs(bias + math.log(99)).max() > 1e-3
    # The checkpoint of the stage holds the backbone too, statistics of batch normalisation included.
    trained = [value.tobytes() for value in datasets_of(last_checkpoint(stage_2, "person")).values()]
    assert {weight.tobytes() for weight in networks.backbone.get_weights()} <= set(trained)
    rows = log_of(stage_2, "person")
    assert [row["epoch"] for row in rows] == ["0", "1"]
    for column in ("classification_loss", "regression_loss", "val_classification_loss", "val_regression_loss"):
        assert all(math.isfinite(float(row[column])) for row in rows)
    assert list(run_folder(stage_2, "person").rglob("events.out.tfevents.*"))


@pytest.mark.slow
def test_stage_2_resumes(tiny_coco, after_stage_1, stage_1, tmp_path):
    other = shutil.copytree(stage_1, tmp_path / "other")
    call(train_person, person_arguments(tiny_coco, after_stage_1, "--epochs", 2))
    call(train_person, person_arguments(tiny_coco, other, "--epochs", 1))
    call(train_person, person_arguments(tiny_coco, other, "--epochs", 2, "--resume"))
    assert_same_log(after_stage_1, other, "person")
    assert_same_training(last_checkpoint(after_stage_1, "person"), last_checkpoint(other, "person"))


def change_backbone(model):
    """What stage 1 does when it goes on."""
    networks = load_networks(model, ("keypoints",))
    variable = networks.backbone.trainable_variables[0]
    variable.assign(variable + 0.1)
    save_part(networks, "keypoints", model)


def test_after_stage_1_has_gone_on_the_advised_command_trains_stage_2_anew(
    tiny_coco, stage_2, tmp_path, monkeypatch, capsys
):
    model = shutil.copytree(stage_2, tmp_path / "model")
    change_backbone(model)
    with pytest.raises(UserError, match="another backbone") as caught:
        load_networks(model, ("keypoints", "person"))
    script, *advised = str(caught.value).partition(": run ")[2].split()
    assert script == "train_person.py"
    call(train_person, advised)  # as evaluate.py and demo.py advise
    assert "stage 2 begins anew" in capsys.readouterr().out
    load_networks(model, ("keypoints", "person"))
    assert [row["epoch"] for row in log_of(model, "person")] == ["0", "1"]
    first = person_arguments(tiny_coco, model, "--epochs", 1)
    code, error = exit_of(train_person, first, capsys)
    assert code == 1 and "pass --resume" in error
    change_backbone(model)  # once more: now the command of a first run trains it anew
    settings = []
    monkeypatch.setattr("mpn.training.person.train", lambda stage, given: settings.append(given))
    call(train_person, first)
    assert "stage 2 begins anew" in capsys.readouterr().out
    assert [(given.model, given.resume, given.epochs) for given in settings] == [(str(model), False, 1)]


def test_the_advice_for_a_person_subnet_without_a_run(after_stage_1):
    save_part(load_networks(after_stage_1, ("keypoints",)), "person", after_stage_1)
    change_backbone(after_stage_1)
    with pytest.raises(UserError) as caught:
        load_networks(after_stage_1, ("keypoints", "person"))
    assert str(caught.value).endswith(f": run train_person.py --model {after_stage_1}")


@pytest.mark.parametrize("better", [True, False])
def test_stage_1_says_what_it_does_to_stage_2(after_stage_1, monkeypatch, capsys, better):
    save_part(load_networks(after_stage_1, ("keypoints",)), "person", after_stage_1)
    monkeypatch.setattr("mpn.training.keypoints.train", lambda stage, options: better and stage.save_best())
    call(train_keypoints, ["--model", after_stage_1, "--resume"])
    said = capsys.readouterr().out
    assert f"will not fit once this stage has better weights: run train_person.py --model {after_stage_1}" in said
    assert ("does not fit the backbone any more: run train_person.py" in said) == better


def test_stage_2_before_stage_1_is_refused(tiny_coco, tmp_path, capsys):
    code, error = exit_of(train_person, person_arguments(tiny_coco, tmp_path / "new"), capsys)
    assert code == 1 and "train_keypoints.py" in error
    assert_one_sentence(error)


def test_stage_2_after_stage_3_alone_is_refused(tiny_coco, stage_3, capsys):
    code, error = exit_of(train_person, person_arguments(tiny_coco, stage_3), capsys)
    assert code == 1 and "train_keypoints.py" in error
    assert_one_sentence(error)


def test_stage_2_can_start_from_another_models_person_subnet(tiny_coco, stage_1, after_stage_1, tmp_path, monkeypatch):
    """The other model's backbone has other weights: its person subnet could not be loaded beside this one."""
    networks = load_networks(stage_1, ("keypoints",))
    backbone = networks.backbone.trainable_variables[0]
    backbone.assign(backbone + 1)
    save_part(networks, "keypoints", after_stage_1)
    save_part(networks, "person", after_stage_1)
    model = shutil.copytree(stage_1, tmp_path / "new")
    stages = []
    monkeypatch.setattr("mpn.training.person.train", lambda stage, options: stages.append(stage))
    call(train_person, person_arguments(tiny_coco, model, "--initial-model", after_stage_1))
    stages[0].save_best()
    first, after = (datasets_of(weights_file(folder, "person")) for folder in (after_stage_1, model))
    assert first.keys() == after.keys()
    for name, value in first.items():
        np.testing.assert_array_equal(after[name], value)
    load_networks(model, ("keypoints", "person"))  # and it belongs to this backbone now


def test_a_model_to_start_stage_2_from_needs_a_person_subnet(tiny_coco, stage_1, tmp_path, capsys):
    model = shutil.copytree(stage_1, tmp_path / "new")
    code, error = exit_of(train_person, person_arguments(tiny_coco, model, "--initial-model", stage_1), capsys)
    assert code == 1 and str(weights_file(stage_1, "person")) in error
    assert_one_sentence(error)
