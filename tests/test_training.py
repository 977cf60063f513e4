"""The three training scripts, run on a few small drawn images: files, refusals, and resuming after a kill."""

import csv
import gzip
import json
import math
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import h5py
import keras
import numpy as np
import pytest

from mpn.cli import run
from mpn.config import ModelConfig, load_config, save_section
from mpn.data.synthetic import write_synthetic_coco
from mpn.models.multiposenet import POSITION_PRIOR_FILE, Networks, weights_file
from mpn.models.weights import fingerprint, read_notes
from mpn.training.callbacks import ResumablePlateau, StopOnNonFiniteLoss
from mpn.training.loop import last_checkpoint, run_folder

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import train_keypoints  # noqa: E402
import train_person  # noqa: E402
import train_prn  # noqa: E402

ENVIRONMENT = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}
LEVELS = ("K2", "K3", "K4", "K5")


@pytest.fixture(scope="session")
def tiny_coco(tmp_path_factory):
    """Seven training and two validation images in COCO's layout."""
    folder = tmp_path_factory.mktemp("tiny_coco")
    write_synthetic_coco(folder, train=7, val=2, test=0, image_size=(128, 96), seed=3)
    return folder


@pytest.fixture(scope="session")
def labels_only(tiny_coco, tmp_path_factory):
    """The same set without its images."""
    folder = tmp_path_factory.mktemp("labels_only")
    shutil.copytree(tiny_coco / "annotations", folder / "annotations")
    return folder


def keypoint_arguments(coco, model, *more):
    return [
        *("--coco", coco, "--model", model),
        *("--backbone", "mobilenet_v2", "--width", 0.35, "--backbone-weights", "none"),
        *("--keypoint-channels", 16, "--keypoint-head-channels", 8, "--person-channels", 16),
        *("--person-head-channels", 16, "--image-size", 64, "--batch-size", 2, "--steps-per-epoch", 2),
        *("--learning-rate", 1e-3, "--workers", 2, *more),
    ]


def person_arguments(coco, model, *more):
    sizes = ("--image-size", 64, 96, "--batch-size", 2, "--steps-per-epoch", 2, "--workers", 2)
    return ["--coco", coco, "--model", model, *sizes, *more]


def prn_arguments(model, *more):
    sizes = ("--nodes", 8, "--batch-size", 4, "--steps-per-epoch", 2, "--workers", 2)
    return ["--model", model, *sizes, *more]


def call(script, arguments):
    """`main(argv)` of a script, seeded otherwise each time: what a run does must come from its own --seed."""
    keras.utils.set_random_seed(time.time_ns() % 2**31)
    script.main([str(argument) for argument in arguments])


