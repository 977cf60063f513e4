"""What other projects leave in variables and keras.json does not change mpn."""

import json
import os
import pathlib
import re
import subprocess
import sys

import keras
import pytest
from runs import ENVIRONMENT, ROOT, assert_one_sentence

from mpn.cli.script import run
from mpn.environment import _keras_json, pin_environment, pin_keras
from mpn.errors import UserError

FOREIGN = {
    "KERAS_BACKEND": "jax",
    "TF_USE_LEGACY_KERAS": "1",
    "KERAS_NNX_ENABLED": "true",
    "KERAS_MAX_EPOCHS": "1",
    "KERAS_MAX_STEPS_PER_EPOCH": "x",
}

NEEDED = {"KERAS_BACKEND": "tensorflow", "KERAS_NNX_ENABLED": "false"}


def test_variables_of_other_projects_are_set_aside_and_named(capsys):
    variables = {**FOREIGN, "HOME": "/home/me", "OPENCV_LOG_LEVEL": "INFO"}
    pin_environment(variables)
    assert variables == {**NEEDED, "HOME": "/home/me", "OPENCV_LOG_LEVEL": "INFO"}
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(FOREIGN)
    for name, value in FOREIGN.items():
        assert sum(f"{name}={value} " in line for line in lines) == 1


@pytest.mark.parametrize("variables", [{}, NEEDED, {"TF_USE_LEGACY_KERAS": "0", "KERAS_NNX_ENABLED": "0"}])
def test_nothing_is_said_about_variables_that_suit(variables, capsys):
    pin_environment(variables)
    assert variables == {**NEEDED, "OPENCV_LOG_LEVEL": "FATAL"}
    assert capsys.readouterr().err == ""


def test_settings_of_keras_are_put_right(capsys):
    policy = keras.config.dtype_policy()
    keras.config.set_floatx("float16")
    keras.config.set_dtype_policy("float16")
    keras.config.set_epsilon(1e-3)
    keras.config.set_image_data_format("channels_first")
    try:
        pin_keras()
        assert keras.config.dtype_policy().name == keras.config.floatx() == "float32"
        assert keras.config.epsilon() == 1e-7
        assert keras.config.image_data_format() == "channels_last"
    finally:
        keras.config.set_dtype_policy(policy)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3 and all("keras.json" in line for line in lines)
    pin_keras()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "content", ['{"floatx": "float8"}', '{"floatx": null}', '{"epsilon": "1e-7"}', '{"image_data_format": "th"}', "[]"]
)
def test_a_keras_json_that_keras_refuses_is_named(content, tmp_path, monkeypatch):
    (tmp_path / "keras.json").write_text(content)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    with pytest.raises(UserError, match=str(tmp_path / "keras.json")):
        pin_keras()


@pytest.mark.parametrize("content", ["", "{", '{"backend": "theano", "image_dim_ordering": "th"}'])
def test_a_keras_json_that_keras_passes_over_is_no_error(content, tmp_path, monkeypatch):
    (tmp_path / "keras.json").write_text(content)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    pin_keras()


def test_another_backend_is_one_sentence(monkeypatch):
    monkeypatch.setattr(keras.config, "backend", lambda: "jax")
    with pytest.raises(UserError, match="Keras was imported before mpn"):
        pin_keras()


def test_keras_json_is_looked_for_where_keras_does(tmp_path, monkeypatch):
    monkeypatch.delenv("KERAS_HOME", raising=False)
    for home, expected in ((str(tmp_path), tmp_path), (str(tmp_path / "none"), pathlib.Path("/tmp"))):
        monkeypatch.setenv("HOME", home)
        assert _keras_json() == expected / ".keras" / "keras.json"
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # no HOME, and no entry of the user either
    assert _keras_json() == pathlib.Path("/tmp/.keras/keras.json")


def test_a_missing_library_of_the_system_is_named(capsys):
    def main(_):
        raise ImportError("libGL.so.1: cannot open shared object file: No such file or directory")

    with pytest.raises(SystemExit) as caught:
        run(main, [])
    error = capsys.readouterr().err
    assert caught.value.code == 1 and "libGL.so.1" in error and "opencv-python-headless" in error
    assert_one_sentence(error)


def test_other_failed_imports_are_not_the_users():
    def main(_):
        raise ImportError("cannot import name 'people' from 'mpn'")

    with pytest.raises(ImportError, match="people"):
        run(main, [])


def test_every_dependency_has_an_oldest_version_that_is_tested():
    """What `.ci/oldest` makes of setup.py leaves none out."""
    needed = (ROOT / "setup.py").read_text().partition("install_requires=[")[2].partition("]")[0]
    (command,) = re.findall(r"^sed .* setup\.py", (ROOT / ".ci" / "oldest").read_text(), re.MULTILINE)
    oldest = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=ROOT, check=True).stdout
    names = re.findall(r'^ +"([a-z0-9-]+)', needed, re.MULTILINE)
    assert re.findall(r"^([a-z0-9-]+)==\d", oldest, re.MULTILINE) == names


PREDICTION = """
import numpy as np
from mpn import MultiPoseNet
import keras

people = MultiPoseNet.load("small").predict(np.zeros((64, 64, 3), np.uint8))
print(keras.config.backend(), keras.config.floatx(), keras.config.image_data_format(), len(people))
"""


def test_a_model_predicts_where_everything_is_set_for_others(tmp_path):
    settings = {"floatx": "float16", "epsilon": 1e-3, "backend": "theano", "image_data_format": "channels_first"}
    (tmp_path / "keras.json").write_text(json.dumps({**settings, "nnx_enabled": True}))
    foreign = {**FOREIGN, "KERAS_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", PREDICTION],
        capture_output=True,
        text=True,
        env={**ENVIRONMENT, **foreign},
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split()[:3] == ["tensorflow", "float32", "channels_last"]
    assert "KERAS_BACKEND=jax" in done.stderr and str(tmp_path / "keras.json") in done.stderr
