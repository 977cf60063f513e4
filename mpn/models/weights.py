"""Weights files: Keras' own .weights.h5 with the architecture they fit written beside the numbers."""

import errno
import hashlib
import json
import os
import pathlib
import shutil

import h5py
import numpy as np

from mpn.errors import UserError
from mpn.files import atomic_path

_ATTRIBUTE = "mpn"

# What an HDF5 file needs besides the numbers, generously.
_SPARE_BYTES = 1 << 20


def save_weights(model, path, notes):
    """Writes a model's weights, and its optimizer's state where it has one, atomically.

    Args:
        model: a built keras.Model.
        path: file whose name ends in .weights.h5; its folder is created if need be.
        notes: JSON-able dict stored in the file.

    Raises:
        OSError: the file cannot be written, or the disk has too little space for it.
    """
    folder = pathlib.Path(path).parent
    folder.mkdir(parents=True, exist_ok=True)
    variables = [*model.variables, *(model.optimizer.variables if getattr(model, "optimizer", None) else ())]
    if (
        shutil.disk_usage(folder).free
        < sum(np.dtype(v.dtype).itemsize * np.prod(v.shape) for v in variables) + _SPARE_BYTES
    ):
        # Asked beforehand, because the HDF5 library ends the whole program when a disk fills up under it.
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    with atomic_path(path) as temporary:
        model.save_weights(temporary)
        with h5py.File(temporary, "r+") as file:
            file.attrs[_ATTRIBUTE] = json.dumps(notes)


def read_notes(path):
    """The notes of a weights file.

    Raises:
        UserError: the file is missing, damaged, or was not written by `save_weights`.
    """
    try:
        with h5py.File(path, "r") as file:
            return json.loads(file.attrs[_ATTRIBUTE])
    except FileNotFoundError as error:
        raise UserError(f"the weights {path} do not exist") from error
    except (OSError, KeyError, ValueError) as error:
        raise UserError(f"{path} is damaged or not a weights file of this project: train or copy it again") from error


def load_weights(model, path, architecture):
    """Loads weights into a model built in code.

    Args:
        model: a built keras.Model.
        path: a file of `save_weights`.
        architecture: dict that must equal the notes' "architecture".

    Returns:
        the file's notes.

    Raises:
        UserError: the file is missing, damaged or of another architecture; the message names what differs.
    """
    notes = read_notes(path)
    stored = notes.get("architecture", {})
    differing = [
        f"{key} is {stored.get(key)!r} there and {architecture.get(key)!r} here"
        for key in sorted({*stored, *architecture})
        if stored.get(key) != architecture.get(key)
    ]
    if differing:
        raise UserError(f"{path} holds weights of another architecture: {'; '.join(differing)}")
    try:
        model.load_weights(path)
    except Exception as error:  # Keras raises whatever h5py or a shape comparison raised
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"{path} does not fit the model or is damaged ({reason}): train or copy it again") from error
    return notes


def fingerprint(model):
    """SHA-256 over the names, shapes and values of all weights of a model: a hex string."""
    digest = hashlib.sha256()
    for variable in model.weights:
        value = np.ascontiguousarray(variable.numpy())
        digest.update(f"{variable.path} {value.shape} {value.dtype}".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()
