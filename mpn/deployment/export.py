"""Exports of models for places without TensorFlow; `python -m mpn.export MODEL TARGET --format ...` calls it."""

import dataclasses
import os
import pathlib
import shutil

from mpn.errors import UserError
from mpn.files import make_writable, temporary_path, write_json
from mpn.inference.export_folder import NOTE_FILE, ExportNote, import_extra
from mpn.model_directory import PARTS, load_config, load_networks, model_folder, save_config

# Packages that write a format.
_PACKAGES = {"onnx": ("onnx", "tf2onnx"), "openvino": ("openvino",)}

_TEMPLATES = pathlib.Path(__file__).parent / "templates"


def export_graphs(source, target, format):
    """Writes a model as graphs of another format, completely or not at all.

    `source` is a model directory or the name of a shipped model, `target` the folder to make, and `format` one of
    FORMATS. Raises UserError where the source cannot be loaded, the target exists, or a package is missing, and
    OSError where the target cannot be written.
    """
    target = pathlib.Path(target).resolve()
    if target.exists() or target.is_symlink():
        raise UserError(f"{target} exists already: choose another folder")
    for module in _PACKAGES.get(format, ()):
        import_extra(module)
    source = model_folder(source)
    config = load_config(source)
    refiner = config.refiner_share is not None
    networks = load_networks(source, ("keypoints",) if refiner else PARTS, refiner)
    make_writable(target.parent)
    temporary = temporary_path(target)
    try:
        temporary.mkdir()
        _write(networks, temporary, format, refiner)
        os.rename(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write(networks, folder, format, refiner):
    # Both import TensorFlow.
    from mpn.deployment.graphs import model_graphs, refiner_graphs
    from mpn.deployment.writers import WRITERS

    WRITERS[format]((refiner_graphs if refiner else model_graphs)(networks), folder)
    save_config(networks.config, folder)
    write_json(folder / NOTE_FILE, dataclasses.asdict(ExportNote(format, refiner)), indent=1)
    (folder / "README.md").write_text(_readme(networks.config, format, refiner), encoding="utf-8")


def _readme(config, format, refiner):
    """The export's README.md: inputs, outputs, and code that a test executes."""
    words = {
        "RUN": (_TEMPLATES / f"run_{format}.py").read_text(),
        "SHORTER": config.image_size[0],
        "LONGEST": config.image_size[1],
        "CELLS": config.image_size[0] // 4,
        "SHARE": config.refiner_share,
        "FORMAT": format,
    }
    page = (_TEMPLATES / ("refiner.md" if refiner else "model.md")).read_text()
    for word, text in words.items():
        page = page.replace(word, str(text))
    return page
