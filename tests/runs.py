"""What tests of the training scripts share: short runs, and what they leave behind."""

import csv
import os
import pathlib
import time

import h5py
import keras
import numpy as np
import pytest

from mpn.cli.script import run
from mpn.model_directory import last_checkpoint, run_folder
from mpn.weights import read_notes

ROOT = pathlib.Path(__file__).resolve().parents[1]
ENVIRONMENT = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONPATH": str(ROOT)}


def keypoint_arguments(coco, model, *more):
    return [
        *("--coco", coco, "--model", model),
        *("--backbone", "mobilenet_v2", "--width", 0.35, "--backbone-weights", "none"),
        *("--channels", 16, 8, 16, 16, "--image-size", 64, "--batch-size", 2),
        *("--steps-per-epoch", 2, "--learning-rate", 1e-3, *more),
    ]


def person_arguments(coco, model, *more):
    sizes = ("--image-size", 64, 96, "--batch-size", 2, "--steps-per-epoch", 2)
    return ["--coco", coco, "--model", model, *sizes, *more]


def prn_arguments(model, *more):
    sizes = ("--nodes", 8, "--batch-size", 4, "--steps-per-epoch", 2)
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
