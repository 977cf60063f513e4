"""Weights files: Keras' .weights.h5, with notes on the architecture and a checksum; weights of keras.applications."""

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

# How a file stores its numbers; loading always gives float32 variables.
STORAGES = ("float32", "float16")

# Attributes of a file: the notes as JSON, and the SHA-256 of notes and numbers, see `_checksum`.
_NOTES = "mpn"
_CHECKSUM = "mpn_sha256"

# Space that an HDF5 file needs besides the numbers, estimated generously.
_SPARE_BYTES = 1 << 20

_APPLICATIONS = {
    "resnet50": keras.applications.ResNet50,
    "resnet101": keras.applications.ResNet101,
    "mobilenet_v2": keras.applications.MobileNetV2,
}


def save_weights(model, path, notes, storage="float32"):
    """Writes a model's weights and, if it has one, its optimizer's state, atomically.

    Args:
        model: a built keras.Model.
        path: file name ending in .weights.h5; its folder is created if needed.
        notes: JSON-able dict to store in the file.
        storage: of STORAGES. "float16" is for inference: matrices and kernels become float16, and the optimizer is left
            out. Vectors stay float32: they are few, and variances of the first batch normalisation, which sees pixels,
            may exceed float16.

    Raises:
        UserError: unknown storage, or a weight is not finite or too large for it; nothing is written.
        OSError: the file cannot be written, or the disk has too little space for it.
    """
    _check_storage(model, storage)
    # Checked first: when a disk fills up, the HDF5 library ends the whole program.
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
    """Bytes that the numbers of some variables take in a file of `save_weights`."""
    return sum((2 if _in_float16(v, storage) else np.dtype(v.dtype).itemsize) * math.prod(v.shape) for v in variables)


def read_notes(path):
    """The notes of a weights file.

    Raises:
        UserError: the file is missing, damaged, or was not written by `save_weights`.
        PermissionError: the file may not be read.
    """
    return _read(path, _notes)


def load_weights(model, path, architecture):
    """Loads a file of `save_weights` into a built keras.Model.

    Args:
        architecture: dict that must equal the notes' "architecture".

    Returns:
        the file's notes.

    Raises:
        UserError: the file is missing, damaged or of another architecture; the message names the difference.
    """
    notes = check_architecture(path, architecture)
    check_numbers(path)
    try:
        model.load_weights(path)
    except Exception as error:  # Keras passes on what h5py or a comparison of shapes raised
        raise UserError(
            f"{path} does not fit the model or is damaged ({_reason(error)}): train or copy it again"
        ) from error
    return notes


def check_architecture(path, architecture):
    """Checks the architecture of a weights file before a model is built; arguments and errors as of `load_weights`."""
    notes = read_notes(path)
    # A file from before a field existed has that field's default.
    stored = {key: getattr(ModelConfig, key, None) for key in architecture} | notes.get("architecture", {})
    differing = [
        f"{key} is {stored.get(key)!r} there and {architecture.get(key)!r} here"
        for key in sorted({*stored, *architecture})
        if stored.get(key) != architecture.get(key)
    ]
    if differing:
        raise UserError(
            f"{path} holds weights of another architecture: {'; '.join(differing)}; correct config.json, or train in "
            "another --model directory"
        )
    return notes


def check_numbers(path):
    """Reads a weights file completely.

    Raises:
        UserError: its numbers are not finite, not in this project's form, or not those that were written.
        PermissionError: the file may not be read.
    """
    if fault := _read(path, _fault):
        raise UserError(f"{path} {fault}: train or copy it again")


def fingerprint(model, storage="float32"):
    """SHA-256 of the names, shapes and values of all weights of a built keras.Model: a hex string.

    Args:
        storage: of STORAGES; the values are those that such a file gives back.
    """
    digest = hashlib.sha256()
    for variable in model.weights:
        value = _as_loaded(np.ascontiguousarray(variable.numpy()), storage)
        digest.update(f"{variable.path} {value.shape} {value.dtype}".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


def load_backbone_weights(backbone, weights, width=1.0):
    """Loads classification weights of keras.applications into a backbone.

    Args:
        backbone: a model of `build_backbone`.
        weights: "imagenet" (Keras downloads them), "none", or a weights file of the same keras.applications
            architecture without its top.
        width: the backbone's channel multiplier.

    Raises:
        UserError: the file is missing or does not hold weights of this architecture, or the download fails.
    """
    if weights == "none":
        return
    download = weights == "imagenet"
    if not download and not pathlib.Path(weights).is_file():
        raise UserError(f"backbone weights {weights} do not exist: pass imagenet, none or a local .h5 file")
    options = {"alpha": width} if backbone.name == "mobilenet_v2" else {}
    try:
        source = _APPLICATIONS[backbone.name](
            weights="imagenet" if download else None, include_top=False, input_shape=(None, None, 3), **options
        )
        if not download:
            source.load_weights(weights)
    except Exception as error:  # Keras raises a different class for each fault of a file
        network = f"{backbone.name} of width {width:g}" if options else backbone.name
        hint = (
            "download them elsewhere and pass the .h5 file, or pass none"
            if download
            else "the file must hold weights of keras.applications without the top"
        )
        raise UserError(f"cannot load backbone weights {weights} into {network} ({_reason(error)}): {hint}") from error
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
    except PermissionError as error:  # the file may be sound; h5py's message does not name it
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
    """What is wrong with the numbers of a readable file, in words; None if nothing is."""
    size = pathlib.Path(file.filename).stat().st_size
    for name, data in _datasets(file):
        # A few bytes can announce any number of numbers; ours are all in the file, one after the other.
        if data.dtype.kind not in "fiu" or data.chunks or data.external or data.is_virtual or data.nbytes > size:
            return f"holds {name} in another form than this project writes"
        if data.dtype.kind == "f" and not name.startswith("optimizer") and not np.isfinite(data[()]).all():
            return f"holds numbers that are not finite ({name})"
    checksum = _checksum(file)
    if file.attrs.get(_CHECKSUM, checksum) != checksum:  # old files have none
        return "is damaged: its numbers are not those that were written"
    return None


def _checksum(file):
    """SHA-256 over notes, names, types, shapes and numbers of a weights file: a hex string."""
    digest = hashlib.sha256(_text_of_notes(file).encode())
    for name, data in _datasets(file):
        value = data[()]
        digest.update(f"{name} {value.dtype.str} {value.shape}".encode())
        digest.update(np.ascontiguousarray(value))
    return digest.hexdigest()


def _datasets(file):
    """List of name and h5py.Dataset of all datasets of a file, in the order of names."""
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
            worst = value.flat[np.abs(value).argmax()]
            raise UserError(
                f"the weights {variable.path} hold {worst:g}, and float16 stores finite numbers up to 65504 only: "
                "store them in float32"
            )


def _rewrite_in_float16(path):
    """Replaces a complete weights file by one for inference; see `save_weights`."""

    def copy(source, target):
        target.attrs.update(source.attrs)
        for name, item in source.items():
            if item.name == "/optimizer":
                continue
            if isinstance(item, h5py.Group):
                copy(item, target.create_group(name))
            else:
                kind = np.float16 if _in_float16(item, "float16") else item.dtype
                target.create_dataset(name, data=item[()].astype(kind)).attrs.update(item.attrs)

    # A new file: HDF5 does not give back the space of what is deleted in an old one.
    with atomic_path(path) as temporary, h5py.File(path, "r") as source, h5py.File(temporary, "w") as target:
        copy(source, target)
