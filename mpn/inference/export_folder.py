"""The folder of an export: config.json, the graphs in one of the FORMATS, export.json and README.md."""

import dataclasses
import importlib
import pathlib

from mpn.errors import UserError
from mpn.files import read_json

# Raised when graphs get other inputs, outputs or units: an engine of another version must not run them.
VERSION = 1
NOTE_FILE = "export.json"

# Format -> (suffix of a graph's file or folder, package that runs it).
FORMATS = {
    "saved_model": ("", None),
    "onnx": (".onnx", "onnxruntime"),
    "openvino": (".xml", "openvino"),
    "tflite": (".tflite", "ai_edge_litert.interpreter"),
}

# Graphs of a refinement network (True) and of a model (False); see `mpn.deployment.graphs`.
GRAPHS = {True: ("network", "peaks"), False: ("network", "boxes", "detect", "group")}


@dataclasses.dataclass(frozen=True)
class ExportNote:
    """The content of export.json."""

    format: str  # one of FORMATS
    refiner: bool = False  # whether it is a refinement network
    nms_threshold: float = 0.3  # of the graph "detect"
    version: int = VERSION
    size: tuple | None = None  # (height, width) of every image, where the format needs one
    int8: bool = False  # whether "network" computes with whole numbers of 8 bits

    @classmethod
    def read(cls, folder):
        """Reads the export.json of a folder; UserError where it is damaged or of another version."""
        fields = read_json(pathlib.Path(folder) / NOTE_FILE, "the note of an export")
        version = fields.get("version") if isinstance(fields, dict) else None
        again = "make the export anew with python -m mpn.export"
        if version != VERSION:
            raise UserError(f"{folder} is an export of version {version!r}, and mpn reads version {VERSION}: {again}")
        try:
            note = cls(**fields)
            height, width = note.size or (32, 32)
            is_known = note.format in FORMATS and height > 0 == height % 32 and width > 0 == width % 32
        except (TypeError, ValueError):
            is_known = False
        if not is_known:
            raise UserError(f"{folder}/{NOTE_FILE} is not the note of an export: {again}")
        return note


def is_export(folder):
    """Whether a path is the folder of an export; the name of a shipped model is none."""
    return (pathlib.Path(folder) / NOTE_FILE).is_file()


def refuse_export(folder):
    """Raises UserError for an export, for commands that need a model's single networks."""
    if is_export(folder):
        raise UserError(f"{folder} is an export, and this command needs the model directory that it was made of")


def import_extra(module):
    """Imports a module of an optional package; UserError with the command that installs it where it is missing."""
    package = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != package:
            raise
        raise UserError(f"the package {package} is not installed: run pip install {package}") from error
