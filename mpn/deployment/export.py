"""Exports of models for places without TensorFlow; `python -m mpn.export MODEL TARGET --format ...` calls it."""

import dataclasses
import os
import pathlib
import shutil

from mpn.deployment.calibration import model_inputs, photographs, refiner_inputs
from mpn.errors import UserError
from mpn.files import make_writable, temporary_path, write_json
from mpn.geometry import pad_to_multiple
from mpn.inference.export_folder import NOTE_FILE, ExportNote, import_extra
from mpn.model_directory import PARTS, load_config, load_networks, model_folder, save_config

# Packages that write a format, and that quantise it; TensorFlow does both for TensorFlow Lite.
_PACKAGES = {"onnx": ("onnx", "tf2onnx"), "openvino": ("openvino",)}
_QUANTIZERS = {"openvino": ("nncf",), "tflite": ()}

_TEMPLATES = pathlib.Path(__file__).parent / "templates"


def export_graphs(source, target, format, size=None, photos=None):
    """Writes a model as graphs of another format, completely or not at all.

    Args:
        source: model directory or the name of a shipped model.
        target: the folder to make.
        format: one of FORMATS.
        size: (height, width) of the images of a model as "tflite"; None takes the configuration's image size.
        photos: folder of photographs that calibrate int8 for "openvino" and "tflite"; None keeps floating point.

    Raises UserError where the source cannot be loaded, the target exists, the format knows no size or no int8, the
    photographs are unfit, or a package is missing, and OSError where the target cannot be written.
    """
    target = pathlib.Path(target).resolve()
    if target.exists() or target.is_symlink():
        raise UserError(f"{target} exists already: choose another folder")
    if photos is not None and format not in _QUANTIZERS:
        raise UserError(f"int8 is for the formats {' and '.join(_QUANTIZERS)}, not {format}")
    for module in (*_PACKAGES.get(format, ()), *(_QUANTIZERS[format] if photos else ())):
        import_extra(module)
    paths = None if photos is None else photographs(photos)
    source = model_folder(source)
    config = load_config(source)
    refiner = config.refiner_share is not None
    size = _fixed_size(size, format, config)
    networks = load_networks(source, ("keypoints",) if refiner else PARTS, refiner)
    inputs = None
    if paths:
        inputs = refiner_inputs(paths, networks) if refiner else model_inputs(paths, config.image_size, size)
    note = ExportNote(format, refiner, size=size, int8=paths is not None)
    make_writable(target.parent)
    temporary = temporary_path(target)
    try:
        temporary.mkdir()
        _write(networks, temporary, note, inputs)
        os.rename(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _fixed_size(size, format, config):
    """(height, width) of the images of an export as "tflite" of a model; None where images may have any size."""
    if format != "tflite" or config.refiner_share is not None:
        if size:
            raise UserError("--size is for the format tflite, and not for refinement networks: leave it out")
        return None
    if size and any(side % 32 or side < 64 for side in size):
        raise UserError(f"height and width must be multiples of 32 from 64 up, not {size[0]} x {size[1]}")
    return tuple(size or map(pad_to_multiple, config.image_size))


def _write(networks, folder, note, inputs):
    # Both import TensorFlow.
    from mpn.deployment.graphs import model_graphs, refiner_graphs
    from mpn.deployment.writers import WRITERS

    graphs = refiner_graphs(networks) if note.refiner else model_graphs(networks, note.size)
    WRITERS[note.format](graphs, folder, *([inputs] if inputs else []))
    save_config(networks.config, folder)
    write_json(folder / NOTE_FILE, dataclasses.asdict(note), indent=1)
    (folder / "README.md").write_text(_readme(networks.config, note), encoding="utf-8")


def _readme(config, note):
    """The export's README.md: inputs, outputs, and code that a test executes."""
    shorter, longest = config.image_size
    sides, rows, columns = "H and W multiples of 32", "-height % 32", "-width % 32"
    scale = f"{shorter} / min(image.shape[:2]), {longest} / max(image.shape[:2])"
    if note.size:
        height, width = note.size
        sides, rows, columns = f"H {height}, W {width}", f"{height} - height", f"{width} - width"
        scale = f"{height} / image.shape[0], {width} / image.shape[1]"
    words = {
        "RUN": (_TEMPLATES / f"run_{note.format}.py").read_text(),
        "SIDES": sides,
        "SCALE": scale,
        "ROWS": rows,
        "COLUMNS": columns,
        "SIDE": shorter,
        "CELLS": shorter // 4,
        "SHARE": config.refiner_share,
        "FORMAT": note.format + note.int8 * " in int8",
        "OPTIONS": note.format + note.int8 * " --int8 --calibrate FOLDER",
    }
    page = (_TEMPLATES / ("refiner.md" if note.refiner else "model.md")).read_text()
    for word, text in words.items():
        page = page.replace(word, str(text))
    return page
