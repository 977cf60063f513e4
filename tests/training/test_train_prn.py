"""Stage 3, run on the labels of a few drawn images."""

import gzip
import json
import math
import shutil

import h5py
import numpy as np
from runs import (
    assert_one_sentence,
    assert_same_log,
    assert_same_training,
    call,
    exit_of,
    log_of,
    prn_arguments,
)

import train_prn  # noqa: E402
from mpn.model_directory import (
    POSITION_PRIOR_FILE,
    last_checkpoint,
    load_config,
    load_networks,
    run_folder,
    weights_file,
)


def test_stage_3_needs_neither_images_nor_the_other_stages(stage_3):
    with h5py.File(weights_file(stage_3, "prn")) as file:
        assert "optimizer" not in file  # that is for the checkpoint alone
    with h5py.File(last_checkpoint(stage_3, "prn")) as file:
        assert "optimizer" in file
    assert load_config(stage_3).prn_nodes == 8
    networks = load_networks(stage_3, ("prn",))
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
    load_networks(after_stage_1, ("keypoints", "prn"))


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