def exit_of(script, arguments, capsys):
    """Exit status and stderr of a script run as from the shell."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        run(script.main, [str(argument) for argument in arguments])
    return caught.value.code, capsys.readouterr().err


def assert_one_sentence(error):
    assert error.startswith("error: ") and error.count("\n") == 1, error


def log_of(model, stage):
    with open(run_folder(model, stage) / "log.csv", newline="") as file:
        return list(csv.DictReader(file))


def state_of(model, stage):
    return read_notes(last_checkpoint(model, stage))["state"]


def datasets_of(path):
    """All arrays of an HDF5 file by name."""
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return found


def assert_same_training(one, other):
    """Two checkpoints hold the same weights and the same optimizer."""
    first, second = datasets_of(one), datasets_of(other)
    assert first.keys() == second.keys() and any("optimizer" in name for name in first)
    for name, value in first.items():
        np.testing.assert_allclose(second[name], value, rtol=1e-3, atol=1e-5, err_msg=name)


def assert_same_log(model, other, stage):
    rows, others = log_of(model, stage), log_of(other, stage)
    assert [row["epoch"] for row in others] == [row["epoch"] for row in rows]
    for row, second in zip(rows, others, strict=True):
        for key in row:
            assert float(second[key]) == pytest.approx(float(row[key]), rel=1e-3), key


# --- stage 1


@pytest.fixture(scope="session")
def stage_1(tiny_coco, tmp_path_factory):
    """A model directory after three epochs of stage 1; tests must not change it."""
    model = tmp_path_factory.mktemp("stage_1") / "model"
    call(train_keypoints, keypoint_arguments(tiny_coco, model, "--epochs", 3))
    return model


@pytest.fixture
def after_stage_1(stage_1, tmp_path):
    return shutil.copytree(stage_1, tmp_path / "model")


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
    model = Networks.load(stage_1, ("keypoints",)).keypoint_model()
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


def test_resume_at_the_end_says_raise_epochs(tiny_coco, after_stage_1, capsys):
    arguments = keypoint_arguments(tiny_coco, after_stage_1, "--epochs", 3, "--resume")
    code, error = exit_of(train_keypoints, arguments, capsys)
    assert code == 1 and "raise --epochs" in error
    assert_one_sentence(error)


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
        [str(word) for word in (sys.executable, ROOT / "train_keypoints.py", *arguments)],
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


# --- stage 2


def test_stage_2_leaves_the_backbone_as_it_is(tiny_coco, stage_1, after_stage_1):
    stored = weights_file(after_stage_1, "keypoints").read_bytes()
    before = fingerprint(Networks.load(stage_1, ("keypoints",)).backbone)
    call(train_person, person_arguments(tiny_coco, after_stage_1, "--epochs", 2, "--learning-rate", 0.01))
    assert weights_file(after_stage_1, "keypoints").read_bytes() == stored
    networks = Networks.load(after_stage_1, ("keypoints", "person"))
    assert fingerprint(networks.backbone) == before
    assert read_notes(weights_file(after_stage_1, "person"))["backbone_fingerprint"] == before
    # What was trained is the subnet: classification starts from a bias of -log 99 and moves.
    bias = networks.person_detector.subnet.get_layer("classification_submodel").weights[-1].numpy()
    assert np.abs(bias + math.log(99)).max() > 1e-3
    # The checkpoint of the stage holds the backbone too, statistics of batch normalisation included.
    trained = [value.tobytes() for value in datasets_of(last_checkpoint(after_stage_1, "person")).values()]
    assert {weight.tobytes() for weight in networks.backbone.get_weights()} <= set(trained)
    rows = log_of(after_stage_1, "person")
    assert [row["epoch"] for row in rows] == ["0", "1"]
    for column in ("classification_loss", "regression_loss", "val_classification_loss", "val_regression_loss"):
        assert all(math.isfinite(float(row[column])) for row in rows)
    assert list(run_folder(after_stage_1, "person").rglob("events.out.tfevents.*"))


@pytest.mark.slow
def test_stage_2_resumes(tiny_coco, after_stage_1, stage_1, tmp_path):
    other = shutil.copytree(stage_1, tmp_path / "other")
    call(train_person, person_arguments(tiny_coco, after_stage_1, "--epochs", 2))
    call(train_person, person_arguments(tiny_coco, other, "--epochs", 1))
    call(train_person, person_arguments(tiny_coco, other, "--epochs", 2, "--resume"))
    assert_same_log(after_stage_1, other, "person")
    assert_same_training(last_checkpoint(after_stage_1, "person"), last_checkpoint(other, "person"))


def test_stage_2_before_stage_1_is_refused(tiny_coco, tmp_path, capsys):
    code, error = exit_of(train_person, person_arguments(tiny_coco, tmp_path / "new"), capsys)
    assert code == 1 and "train_keypoints.py" in error
    assert_one_sentence(error)


def test_stage_2_after_stage_3_alone_is_refused(tiny_coco, stage_3, capsys):
    code, error = exit_of(train_person, person_arguments(tiny_coco, stage_3), capsys)
    assert code == 1 and "train_keypoints.py" in error
    assert_one_sentence(error)


# --- stage 3


@pytest.fixture(scope="session")
def stage_3(labels_only, tmp_path_factory):
    """A model directory after two epochs of stage 3 alone; tests must not change it."""
    model = tmp_path_factory.mktemp("stage_3") / "model"
    call(train_prn, prn_arguments(model, "--coco", labels_only, "--epochs", 2))
    return model


def test_stage_3_needs_neither_images_nor_the_other_stages(stage_3):
    with h5py.File(weights_file(stage_3, "prn")) as file:
        assert "optimizer" not in file  # that is for the checkpoint alone
    with h5py.File(last_checkpoint(stage_3, "prn")) as file:
        assert "optimizer" in file
    assert load_config(stage_3).prn_nodes == 8
    networks = Networks.load(stage_3, ("prn",))
    rois = np.random.default_rng(0).random((1, 56, 36, 17), np.float32)
    assert np.isfinite(networks.prn.predict_on_batch(rois)).all()
    assert (stage_3 / POSITION_PRIOR_FILE).is_file()
    sums = networks.position_prior.sum(axis=(0, 1))
    np.testing.assert_allclose(sums, np.ones(17), rtol=1e-4)
    assert [row["epoch"] for row in log_of(stage_3, "prn")] == ["0", "1"]
    assert last_checkpoint(stage_3, "prn").is_file()
    assert list(run_folder(stage_3, "prn").rglob("events.out.tfevents.*"))


def test_stage_3_from_a_compressed_file(tiny_coco, tmp_path):
    source = tiny_coco / "annotations" / "person_keypoints_train2017.json"
    path = tmp_path / "labels.json.gz"
    path.write_bytes(gzip.compress(source.read_bytes()))
    call(train_prn, prn_arguments(tmp_path / "model", "--annotations", path, "--epochs", 1, "--loss", "cross-entropy"))
    assert weights_file(tmp_path / "model", "prn").is_file()
    assert math.isfinite(float(log_of(tmp_path / "model", "prn")[0]["val_loss"]))


def test_stage_3_keeps_the_other_stages_configuration(labels_only, after_stage_1):
    before = load_config(after_stage_1)
    call(train_prn, prn_arguments(after_stage_1, "--coco", labels_only, "--epochs", 1, "--no-residual", "--layers", 2))
    assert load_config(after_stage_1) == before.replace(prn_nodes=8, prn_layers=2, prn_residual=False)
    Networks.load(after_stage_1, ("keypoints", "prn"))


def test_stage_3_resumes_with_its_dropout(labels_only, stage_3, tmp_path):
    model = tmp_path / "model"
    call(train_prn, prn_arguments(model, "--coco", labels_only, "--epochs", 1))
    call(train_prn, prn_arguments(model, "--coco", labels_only, "--epochs", 2, "--resume"))
    assert_same_log(stage_3, model, "prn")
    assert_same_training(last_checkpoint(stage_3, "prn"), last_checkpoint(model, "prn"))


def test_another_seed_is_another_run(labels_only, stage_3, tmp_path):
    call(train_prn, prn_arguments(tmp_path / "model", "--coco", labels_only, "--epochs", 1, "--seed", 1))
    assert log_of(tmp_path / "model", "prn")[0]["loss"] != log_of(stage_3, "prn")[0]["loss"]


def test_another_architecture_is_not_resumed(labels_only, stage_3, tmp_path, capsys):
    model = shutil.copytree(stage_3, tmp_path / "model")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "prn_nodes": 9}))
    code, error = exit_of(train_prn, prn_arguments(model, "--coco", labels_only, "--epochs", 3, "--resume"), capsys)
    assert code == 1 and "prn_nodes is 8 there and 9 here" in error
    assert_one_sentence(error)


def test_an_epoch_logged_but_not_stored_is_not_logged_twice(labels_only, stage_3, tmp_path):
    """A run killed after its log's line and before its checkpoint repeats that epoch."""
    model = tmp_path / "model"
    call(train_prn, prn_arguments(model, "--coco", labels_only, "--epochs", 1))
    log = run_folder(model, "prn") / "log.csv"
    unfinished = log.read_text().splitlines()[1].replace("0,", "1,", 1)
    log.write_text(f"{log.read_text()}{unfinished}\n{unfinished[:9]}")
    call(train_prn, prn_arguments(model, "--coco", labels_only, "--epochs", 2, "--resume"))
    assert_same_log(stage_3, model, "prn")


