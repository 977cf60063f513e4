"""Measures how much each kind of layers adds to the error of int8, on a model's OpenVINO exports.

`python -m mpn.deployment.sensitivity FLOAT INT8 FOLDER` brings one kind of layers back to float32 at a time and prints
the remaining error of every output: its root mean square over that of the output.
"""

import pathlib

import numpy as np

from mpn.cli.script import run
from mpn.cli.settings import module_parser
from mpn.deployment.calibration import model_inputs, photographs
from mpn.deployment.int8 import convolutions
from mpn.errors import UserError
from mpn.inference.engines import load_export
from mpn.inference.export_folder import ExportNote, import_extra

# Convolutions of the backbone, which come first.
_BACKBONE = {"mobilenet_v2": 52, "resnet50": 53, "resnet101": 104}


def sensitivity(exact, rounded, photos, images=5):
    """Yields a kind of layers and the error of each output with that kind in float32: dict of name and share.

    `exact` and `rounded` are folders of the same model's OpenVINO exports, in float32 and in int8. `images` are taken
    from the folder `photos`. Raises UserError for other exports.
    """
    openvino = import_extra("openvino")
    _, config, _ = load_export(exact, "float32")
    paths = photographs(photos)
    step = max(len(paths) // images, 1)
    inputs = list(model_inputs(paths[step // 2 :: step], config.image_size))
    core = openvino.Core()

    def read(folder, int8):
        note = ExportNote.read(folder)
        if note.format != "openvino" or note.int8 != int8:
            made = "with" if int8 else "without"
            raise UserError(f"{folder} is no export that `--format openvino` has made {made} --int8")
        return core.read_model(pathlib.Path(folder) / "network.xml")

    def look(model):
        compiled = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        found = []
        for one in inputs:
            found.append({port.any_name: values.flatten() for port, values in compiled({"images": one}).items()})
        return {name: np.concatenate([each[name] for each in found]) for name in found[0]}

    original = read(exact, False)
    true = look(original)
    for kind, chosen in _kinds(convolutions(original), _BACKBONE[config.backbone]).items():
        model = read(rounded, True)
        for place in chosen:
            _bring_back(convolutions(model)[place], convolutions(original)[place])
        found = look(model)
        yield kind, {name: _size(found[name] - true[name]) / _size(true[name]) for name in true}


def _kinds(nodes, of_backbone):
    """Places of convolutions, by kind of layers; the first `of_backbone` are the backbone's."""
    places = range(len(nodes))
    return {
        "no layer": [],
        "depthwise": [place for place in places if nodes[place].get_type_name() == "GroupConvolution"],
        "first 4": places[:4],
        "first 12": places[:12],
        "backbone": places[:of_backbone],
        "after the backbone": places[of_backbone:],
        "all convolutions": places,
    }


def _bring_back(node, twin):
    """Gives a convolution of an int8 model the input, weights and bias of its twin in the float32 model."""
    from openvino import opset13

    rounding = node.input_value(0).get_node()
    if rounding.get_type_name() == "FakeQuantize":
        node.input(0).replace_source_output(rounding.input_value(0))
    weights = _constant(twin.input_value(1).get_node())
    node.input(1).replace_source_output(opset13.constant(weights).output(0))
    for bias, original in zip(_biases(node), _biases(twin), strict=True):  # quantisation has corrected it
        values = _constant(original.get_source_output().get_node())
        bias.replace_source_output(opset13.constant(values).output(0))


def _biases(node):
    """The input with the bias of the Add after a convolution, in a list; empty if there is none."""
    adds = [target.get_node() for target in node.output(0).get_target_inputs()]
    inputs = [port for add in adds if add.get_type_name() == "Add" for port in add.inputs()]
    return [port for port in inputs if port.get_source_output().get_node().get_type_name() in ("Constant", "Convert")]


def _constant(node):
    """The float32 values of a constant that an export stores in float16 perhaps."""
    if node.get_type_name() == "Constant":
        return np.array(node.data)
    values = _constant(node.input_value(0).get_node())
    return values.astype(np.float32).reshape(node.output(0).get_shape())


def _size(values):
    return float(np.sqrt(np.square(values, dtype=np.float64).mean()))


def main(argv=None):
    parser = module_parser(__spec__, __doc__)
    parser.add_argument("float", metavar="FLOAT", help="folder of a model's export in the format openvino")
    parser.add_argument("int8", metavar="INT8", help="folder of the same model's export with --int8")
    parser.add_argument("photographs", metavar="FOLDER", help="folder with photographs")
    options = parser.parse_args(argv)
    for kind, errors in sensitivity(options.float, options.int8, options.photographs):
        each = ", ".join(f"{name} {error:.3f}" for name, error in sorted(errors.items()))
        print(f"float32: {kind}: {each}", flush=True)


if __name__ == "__main__":
    run(main)
