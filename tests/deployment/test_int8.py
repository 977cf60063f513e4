"""Exports in int8: near what float32 finds, the same each time, with the named layers in float32."""

import functools
import json
import pathlib

import numpy as np
import pytest
from exports import needs, picture

import mpn.export
from mpn.deployment import calibration
from mpn.deployment.sensitivity import sensitivity
from mpn.errors import UserError
from mpn.images import write_image
from mpn.inference.engines import ENGINES
from mpn.inference.multiposenet import MultiPoseNet
from mpn.inference.refiner import Refiner

FORMATS = ["openvino", "tflite"]


@pytest.fixture(scope="module", autouse=True)
def backbones():
    """MobileNetV2, of which some layers stay float32."""


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for seed in range(6):
        write_image(folder / f"{seed}.png", picture(seed=seed))
    return folder


@pytest.fixture(scope="module")
def quantized(request, photos, tmp_path_factory):
    """Function of a format giving a new int8 export of the tiny model, or refinement network, in it."""

    def make(format, refiner=False):
        needs(format)
        if format == "openvino":
            pytest.importorskip("nncf", reason="the extra of openvino is not installed: nncf")
        source = request.getfixturevalue("refiner_source" if refiner else "source")
        target = tmp_path_factory.mktemp("int8") / format
        mpn.export.main([*map(str, (source, target)), "--format", format, "--int8", "--calibrate", str(photos)])
        return target

    return make


@pytest.fixture(scope="module")
def in_int8(quantized):
    """The same function, but each export is made once."""
    return functools.cache(quantized)


@pytest.mark.parametrize("format", FORMATS)
def test_sees_nearly_the_same(export, in_int8, format):
    image = picture(seed=9)
    exact, rounded = (MultiPoseNet.load(folder, precision="float32") for folder in (export(format), in_int8(format)))
    inputs, _ = exact.prepare(image)
    true, found = (model._engine.run("network", images=inputs[0]) for model in (exact, rounded))
    for name in ("heatmaps", "classification"):  # the untrained regression is 0
        error = np.sqrt(np.square(found[name] - true[name]).mean()) / true[name].std()
        assert 0 < error < 0.25, name  # 0 would be float32
    assert rounded.predict(image)


@pytest.mark.parametrize("format", FORMATS)
def test_is_smaller(export, in_int8, format):
    sizes = [
        sum(path.stat().st_size for path in pathlib.Path(folder).glob("network*"))
        for folder in (in_int8(format), export(format))
    ]
    assert sizes[0] < sizes[1]
    assert json.loads((in_int8(format) / "export.json").read_text())["int8"]
    assert f"{format} in int8" in (in_int8(format) / "README.md").read_text()


@pytest.mark.parametrize("format", FORMATS)
def test_is_the_same_each_time(quantized, in_int8, format):
    again = quantized(format)
    image = picture(seed=9)
    inputs, _ = MultiPoseNet.load(again).prepare(image)
    one, other = (
        ENGINES[format](folder, "float32").run("network", images=inputs[0]) for folder in (again, in_int8(format))
    )
    for name, values in one.items():
        np.testing.assert_array_equal(values, other[name])


def test_named_layers_stay_float_in_openvino(in_int8):
    """The products and the first twelve convolutions, which are those of the backbone."""
    openvino = pytest.importorskip("openvino")
    nodes = openvino.Core().read_model(in_int8("openvino") / "network.xml").get_ordered_ops()
    rounded = {"MatMul": [], "Convolution": [], "GroupConvolution": []}
    convolutions = []
    for node in nodes:
        if node.get_type_name() in rounded:
            sources = [port.get_source_output().get_node().get_type_name() for port in node.inputs()]
            rounded[node.get_type_name()].append("FakeQuantize" in sources)
            if node.get_type_name() != "MatMul":
                convolutions.append("FakeQuantize" in sources)
    assert rounded["MatMul"] and not any(rounded["MatMul"])
    assert not any(convolutions[:12]) and sum(convolutions[12:]) > 0.9 * len(convolutions[12:])
    assert any(rounded["GroupConvolution"])


def test_named_layers_stay_float_in_tflite(in_int8):
    """The last convolution before each output, and the first twelve."""
    from tensorflow.lite.python import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf((in_int8("tflite") / "network.tflite").read_bytes(), 0)
    graph = model.subgraphs[0]
    kinds = schema.BuiltinOperator.CONV_2D, schema.BuiltinOperator.DEPTHWISE_CONV_2D
    convolutions = [
        graph.tensors[operator.outputs[0]]
        for operator in graph.operators
        if model.operatorCodes[operator.opcodeIndex].builtinCode in kinds
    ]
    first, rest = convolutions[:12], convolutions[12:]
    assert all(tensor.type == schema.TensorType.FLOAT32 for tensor in first)
    exact = sorted(tensor.shape[-1] for tensor in rest if tensor.type == schema.TensorType.FLOAT32)
    assert exact == 5 * [9] + [18] + 5 * [36]
    assert sum(tensor.type == schema.TensorType.INT8 for tensor in rest) > 50


@pytest.mark.parametrize("format", FORMATS)
def test_refiner_is_calibrated_on_the_best_person(request, quantized, monkeypatch, format):
    class Finder:
        def predict(self, image):
            from mpn.people import Person

            boxes = np.float32([[10, 10, 60, 80], [0, 0, 20, 20]])
            return [Person(box, 1.0, np.zeros((17, 3), np.float32), 1.0) for box in boxes]

    seen, see = [], Refiner.see
    monkeypatch.setattr(MultiPoseNet, "load", classmethod(lambda cls, name: Finder()))
    monkeypatch.setattr(
        Refiner, "see", lambda self, image, boxes: seen.extend(boxes.tolist()) or see(self, image, boxes)
    )
    target = quantized(format, refiner=True)
    assert seen == 6 * [[10, 10, 60, 80]]
    boxes = np.float32([[10, 5, 60, 80]])
    folders = request.getfixturevalue("refiner_source"), target
    exact, rounded = (Refiner.load(folder, "float32").find(picture(), boxes) for folder in folders)
    assert 0 < np.abs(exact[..., 2] - rounded[..., 2]).mean() < 0.1


def test_layers_in_float32_lower_the_error(export, in_int8, photos):
    exact, rounded = export("openvino"), in_int8("openvino")
    errors = dict(sensitivity(exact, rounded, photos, images=2))
    for name, error in errors["no layer"].items():
        assert 0 < errors["all convolutions"][name] < error, name
    assert errors["backbone"]["heatmaps"] <= errors["no layer"]["heatmaps"]
    with pytest.raises(UserError, match="without --int8"):
        dict(sensitivity(rounded, rounded, photos))


def test_photographs_are_spread_over_a_large_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(calibration, "MOST_IMAGES", 4)
    for name in ("b.txt", *(f"{index}.jpg" for index in range(8))):
        (tmp_path / name).write_text("")
    assert [path.name for path in calibration.photographs(tmp_path)] == ["0.jpg", "2.jpg", "4.jpg", "6.jpg"]
