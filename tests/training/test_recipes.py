"""What a long training run adds to the paper's: frozen layers, averaged weights, held-out images."""

import json
import pathlib
import shutil
import subprocess
import sys
import time

import h5py
import keras
import numpy as np
import pytest
from runs import call, datasets_of, prn_arguments

from mpn.data.coco import annotation_file, hold_out, load_coco
from mpn.errors import UserError
from mpn.model_directory import last_checkpoint, load_networks, weights_file
from mpn.models.backbone import LEVELS, build_backbone, freeze_up_to
from mpn.models.networks import Networks
from mpn.training import KeypointTraining, PrnTraining
from mpn.training.splits import training_and_validation

ROOT = pathlib.Path(__file__).resolve().parents[2]

import train_keypoints  # noqa: E402
import train_prn  # noqa: E402


def train(coco, model, *more):
    keras.utils.set_random_seed(time.time_ns() % 2**31)
    arguments = [
        *("--coco", coco, "--model", model, "--backbone", "mobilenet_v2", "--width", 0.35),
        *("--backbone-weights", "none", "--channels", 8, 8, 256, 256),
        *("--image-size", 64, "--batch-size", 8, "--learning-rate", 1e-3, "--steps-per-epoch", 3, *more),
    ]
    train_keypoints.main([str(argument) for argument in arguments])


# --- frozen layers


@pytest.fixture(scope="module", params=["mobilenet_v2", "resnet50"])
def backbone(request):
    return build_backbone(request.param, width=0.35 if request.param == "mobilenet_v2" else 1.0)


@pytest.mark.parametrize("level", LEVELS)
def test_layers_up_to_a_level_are_frozen(backbone, level):
    backbone.trainable = True
    freeze_up_to(backbone, level)
    trained = {id(variable) for variable in backbone.trainable_variables}
    # Gradients know: a level depends on no trained variable up to the frozen one, and on some above it.
    for other in LEVELS:
        part = keras.Model(backbone.input, backbone.output[other])
        depends = any(id(variable) in trained for variable in part.variables)
        assert depends == (other > level), other


def test_frozen_layers_stay_and_the_others_move(synthetic_coco, tmp_path):
    train(synthetic_coco, tmp_path / "m", "--epochs", 1, "--frozen-up-to", "C4", "--seed", 5)
    trained = load_networks(tmp_path / "m", ("keypoints",))
    keras.utils.set_random_seed(5)
    start = Networks(trained.config)
    start.keypoint_model()
    frozen = {v.path for v in keras.Model(start.backbone.input, start.backbone.output["C4"]).variables}
    moved = {
        one.path: bool((one.numpy() != other.numpy()).any())
        for one, other in zip(start.backbone.variables, trained.backbone.variables, strict=True)
    }
    assert not any(moved[path] for path in frozen)
    assert sum(moved[path] for path in moved.keys() - frozen) > 0.9 * len(moved.keys() - frozen)


# --- averaged weights


def train_averaged(coco, model, *more):
    """Stage 3, the quickest; all stages share the averages."""
    call(train_prn, prn_arguments(model, "--coco", coco, "--dropout", 0, "--average", 0.5, *more))


@pytest.fixture(scope="module")
def averaged(synthetic_coco, tmp_path_factory):
    """Two epochs, of which the weights are averaged."""
    model = tmp_path_factory.mktemp("averaged") / "m"
    train_averaged(synthetic_coco, model, "--epochs", 2)
    return model


def numbers(path):
    """All arrays of an HDF5 file by name."""
    return {name: value for name, value in datasets_of(path).items() if "seed" not in name}


def test_an_average_follows_the_weights(synthetic_coco, tmp_path):
    """After step t the average is 0.5 a + 0.5 w_t, worked out from the weights after each single step."""
    stored, weights = [], []
    for count in (1, 2, 3):
        model = tmp_path / str(count)
        train_averaged(synthetic_coco, model, "--epochs", 1, "--steps-per-epoch", count, "--learning-rate", 0.01)
        networks = load_networks(model, ("prn",))  # stored is the average
        stored.append([variable.numpy() for variable in networks.prn.trainable_variables])
        networks.prn.load_weights(last_checkpoint(model, "prn"))
        weights.append([variable.numpy() for variable in networks.prn.trainable_variables])
    expected = weights[0]
    for count in range(3):
        if count:
            expected = [0.5 * a + 0.5 * b for a, b in zip(expected, weights[count], strict=True)]
        for one, other in zip(stored[count], expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=2e-5)
    assert max(np.abs(a - b).max() for a, b in zip(expected, weights[-1], strict=True)) > 1e-3


