"""Exports of models for places without TensorFlow; `python -m mpn.export MODEL TARGET --format ...` calls it."""

import contextlib
import os
import pathlib
import shutil

from mpn.deployment.folder import FORMATS, ExportNote, import_extra
from mpn.deployment.quantization import FLOAT_LAYERS, calibration_images, calibration_inputs, quantize
from mpn.deployment.readme import write_readme
from mpn.errors import UserError
from mpn.files import make_writable, temporary_path
from mpn.model_directory import PARTS, load_config, load_networks, model_folder, save_config

# The model whose boxes a refinement network is calibrated on.
_FINDS_PEOPLE = "small"

# What writes a format, each with an extra of the format's name.
_PACKAGES = {"onnx": ("onnx", "tf2onnx"), "openvino": ("openvino",)}


def export_graphs(source, target, format, int8=False, calibrate=None):
    """Writes a model as graphs of another format, completely or not at all.

    Args:
        source: model directory, or the name of a shipped model; a refinement network too.
        target: folder to make.
        format: of FORMATS.
        int8: quantise the network; for "openvino".
        calibrate: folder of images for that.

    Raises:
        UserError: something of that cannot be, or a package is missing; nothing is written.
        OSError: the target cannot be written.
    """
    if format not in FORMATS:
        raise UserError(f"format must be one of keras, {', '.join(FORMATS)}, not {format!r}")
    if int8 and format != "openvino":
        raise UserError(f"--int8 is for --format openvino, not {format}")
    if int8 != (calibrate is not None):
        raise UserError("--int8 and --calibrate FOLDER belong together: give both or neither")
    target = pathlib.Path(target).resolve()
    if target.exists() or target.is_symlink():
        raise UserError(f"{target} exists already: choose another folder")
    paths = calibration_images(calibrate) if int8 else []
    for module in _PACKAGES.get(format, ()) + ("nncf",) * int8:
        import_extra(module, format)
    source = model_folder(source)
    config = load_config(source)
    refiner = config.refiner_share is not None
    networks = load_networks(source, ("keypoints",) if refiner else PARTS, refiner)
    make_writable(target.parent)
    with _whole_or_absent(target) as folder:
        input_size = _write_graphs(networks, folder, format, paths)
        save_config(networks.config, folder)
        numbers = ("int8", FLOAT_LAYERS) if int8 else ("float32", ())
        note = ExportNote(format, refiner, *numbers, input_size)
        note.write(folder)
        write_readme(folder, config, note)


def _write_graphs(networks, folder, format, paths):
    """Writes the graphs; returns the (height, width) of images where the format needs to know it, or None."""
    from mpn.deployment.graphs import model_graphs, refiner_graphs
    from mpn.deployment.writers import WRITERS, write_openvino

    refiner = networks.config.refiner_share is not None
    fixed = format == "tflite"
    # A square takes photographs on either side.
    side = -(-networks.config.image_size[1] // 32) * 32
    input_size = (side, side) if fixed else None
    graphs = refiner_graphs(networks, 1 if fixed else None) if refiner else model_graphs(networks, input_size)
    if not paths:
        WRITERS[format](graphs, folder)
        return input_size
    inputs = list(calibration_inputs(paths, *_lookers(networks, refiner)))
    if not inputs:
        raise UserError(f"{paths[0].parent} has nobody to calibrate on: name a folder with photographs of people")
    write_openvino(graphs, folder, lambda name, model: quantize(model, inputs) if name == "network" else model)
    return input_size


def _lookers(networks, refiner):
    """The predictor, and the refiner or None, whose inputs calibrate."""
    from mpn.inference.multiposenet import MultiPoseNet
    from mpn.inference.refiner import Refiner

    if refiner:
        return MultiPoseNet.load(_FINDS_PEOPLE, precision="float32"), Refiner(networks, "float32")
    return MultiPoseNet(networks, precision="float32"), None


@contextlib.contextmanager
def _whole_or_absent(target):
    """A temporary folder that becomes the target at the end, or goes."""
    temporary = temporary_path(target)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        os.rename(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
