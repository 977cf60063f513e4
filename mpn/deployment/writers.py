"""Writers: tf.functions to the files of one format each. `write(graphs, folder)`, see `mpn.deployment.graphs`.

Those of formats that know int8 take a third argument, the Inputs that calibrate the graph "network".
"""

import pathlib
import tempfile

import tensorflow as tf

from mpn.deployment.constants import halve_openvino, halve_tflite
from mpn.deployment.int8 import quantize_openvino, quantized_tflite
from mpn.inference.export_folder import import_extra


def write_saved_model(graphs, folder):
    """A SavedModel a graph, with the signature "serving_default"."""
    for name, graph in graphs.items():
        module = tf.Module()
        module.graph = graph
        tf.saved_model.save(module, str(folder / name), signatures={"serving_default": graph.get_concrete_function()})


def write_onnx(graphs, folder):
    """An .onnx file a graph, weights in float32."""
    onnx, tf2onnx = import_extra("onnx"), import_extra("tf2onnx.convert")
    for name, graph in graphs.items():
        model, _ = tf2onnx.from_function(graph, graph.input_signature, opset=17)  # outputs keep their names
        onnx.save(model, str(folder / f"{name}.onnx"))


def write_tflite(graphs, folder, inputs=None):
    """A .tflite file a graph, with the signature "serving_default"; the network in float16 where that loses nothing."""
    with tempfile.TemporaryDirectory() as temporary:
        write_saved_model(graphs, pathlib.Path(temporary))
        for name in graphs:
            converter = tf.lite.TFLiteConverter.from_saved_model(str(pathlib.Path(temporary) / name))
            if inputs and name == "network":
                model = quantized_tflite(converter, inputs)
            else:
                model = converter.convert()
            if name == "network":
                model = halve_tflite(model)
            (folder / f"{name}.tflite").write_bytes(model)


def write_openvino(graphs, folder, inputs=None):
    """An .xml and a .bin file a graph, weights in float16 where that loses nothing, as in models stored so."""
    openvino = import_extra("openvino")
    with tempfile.TemporaryDirectory() as temporary:
        write_saved_model(graphs, pathlib.Path(temporary))
        for name in graphs:
            model = openvino.convert_model(str(pathlib.Path(temporary) / name))
            _name_outputs(model)
            if inputs and name == "network":
                model = quantize_openvino(model, inputs)
            halve_openvino(model)
            openvino.save_model(model, str(folder / f"{name}.xml"), compress_to_fp16=False)


def _name_outputs(model):
    for output in model.outputs:
        # The SavedModel's own name of an output stands among those of tensors.
        output.set_names({min(output.names, key=lambda name: (":" in name, len(name)))})


WRITERS = {"saved_model": write_saved_model, "onnx": write_onnx, "openvino": write_openvino, "tflite": write_tflite}
