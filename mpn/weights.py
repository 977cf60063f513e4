"""Weights files: Keras' .weights.h5 with notes on the architecture and a checksum; weights of keras.applications."""

import errno
import hashlib
import json
import math
import os
import pathlib

import h5py
import keras
import numpy as np

from mpn.config import ModelConfig
from mpn.errors import UserError
from mpn.files import atomic_path, make_writable
from mpn.models.backbone import copy_backbone_weights

# Number formats of a file; loaded variables are always float32.
STORAGES = ("float32", "float16")

# Attributes of a file: the notes as JSON, and `_checksum`.
_NOTES = "mpn"
_CHECKSUM = "mpn_sha256"

# More than an HDF5 file needs besides the numbers.
_SPARE_BYTES = 1 << 20

_APPLICATIONS = {
    "resnet50": keras.applications.ResNet50,
    "resnet101": keras.applications.ResNet101,
    "mobilenet_v2": keras.applications.MobileNetV2,
}


def save_weights(model, path, notes, storage="float32"):
    """Writes a model's weights, and its optimizer's state if it has one, atomically; makes the folder if needed.

    `path` ends in .weights.h5; `notes` is a JSON-able dict. "float16" is for inference: it leaves out the optimizer and
    halves kernels. Vectors stay float32: they are small, and variances of the first batch normalisation may exceed
    float16. Raises UserError where a weight is not finite or too large for float16, OSError where the disk is too full.
    """
    _check_storage(model, storage)
    # Checked first: on a full disk, the HDF5 library ends the whole program.
    make_writable(pathlib.Path(path).parent, needed_bytes(model, storage))
    with atomic_path(path) as temporary:
        model.save_weights(temporary)
        if storage == "float16":
            _rewrite_in_float16(temporary)
        with h5py.File(temporary, "r+") as file:
            file.attrs[_NOTES] = json.dumps(notes)
            file.attrs[_CHECKSUM] = _checksum(file)


def needed_bytes(model, storage="float32"):
    """Bytes of disk space that `save_weights` needs."""
    variables = [*model.variables, *(model.optimizer.variables if getattr(model, "optimizer", None) else ())]
    # A complete float32 file is written first, and float16 is made from it.
    return sum(stored_bytes(variables, form) for form in {"float32", storage}) + _SPARE_BYTES


def stored_bytes(variables, storage="float32"):
    """Bytes that the numbers of some variables take in a file."""
    return sum((2 if _in_float16(v, storage) else np.dtype(v.dtype).itemsize) * math.prod(v.shape) for v in variables)


def read_notes(path):
    """The notes of a weights file; UserError where it is missing, damaged or not of `save_weights`."""
    return _read(path, _notes)


def load_weights(model, path, architecture):
    """Loads a file into a built keras.Model and returns its notes; UserError if damaged or of another architecture."""
    notes = check_architecture(path, architecture)
    check_numbers(path)
    try:
        model.load_weights(path)
    except Exception as error:  # Keras passes on many classes of errors
        text = f"{path} does not fit the model or is damaged ({_reason(error)}): train or copy it again"
        raise UserError(text) from error
    return notes


def check_architecture(path, architecture):
    """Returns the notes of a weights file; UserError if they have another architecture. Needs no model."""
    notes = read_notes(path)
    # Older files lack newer fields, which then have their defaults.
    stored = {key: getattr(ModelConfig, key, None) for key in architecture} | notes.get("architecture", {})
    both = ((key, stored.get(key), architecture.get(key)) for key in sorted({*stored, *architecture}))
    if differing := [f"{key} is {there!r} there and {here!r} here" for key, there, here in both if there != here]:
        raise UserError(
            f"{path} holds weights of another architecture: {'; '.join(differing)}; correct config.json, or train in "
            "another --model directory"
        )
    return notes


def check_numbers(path):
    """Reads a weights file completely; UserError if a number is not finite or not the one that was written."""
    if fault := _read(path, _fault):
        raise UserError(f"{path} {fault}: train or copy it again")