def test_an_averaged_run_resumes_as_if_nothing_was(averaged, synthetic_coco, tmp_path):
    model = tmp_path / "m"
    train_averaged(synthetic_coco, model, "--epochs", 1)
    train_averaged(synthetic_coco, model, "--epochs", 2, "--resume")
    for file in (lambda folder: last_checkpoint(folder, "prn"), lambda folder: weights_file(folder, "prn")):
        straight, resumed = numbers(file(averaged)), numbers(file(model))
        assert straight.keys() == resumed.keys() and len(straight) > 1
        for name, value in straight.items():
            np.testing.assert_allclose(resumed[name], value, rtol=1e-3, atol=2e-5, err_msg=name)


_AVERAGE_IN_BFLOAT16 = """
import keras, numpy as np
from mpn.precision import rewrite_to_bfloat16
rewrite_to_bfloat16(True)
keras.utils.set_random_seed(0)
layers = [keras.Input((16, 16, 8)), keras.layers.Conv2D(8, 3, activation="relu"), keras.layers.Conv2D(4, 3)]
model = keras.Sequential(layers)
model.compile(keras.optimizers.Adam(1e-3, use_ema=True, ema_momentum=0.99), "mse", jit_compile=False)
model.optimizer.build(model.trainable_variables)
x, y = np.random.rand(8, 16, 16, 8), np.random.rand(8, 12, 12, 4)
expected = None
for _ in range(60):
    model.train_on_batch(x, y)
    weights = [v.numpy().astype("float64") for v in model.trainable_variables]
    expected = weights if expected is None else [0.99 * a + 0.01 * b for a, b in zip(expected, weights)]
swap = keras.callbacks.SwapEMAWeights()
swap.set_model(model)
swap.on_test_begin()
for variable, average in zip(model.trainable_variables, expected):
    np.testing.assert_allclose(variable.numpy(), average, rtol=1e-5, atol=1e-7)
"""


def test_averages_are_exact_in_bfloat16():
    subprocess.run([sys.executable, "-c", _AVERAGE_IN_BFLOAT16], check=True, cwd=ROOT, capture_output=True)


# --- held-out images


def split(coco, share, keep=lambda record: True):
    return training_and_validation(KeypointTraining(coco=coco, hold_out=share, seed=3), keep)


def test_held_out_images_come_from_train_where_there_is_a_val_split_too(synthetic_coco):
    records = load_coco(synthetic_coco, "train")
    expected = [[record.id for record in part] for part in hold_out(records, 0.25)]
    found = split(synthetic_coco, 0.25)
    assert [[record.id for record in part] for part in found] == expected
    assert len(expected[1]) == 8 and not set(expected[0]) & set(expected[1])


def test_stages_hold_out_the_same_images_whatever_they_can_use(synthetic_coco):
    held = {record.id for record in hold_out(load_coco(synthetic_coco, "train"), 0.25)[1]}
    for keep in (lambda record: record.id % 2, lambda record: record.id % 2 == 0):
        training, validation = split(synthetic_coco, 0.25, keep)
        assert {record.id for record in validation} <= held and not {record.id for record in training} & held
        assert all(keep(record) for record in training + validation)


def test_where_nothing_is_left_the_message_says_so(synthetic_coco):
    path = annotation_file(synthetic_coco, "train")
    with pytest.raises(UserError, match="--hold-out"):
        training_and_validation(
            PrnTraining(annotations=path, limit=1, hold_out=0.25), lambda record: True, images=False
        )


def test_val_is_the_default_and_0_validates_on_the_training_images(synthetic_coco):
    training, validation = split(synthetic_coco, None)
    assert (len(training), len(validation)) == (32, 16)
    training, validation = split(synthetic_coco, 0.0)
    assert len(training) == 32 and [r.id for r in validation] == [r.id for r in training]


def test_a_set_without_val_split_holds_out_a_small_share(synthetic_coco, tmp_path):
    shutil.copytree(synthetic_coco, tmp_path / "coco")
    (tmp_path / "coco" / "annotations" / "person_keypoints_val2017.json").unlink()
    found = [
        [[record.id for record in part] for part in split(coco, share)]
        for coco, share in ((tmp_path / "coco", None), (synthetic_coco, 0.02))
    ]
    assert found[0] == found[1]


def test_the_notes_say_what_was_held_out(averaged):
    with h5py.File(last_checkpoint(averaged, "prn")) as file:
        settings = json.loads(file.attrs["mpn"])["options"]
    assert settings["hold_out"] is None and settings["average"] == 0.5


# --- folded normalisation


def test_a_folded_backbone_is_stored_and_loaded_as_one(synthetic_coco, tmp_path):
    train(synthetic_coco, tmp_path / "m", "--epochs", 1, "--batch-normalization", "folded")
    networks = load_networks(tmp_path / "m", ("keypoints",))
    assert networks.config.folded
    assert not any("moving_variance" in variable.path for variable in networks.backbone.variables)
    plain = tmp_path / "plain"
    shutil.copytree(tmp_path / "m", plain)
    config = json.loads((plain / "config.json").read_text())
    (plain / "config.json").write_text(json.dumps(config | {"folded": False}))
    with pytest.raises(UserError, match="folded is True there and False here"):
        load_networks(plain, ("keypoints",))
