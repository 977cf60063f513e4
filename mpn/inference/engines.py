"""Engines: each runs the graphs of one format. `run(graph, **inputs)` gives a dict of numpy arrays."""

import concurrent.futures
import functools
import pathlib

import numpy as np

from mpn.config import read_config
from mpn.environment import cores
from mpn.errors import UserError
from mpn.inference.export_folder import FORMATS, GRAPHS, ExportNote, import_extra

# Graphs that load at the same time.
_LOADED_AT_ONCE = 2


class Engine:
    """Runs the graphs of an export, each of which is loaded at `start_loading`, or else when it first runs.

    `precision` is "float32", "bfloat16", or "auto" for the engine's choice. Raises UserError where the engine is not
    installed, cannot compute in the precision, or cannot load a graph.
    """

    format = None  # one of FORMATS

    def __init__(self, folder, precision="auto"):
        self.folder = pathlib.Path(folder)
        self.precision = precision
        self._suffix, module = FORMATS[self.format]
        self._library = import_extra(module) if module else None
        if precision not in ("auto", "float32") and (self.format, precision) != ("openvino", "bfloat16"):
            raise UserError(f"an export as {self.format} does not compute in {precision}: leave out the precision")
        workers = concurrent.futures.ThreadPoolExecutor(_LOADED_AT_ONCE)
        self._loaded = functools.lru_cache(functools.partial(workers.submit, self._load))

    def start_loading(self, graphs):
        """Loads graphs in the background, in this order: the longest first. Errors are raised when a graph runs."""
        for graph in graphs:
            self._loaded(graph)

    def run(self, graph, **inputs):
        """Runs a graph on arrays, given by the names of its inputs, and returns a dict of arrays."""
        return self._call(self._loaded(graph).result(), inputs)

    def _read(self, load, graph):
        """Loads a graph's file with `load`; any error means that the file is damaged."""
        path = self.folder / (graph + self._suffix)
        if not path.exists():
            raise UserError(f"{path} does not exist: make the export anew with python -m mpn.export")
        try:
            return load(path)
        except Exception as error:  # each library has its own kinds
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"{path} cannot be loaded ({reason}): make the export anew") from error


class OnnxEngine(Engine):
    """ONNX Runtime, on the processor."""

    format = "onnx"

    def _load(self, graph):
        providers = ["CPUExecutionProvider"]
        session = self._read(lambda path: self._library.InferenceSession(str(path), providers=providers), graph)
        return session, [output.name for output in session.get_outputs()]

    def _call(self, loaded, inputs):
        session, names = loaded
        return dict(zip(names, session.run(names, inputs), strict=True))


class OpenVINOEngine(Engine):
    """OpenVINO, on the processor. Only the network may run in bfloat16: coordinates need float32."""

    format = "openvino"

    def __init__(self, folder, precision="auto"):
        super().__init__(folder, precision)
        self._core = self._library.Core()

    def _load(self, graph):
        settings = {"PERFORMANCE_HINT": "LATENCY"}
        precision = self.precision if graph == "network" else "float32"
        if precision != "auto":
            settings["INFERENCE_PRECISION_HINT"] = {"float32": "f32", "bfloat16": "bf16"}[precision]
        return self._read(
            lambda path: self._core.compile_model(str(path), "CPU", settings).create_infer_request(), graph
        )

    def _call(self, request, inputs):
        outputs = request.infer(inputs, share_inputs=True)
        return {output.any_name: np.array(value) for output, value in outputs.items()}


class TFLiteEngine(Engine):
    """LiteRT, once TensorFlow Lite, on the processor."""

    format = "tflite"

    def _load(self, graph):
        return self._read(
            lambda path: self._library.Interpreter(str(path), num_threads=cores()).get_signature_runner(), graph
        )

    def _call(self, signature, inputs):
        return signature(**inputs)


class SavedModelEngine(Engine):
    """TensorFlow."""

    format = "saved_model"

    def start_loading(self, graphs):
        """Does nothing: loading several at once was not tried with TensorFlow."""

    def _load(self, graph):
        import tensorflow as tf

        return self._read(lambda path: tf.saved_model.load(str(path)).signatures["serving_default"], graph)

    def _call(self, function, inputs):
        return {name: tensor.numpy() for name, tensor in function(**inputs).items()}


ENGINES = {engine.format: engine for engine in (OnnxEngine, OpenVINOEngine, TFLiteEngine, SavedModelEngine)}


def load_export(folder, precision, refiner=False):
    """The ExportNote, ModelConfig and Engine of an export, of a refinement network if `refiner`, else of a model.

    Raises UserError where it is of the other kind, damaged or of another version, or its engine is not installed.
    """
    note = ExportNote.read(folder)
    if note.refiner and not refiner:
        raise UserError(f"{folder} is a refinement network, which finds nobody by itself: pass it to --refine")
    if refiner and not note.refiner:
        raise UserError(f"{folder}: this model is not a refinement network: export one")
    config = read_config(pathlib.Path(folder) / "config.json")
    engine = ENGINES[note.format](folder, precision)
    engine.start_loading(GRAPHS[note.refiner])
    return note, config, engine