def fingerprint(model, storage="float32"):
    """SHA-256 in hex of names, shapes and values of a model's weights, as a file of this storage gives them back."""
    digest = hashlib.sha256()
    for variable in model.weights:
        value = _as_loaded(np.ascontiguousarray(variable.numpy()), storage)
        digest.update(f"{variable.path} {value.shape} {value.dtype}".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


def load_backbone_weights(backbone, weights, width=1.0):
    """Loads classification weights of keras.applications into a model of `build_backbone`.

    `weights` is "imagenet" (Keras downloads them), "none", or a file of the same architecture and width without its
    top. Raises UserError where the file is missing or does not fit, or the download fails.
    """
    if weights == "none":
        return
    if weights != "imagenet" and not pathlib.Path(weights).is_file():
        raise UserError(f"backbone weights {weights} do not exist: pass imagenet, none or a local .h5 file")
    alpha = {"alpha": width} if backbone.name == "mobilenet_v2" else {}
    build = _APPLICATIONS[backbone.name]
    try:
        source = build(weights=str(weights), include_top=False, input_shape=(None, None, 3), **alpha)
    except Exception as error:  # Keras raises a different class for each fault of a file
        raise UserError(
            f"cannot load backbone weights {weights} into {backbone.name} of width {width:g} ({_reason(error)}): pass "
            "an .h5 file of keras.applications without the top, which you may download elsewhere, or none"
        ) from error
    copy_backbone_weights(backbone, source)


def _reason(error):
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _read(path, function):
    """Calls a function with an opened weights file."""
    try:
        with h5py.File(path, "r") as file:
            return function(file)
    except FileNotFoundError as error:
        raise UserError(f"the weights {path} do not exist") from error
    except PermissionError as error:  # h5py's message does not name the file
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path)) from error
    except (OSError, LookupError, ValueError, TypeError, RuntimeError) as error:  # h5py raises all of these
        raise UserError(f"{path} is damaged or not a weights file of this project: train or copy it again") from error


def _notes(file):
    notes = json.loads(_text_of_notes(file))
    if not isinstance(notes, dict) or not isinstance(notes.get("architecture", {}), dict):
        raise ValueError("notes of another kind")
    return notes


def _text_of_notes(file):
    text = file.attrs[_NOTES]
    if not isinstance(text, str):  # h5py gives other kinds of text as bytes
        raise ValueError("notes of another kind")
    return text


def _fault(file):
    """Says what is wrong with the numbers of a readable file; None if nothing is."""
    size = pathlib.Path(file.filename).stat().st_size
    for name, data in _datasets(file):
        # The header of a damaged file may ask for any amount of memory; our files hold all their numbers in one piece.
        if data.dtype.kind not in "fiu" or data.chunks or data.external or data.is_virtual or data.nbytes > size:
            return f"holds {name} in another form than this project writes"
        if data.dtype.kind == "f" and not name.startswith("optimizer") and not np.isfinite(data[()]).all():
            return f"holds numbers that are not finite ({name})"
    checksum = _checksum(file)
    if file.attrs.get(_CHECKSUM, checksum) != checksum:  # old files have none
        return "is damaged: its numbers are not those that were written"
    return None


def _checksum(file):
    """SHA-256, in hex, of notes, names, types, shapes and numbers of a weights file."""
    digest = hashlib.sha256(_text_of_notes(file).encode())
    for name, data in _datasets(file):
        value = data[()]
        digest.update(f"{name} {value.dtype.str} {value.shape}".encode())
        digest.update(np.ascontiguousarray(value))
    return digest.hexdigest()


def _datasets(file):
    """(name, h5py.Dataset) of all datasets of a file, sorted by name."""
    found = {}
    file.visititems(lambda name, item: found.update({name: item}) if isinstance(item, h5py.Dataset) else None)
    return sorted(found.items())


def _in_float16(array, storage):
    """Whether a variable, array or HDF5 dataset is stored in float16."""
    return storage == "float16" and str(array.dtype) == "float32" and len(array.shape) > 1


def _as_loaded(value, storage):
    """A numpy array as a file gives it back."""
    if not _in_float16(value, storage):
        return value
    with np.errstate(over="ignore"):  # `_check_storage` has a better message
        return value.astype(np.float16).astype(np.float32)


def _check_storage(model, storage):
    if storage not in STORAGES:
        raise UserError(f"storage must be one of {', '.join(STORAGES)}, not {storage!r}")
    for variable in model.variables if storage == "float16" else ():
        value = variable.numpy()
        if not np.isfinite(_as_loaded(value, storage)).all():
            hold = f"the weights {variable.path} hold {value.flat[np.abs(value).argmax()]:g}"
            raise UserError(f"{hold}, and float16 stores finite numbers up to 65504 only: store them in float32")


def _rewrite_in_float16(path):
    """Replaces a complete weights file by one for inference; see `save_weights`."""
    # A new file, since deleting data from an HDF5 file does not make it smaller.
    with atomic_path(path) as temporary, h5py.File(path, "r") as source, h5py.File(temporary, "w") as target:
        for name, data in _datasets(source):
            if not name.startswith("optimizer/"):
                target[name] = data[()].astype(np.float16 if _in_float16(data, "float16") else data.dtype)
