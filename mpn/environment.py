"""Corrects environment variables and keras.json where other projects changed them."""

import json
import os
import pathlib
import sys

from mpn.errors import UserError

# Values that Keras must find at import; None means not set.
_VARIABLES = {
    "KERAS_BACKEND": "tensorflow",  # keras-retinanet is TensorFlow
    "TF_USE_LEGACY_KERAS": None,  # Keras 2
    "KERAS_NNX_ENABLED": "false",  # JAX; if unset, keras.json decides
    "KERAS_MAX_EPOCHS": None,
    "KERAS_MAX_STEPS_PER_EPOCH": None,
}

_SETTINGS = {"floatx": "float32", "epsilon": 1e-7, "image_data_format": "channels_last"}


def cores():
    """Number of processor cores that this process may use, which Slurm and taskset limit."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def pin_environment(variables=os.environ):
    """Sets environment variables as mpn needs them, and names on stderr the ones that it changes."""
    for name, needed in _VARIABLES.items():
        found = variables.pop(name, None)
        off = needed in (None, "false") and (found or "").lower() in ("0", "false")
        if found and found != needed and not off:
            print(f"{name}={found} does not count here: mpn needs {needed or 'it unset'}", file=sys.stderr)
        if needed:
            variables[name] = needed
    variables.setdefault("OPENCV_LOG_LEVEL", "FATAL")  # our own messages name bad files


def pin_keras():
    """Imports Keras with mpn's settings, and names on stderr the settings of keras.json that it changes.

    Raises UserError if Keras cannot read keras.json, or was imported before mpn with another backend.
    """
    _check_keras_json()
    import keras
    import tensorflow as tf

    if keras.config.backend() != "tensorflow" or not tf.keras.__version__.startswith("3."):
        raise UserError(
            "Keras was imported before mpn, with another backend than TensorFlow or as Keras 2: import mpn first"
        )
    for name, needed in _SETTINGS.items():
        found = getattr(keras.config, name)()
        if found != needed:
            print(f"{name} {found} of {_keras_json()} does not count here: mpn needs {needed}", file=sys.stderr)
            getattr(keras.config, f"set_{name}")(needed)
            if name == "floatx":
                keras.config.set_dtype_policy(needed)


def _keras_json():
    """The path where Keras looks for keras.json."""
    home = os.path.expanduser("~")  # "~" if there is none
    folder = os.environ.get("KERAS_HOME", os.path.join(home if os.access(home, os.W_OK) else "/tmp", ".keras"))
    return pathlib.Path(os.path.expanduser(folder)) / "keras.json"


def _check_keras_json():
    """Refuses settings on which Keras would fail with a traceback."""
    path = _keras_json()
    try:
        settings = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError, ValueError):  # Keras ignores a file that is not JSON
        return
    except OSError as error:
        raise UserError(f"Keras cannot read {path} ({error.strerror}): remove it, or set KERAS_HOME") from error
    settings = settings if isinstance(settings, dict) else {"floatx": None}
    known = settings.get("floatx", "float32") in ("float16", "float32", "float64")
    known &= settings.get("image_data_format", "channels_last") in ("channels_last", "channels_first")
    if not (known and isinstance(settings.get("epsilon", 1e-7), float)):
        raise UserError(f"{path} has settings that Keras does not know: remove it, or set KERAS_HOME to another folder")
