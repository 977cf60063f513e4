"""Post-training quantisation: the graph "network" with weights and activations of 8 bits.

The other graphs stay float32, since they compute coordinates. So do the layers of "network" that EXACT names;
`mpn.deployment.sensitivity` measures which ones matter, and docs/deployment.md has its figures.
"""

from tqdm import tqdm

from mpn.inference.export_folder import import_extra
from mpn.lazy import tf

# Kinds of layers that stay float32. The kind with an output's name is the last convolution before it; a head of the
# person subnet has one on each level.
EXACT = ("heatmaps", "regression", "classification")

# More kinds, by the operators of OpenVINO: convolutions of single channels; matrix products that enlarge D3-D5.
_OPERATORS = {"depthwise": "GroupConvolution", "upsampling": "MatMul"}


def quantize_openvino(model, inputs, exact=EXACT):
    """An OpenVINO model with int8 layers, which NNCF calibrates on Inputs; layers of the kinds `exact` stay float32."""
    nncf = import_extra("nncf")
    nodes, exact_names = model.get_ordered_ops(), []
    for kind in exact:
        if kind in _OPERATORS:
            exact_names += [node.get_friendly_name() for node in nodes if node.get_type_name() == _OPERATORS[kind]]
        elif kind in {output.any_name for output in model.outputs}:
            # Conversion keeps no layer's own name, so that layers are found by place.
            last = _last_convolutions(model.output(kind).get_node(), _kind_in_openvino, _sources_in_openvino)
            exact_names += [node.get_friendly_name() for node in last]
    return nncf.quantize(
        model,
        nncf.Dataset(inputs, lambda images: {"images": images}),
        preset=nncf.QuantizationPreset.MIXED,  # activations without a rectifier have both signs
        target_device=nncf.TargetDevice.CPU,
        subset_size=len(inputs),
        ignored_scope=nncf.IgnoredScope(names=exact_names),
        # Processors without VNNI add products in 16 bits, which weights of 8 bits overflow: seven bits are safe.
        advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix="enable"),
    )


def quantized_tflite(converter, inputs, exact=EXACT):
    """The bytes of a TensorFlow Lite model with int8 layers, calibrated on Inputs; `exact` are names of outputs.

    `converter` is a tf.lite.TFLiteConverter with optimizations.
    """
    from tensorflow.lite.python import schema_py_generated as schema

    converter.representative_dataset = lambda: ([images] for images in tqdm(inputs, desc="calibration", unit="image"))
    # Of TensorFlow's converters, only the debugger's lets single layers stay float32.
    debugger = tf.lite.experimental.QuantizationDebugger(converter=converter)
    model = schema.ModelT.InitFromPackedBuf(debugger.calibrated_model, 0)
    graph = model.subgraphs[0]
    makers = {index: operator for operator in graph.operators for index in operator.outputs}
    codes = [code.builtinCode for code in model.operatorCodes]

    def kind(operator):
        return "Convolution" if codes[operator.opcodeIndex] == schema.BuiltinOperator.CONV_2D else None

    def sources(operator):
        return [makers[index] for index in operator.inputs if index in makers]

    last = [
        operator
        for output in model.signatureDefs[0].outputs
        if output.name.decode() in exact
        for operator in _last_convolutions(makers[output.tensorIndex], kind, sources)
    ]
    names = [graph.tensors[operator.outputs[0]].name.decode() for operator in last]
    debugger.options = tf.lite.experimental.QuantizationDebugOptions(denylisted_nodes=names)
    return debugger.get_nondebug_quantized_model()


def _last_convolutions(node, kind, sources):
    """The convolutions from which a node's value is computed, without those before them."""
    if kind(node) == "Convolution":
        return [node]
    if kind(node) == "ShapeOf":
        return []
    return [found for source in sources(node) for found in _last_convolutions(source, kind, sources)]


def _kind_in_openvino(node):
    return node.get_type_name()


def _sources_in_openvino(node):
    return [port.get_source_output().get_node() for port in node.inputs()]
