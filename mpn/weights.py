"""Weights files: Keras' own .weights.h5 with the architecture they fit written beside the numbers."""

import errno
import hashlib
import json
import math
import os
import pathlib

import h5py
import numpy as np

from mpn.config import ModelConfig
from mpn.errors import UserError
from mpn.files import atomic_path, make_writable

# In what the numbers of a file are stored; loading always gives float32 variables.
STORAGES = ("float32", "float16")

# Attributes of a file: the notes as JSON, and SHA-256 over notes and numbers, see `_checksum`.
_NOTES = "mpn"
_CHECKSUM = "mpn_sha256"

# What an HDF5 file needs besides the numbers, generously.
_SPARE_BYTES = 1 << 20


def save_weights(model, path, notes, storage="float32"):
    """Writes a model's weights, and its optimizer's state where it has one, atomically.

    Args:
        model: a built keras.Model.
        path: file whose name ends in .weights.h5; its folder is created if need be.
        notes: JSON-able dict stored in the file.
        storage: of STORAGES. "float16" is for inference: it rounds kernels and matrices to float16, keeps vectors, and
            leaves the optimizer out. Vectors are few of the numbers, and the variances of the first batch
            normalisation, which sees pixels, may lie beyond float16.

    Raises:
        UserError: unknown storage, or a weight is not finite or too large for it; nothing is written then.
        OSError: the file cannot be written, or the disk has too little space for it.
    """
    _check_storage(model, storage)
    # Asked beforehand, because the HDF5 library ends the whole program when a disk fills up under it.
    make_writable(pathlib.Path(path).parent, needed_bytes(model, storage))
    with atomic_path(path) as temporary:
        model.save_weights(temporary)
        if storage == "float16":
            _rewrite_in_float16(temporary)
        with h5py.File(temporary, "r+") as file:
            file.attrs[_NOTES] = json.dumps(notes)
            file.attrs[_CHECKSUM] = _checksum(file)


def needed_bytes(model, storage="float32"):
    """Bytes that the disk must have left before `save_weights`."""
    variables = [*model.variables, *(model.optimizer.variables if getattr(model, "optimizer", None) else ())]
    # float16 is made of a complete float32 file.
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
    notes = check_architecture(path, architecture)
    check_numbers(path)
    try:
        model.load_weights(path)
    except Exception as error:  # Keras raises whatever h5py or a shape comparison raised
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"{path} does not fit the model or is damaged ({reason}): train or copy it again") from error
    return notes


def check_architecture(path, architecture):
    """The notes of a weights file that fits an architecture; see `load_weights`, which needs a model."""
    notes = read_notes(path)
    # What a file from before a field existed does not say is as it was then: the default.
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
    """Reads a weights file whole.

    Raises:
        UserError: its numbers are not finite, not in the form of this project, or not those that were written.
        PermissionError: the file may not be read.
    """
    if fault := _read(path, _fault):
        raise UserError(f"{path} {fault}: train or copy it again")


def _read(path, function):
    """What a function makes of an opened weights file."""
    try:
        with h5py.File(path, "r") as file:
            return function(file)
    except FileNotFoundError as error:
        raise UserError(f"the weights {path} do not exist") from error
    except PermissionError as error:  # the file may be sound; h5py's own words do not name it
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path)) from error
    except (OSError, LookupError, ValueError, TypeError, RuntimeError) as error:  # as h5py raises them
        raise UserError(f"{path} is damaged or not a weights file of this project: train or copy it again") from error


def _notes(file):
    notes = json.loads(_text_of_notes(file))
    if not isinstance(notes, dict) or not isinstance(notes.get("architecture", {}), dict):
        raise ValueError("notes of another kind")
    return notes


def _text_of_notes(file):
    text = file.attrs[_NOTES]
    if not isinstance(text, str):  # HDF5 has other kinds of text, which h5py gives as bytes
        raise ValueError("notes of another kind")
    return text


def _fault(file):
    """What is wrong with the numbers of a file that can be read, in words; None if nothing is."""
    size = pathlib.Path(file.filename).stat().st_size
    digest = _begun_checksum(file)
    for name, data in _datasets(file):
        # A few bytes can announce any number of numbers; all of ours are there, one after the other.
        if data.dtype.kind not in "fiu" or data.chunks or data.external or data.is_virtual or data.nbytes > size:
            return f"holds {name} in another form than this project writes"
        value = data[()]
        if data.dtype.kind == "f" and not name.startswith("optimizer") and not np.isfinite(value).all():
            return f"holds numbers that are not finite ({name})"
        _add(digest, name, value)
    if file.attrs.get(_CHECKSUM, digest.hexdigest()) != digest.hexdigest():  # files from before have none
        return "is damaged: its numbers are not those that were written"
    return None


def _checksum(file):
    """SHA-256 over notes, names, types, shapes and numbers of a weights file: a hex string."""
    digest = _begun_checksum(file)
    for name, data in _datasets(file):
        _add(digest, name, data[()])
    return digest.hexdigest()


def _begun_checksum(file):
    return hashlib.sha256(_text_of_notes(file).encode())


def _add(digest, name, value):
    digest.update(f"{name} {value.dtype.str} {value.shape}".encode())
    digest.update(np.ascontiguousarray(value))


def _datasets(file):
    """All HDF5 datasets of a file: list of names and h5py.Dataset in the order of names."""
    found = {}
    file.visititems(lambda name, item: found.update({name: item}) if isinstance(item, h5py.Dataset) else None)
    return sorted(found.items())


def fingerprint(model, storage="float32"):
    """SHA-256 over the names, shapes and values of all weights of a model: a hex string.

    Args:
        model: a built keras.Model.
        storage: of STORAGES; the values are those that come back from such a file.
    """
    digest = hashlib.sha256()
    for variable in model.weights:
        value = _as_loaded(np.ascontiguousarray(variable.numpy()), storage)
        digest.update(f"{variable.path} {value.shape} {value.dtype}".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


def _in_float16(array, storage):
    """Whether a variable, an array or an HDF5 dataset is stored in float16."""
    return storage == "float16" and str(array.dtype) == "float32" and len(array.shape) > 1


def _as_loaded(value, storage):
    """A numpy array as it comes back from a file."""
    if not _in_float16(value, storage):
        return value
    with np.errstate(over="ignore"):  # `_check_storage` says it better
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
    # A new file, since HDF5 does not give back the space of what is deleted in an old one.
    with atomic_path(path) as temporary, h5py.File(path, "r") as source, h5py.File(temporary, "w") as target:
        _copy_in_float16(source, target)


def _copy_in_float16(source, target):
    target.attrs.update(source.attrs)
    for name, item in source.items():
        if item.name == "/optimizer":
            continue
        if isinstance(item, h5py.Group):
            _copy_in_float16(item, target.create_group(name))
        else:
            kind = np.float16 if _in_float16(item, "float16") else item.dtype
            target.create_dataset(name, data=item[()].astype(kind)).attrs.update(item.attrs)
