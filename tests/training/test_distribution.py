"""Several devices train as one does: the first steps of each stage on one and on two logical CPUs."""

import json
import subprocess
import sys

import numpy as np
import pytest
from runs import ENVIRONMENT, ROOT, datasets_of, keypoint_arguments, log_of, person_arguments, prn_arguments

from mpn.errors import UserError
from mpn.model_directory import last_checkpoint
from mpn.training import distribution

STAGES = ("keypoints", "person", "prn")

STEPS = """
import importlib
import json
import shutil
import sys

import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

import keras
from keras import layers

from mpn.models import networks
from mpn.training import distribution


def tiny_backbone(*_):
    x = images = keras.Input((None, None, 3))
    x = layers.Rescaling(1 / 127.5, offset=-1.0)(x)
    features = {}
    for level, stride in (("C2", 4), ("C3", 2), ("C4", 2), ("C5", 2)):
        x = layers.BatchNormalization()(layers.Conv2D(8, 3, stride, padding="same")(x))
        features[level] = x = layers.Activation("relu")(x)
    model = keras.Model(images, features)
    model.strides = {"C2": 4, "C3": 8, "C4": 16, "C5": 32}
    return model


networks.build_backbone = tiny_backbone
for devices in (1, 2):
    distribution.training_devices = lambda: ["CPU:0", "CPU:1"][:devices]
    for stage, arguments in json.loads(sys.argv[1]).items():
        importlib.import_module(f"train_{stage}").main([argument.format(devices) for argument in arguments])
        if stage == "keypoints":  # stage 2 starts from the same backbone
            shutil.copytree("keypoints_1", f"person_{devices}")
"""


@pytest.fixture(scope="module")
def trained(tiny_coco, tmp_path_factory):
    """Folder of the model directories STAGE_DEVICES after two steps of each stage."""
    folder = tmp_path_factory.mktemp("devices")
    # The last of seven images leaves one of two devices without work in validation.
    shared = ("--epochs", 1, "--hold-out", 0, "--seed", 5)
    runs = {
        "keypoints": keypoint_arguments(tiny_coco, "keypoints_{}", *shared),
        "person": person_arguments(tiny_coco, "person_{}", *shared),
        # Each device drops units of its own.
        "prn": prn_arguments("prn_{}", "--coco", tiny_coco, *shared, "--dropout", 0),
    }
    done = subprocess.run(
        [sys.executable, "-c", STEPS, json.dumps({stage: [str(a) for a in run] for stage, run in runs.items()})],
        capture_output=True,
        text=True,
        env={**ENVIRONMENT, "PYTHONPATH": str(ROOT)},
        cwd=folder,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.parametrize("stage", STAGES)
def test_two_devices_train_as_one_does(trained, stage):
    """The loss, the weights, and the optimizer's means of gradients and of their squares."""
    one, two = (trained / f"{stage}_{devices}" for devices in (1, 2))
    (row,), (other,) = log_of(one, stage), log_of(two, stage)
    for name in ("loss", "val_loss"):
        assert float(other[name]) == pytest.approx(float(row[name]), rel=1e-4), name
    expected, found = (datasets_of(last_checkpoint(model, stage)) for model in (one, two))
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        difference = np.linalg.norm(found[name].astype(float) - value)
        print(name, difference / max(np.linalg.norm(value.astype(float)), 1e-30))
        assert difference <= 1e-4 * np.linalg.norm(value.astype(float)), name


def test_a_batch_must_divide_among_the_devices(monkeypatch):
    monkeypatch.setattr(distribution, "training_devices", lambda: ["GPU:0", "GPU:1", "GPU:2"])
    with pytest.raises(UserError, match="batch_size 4 does not divide among 3 GPUs"):
        distribution.strategy_scope(4)
