"""Constants in float16: only large ones that lose nothing, and the graph's results stay."""

import numpy as np
import pytest
import tensorflow as tf

from mpn.deployment.constants import halve_openvino, halve_tflite


def graph(kernel, bias):
    @tf.function(input_signature=[tf.TensorSpec((1, 8, 8, 16), tf.float32)])
    def convolve(images):
        return {"found": tf.nn.relu(tf.nn.conv2d(images, kernel, 1, "SAME") + bias)}

    return convolve


@pytest.fixture(params=[True, False], ids=["float16 numbers", "others"])
def convolution(request):
    """A tf.function whose kernel is large and whose bias float16 would round, and whether the kernel loses nothing."""
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(3, 3, 16, 64)).astype(np.float32)
    if request.param:
        kernel = kernel.astype(np.float16).astype(np.float32)
    return graph(kernel, np.full(64, -4.595, np.float32)), request.param


def test_tflite(convolution):
    function, loses_nothing = convolution
    concrete = function.get_concrete_function()
    before = tf.lite.TFLiteConverter.from_concrete_functions([concrete], function).convert()
    after = halve_tflite(before)
    saved = len(before) - len(after)
    assert saved > 0.9 * 2 * 9216 if loses_nothing else abs(saved) < 0.1 * 2 * 9216
    images = np.random.default_rng(1).normal(size=(1, 8, 8, 16)).astype(np.float32)
    results = []
    for model in (before, after):
        interpreter = tf.lite.Interpreter(model_content=model)
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], images)
        interpreter.invoke()
        results.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
    np.testing.assert_allclose(results[1], results[0], atol=1e-4)  # another kernel, and so another order of sums
    assert results[0].any()


def test_openvino(convolution):
    openvino = pytest.importorskip("openvino", reason="the extra of openvino is not installed: openvino")
    function, loses_nothing = convolution
    model = openvino.convert_model(function)
    images = np.random.default_rng(1).normal(size=(1, 8, 8, 16)).astype(np.float32)
    expected = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([images])[0].copy()
    halve_openvino(model)
    kinds = {node.get_element_type().to_string() for node in model.get_ops() if node.get_type_name() == "Constant"}
    assert ("f16" in kinds) == loses_nothing and "f32" in kinds
    found = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([images])[0]
    np.testing.assert_array_equal(found, expected)
