"""Stores the large constants of a graph in float16, where they are float16 numbers.

The converters' own compression to float16 rounds every constant, biases too. That moves scores by as much as two
thousandths, and non-maximum suppression then keeps other boxes.
"""

import copy

import numpy as np

# Numbers of a constant that is worth storing as float16.
_LARGE = 1000


def halve_openvino(model):
    """Changes an openvino.Model in place."""
    from openvino import opset13

    for node in model.get_ops():
        if node.get_type_name() == "Constant" and node.get_element_type().to_string() == "f32":
            halves = _halved(node.data)
            if halves is not None:
                targets = list(node.output(0).get_target_inputs())
                restored = opset13.convert(opset13.constant(halves), "f32").output(0)
                for target in targets:
                    target.replace_source_output(restored)


def halve_tflite(data):
    """The bytes of a TensorFlow Lite model, made from those of a model of one subgraph."""
    from tensorflow.lite.python import schema_py_generated as schema
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.convert_bytearray_to_object(data)
    (graph,) = model.subgraphs
    restore, operators = len(model.operatorCodes), []
    for index, tensor in enumerate(list(graph.tensors)):
        buffer = model.buffers[tensor.buffer].data
        if tensor.type != schema.TensorType.FLOAT32 or buffer is None:
            continue
        halves = _halved(np.asarray(buffer).view(np.float32))
        if halves is None:
            continue
        stored, operator = copy.copy(tensor), schema.OperatorT()
        stored.name, stored.type, stored.buffer = tensor.name + b"_half", schema.TensorType.FLOAT16, len(model.buffers)
        tensor.buffer = 0  # the empty one
        model.buffers.append(schema.BufferT(data=halves.view(np.uint8)))
        operator.opcodeIndex, operator.inputs, operator.outputs = restore, [len(graph.tensors)], [index]
        graph.tensors.append(stored)
        operators.append(operator)
    code = schema.BuiltinOperator.DEQUANTIZE
    model.operatorCodes.append(schema.OperatorCodeT(deprecatedBuiltinCode=code, builtinCode=code, version=3))
    graph.operators = operators + graph.operators
    used = {tensor.buffer for tensor in graph.tensors} | {data.buffer for data in model.metadata or ()}
    for index, buffer in enumerate(model.buffers):
        if index not in used:
            buffer.data = None
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def _halved(values):
    """Large float32 values in float16; None for few values, and where float16 rounds one."""
    if values.size < _LARGE:
        return None
    with np.errstate(over="ignore"):
        halves = values.astype(np.float16)
    return halves if np.array_equal(halves, values) else None