def test_a_log_without_checkpoint_is_begun_anew(labels_only, tmp_path):
    """A first epoch may be logged and the run killed before its checkpoint."""
    model = tmp_path / "model"
    run_folder(model, "prn").mkdir(parents=True)
    (run_folder(model, "prn") / "log.csv").write_text("epoch,accuracy\n0,0.5\n")
    call(train_prn, prn_arguments(model, "--coco", labels_only, "--epochs", 1))
    (row,) = log_of(model, "prn")
    assert row["epoch"] == "0" and float(row["val_loss"]) > 0


# --- what goes wrong


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
    callback = StopOnNonFiniteLoss()
    callback.on_epoch_begin(4)
    callback.on_train_batch_end(6, {"loss": 0.5})
    with pytest.raises(FloatingPointError, match="step 8 of epoch 5"):
        callback.on_train_batch_end(7, {"loss": value})


def plateau_on(learning_rate):
    """A schedule with patience 2 on a compiled model."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(learning_rate), "mse")
    plateau = ResumablePlateau(2, 1e-6)
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
    plateau, model = plateau_on(3e-6)
    plateau.on_train_begin()
    for epoch in range(9):
        plateau.on_epoch_end(epoch, {"val_loss": 1.0})
    assert float(model.optimizer.learning_rate) == pytest.approx(1e-6)


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


def test_image_size_must_be_a_multiple_of_32(tiny_coco, tmp_path, capsys):
    arguments = keypoint_arguments(tiny_coco, tmp_path / "model", "--image-size", 100)
    code, error = exit_of(train_keypoints, arguments, capsys)
    assert code == 1 and "100" in error
    assert_one_sentence(error)


# --- several devices

TWO_DEVICES = """
import sys
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import mpn.training.keypoints as stage
import train_keypoints

strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
assert strategy.num_replicas_in_sync == 2
stage.strategy_scope = strategy.scope
train_keypoints.main(sys.argv[1:])
"""


@pytest.mark.slow
def test_stage_1_trains_on_two_devices_as_on_one(tiny_coco, stage_1, tmp_path):
    """MirroredStrategy halves the batches, and the log is that of one device."""
    arguments = keypoint_arguments(tiny_coco, tmp_path / "model", "--epochs", 3)
    done = subprocess.run(
        [sys.executable, "-c", TWO_DEVICES, *(str(argument) for argument in arguments)],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        cwd=ROOT,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert_same_log(stage_1, tmp_path / "model", "keypoints")
    Networks.load(tmp_path / "model", ("keypoints",))


def test_a_damaged_training_image_ends_the_run_with_its_name(tiny_coco, tmp_path):
    """In a process of its own: TensorFlow's data threads must not keep it alive."""
    coco = tmp_path / "coco"
    shutil.copytree(tiny_coco, coco)
    for path in (coco / "train2017").iterdir():
        path.write_bytes(path.read_bytes()[:500])
    command = [sys.executable, "train_keypoints.py", *keypoint_arguments(coco, tmp_path / "model")]
    result = subprocess.run([str(a) for a in command], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("error: image") and "truncated" in last
    assert not (tmp_path / "model" / "keypoints.weights.h5").exists()


def test_stages_do_not_undo_each_others_configuration(tmp_path):
    save_section(ModelConfig(backbone="mobilenet_v2"), tmp_path, "keypoints")
    save_section(ModelConfig(prn_nodes=7), tmp_path, "prn")  # started when there was no config.json yet
    save_section(ModelConfig(backbone="mobilenet_v2", width=0.5), tmp_path, "keypoints")
    config = load_config(tmp_path)
    assert (config.backbone, config.width, config.prn_nodes) == ("mobilenet_v2", 0.5, 7)
