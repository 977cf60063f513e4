"""Post-training quantisation: the graph "network" with weights and activations of 8 bits.

The other graphs stay float32, since they compute coordinates. So do some layers of "network"; docs/deployment.md has
measurements. In both formats these are the first convolutions of a network with depthwise ones, which is MobileNetV2.
In OpenVINO these are also the matrix products that enlarge D3-D5, which it cannot run in int8 where their size is
fixed. In TensorFlow Lite it is also the last convolution before each output, since it would round the outputs
themselves; a head of the person subnet has one on each level.
"""

from tqdm import tqdm

from mpn.inference.export_folder import import_extra
from mpn.lazy import tf

# Convolutions of MobileNetV2 that stay float32: the stem and the first four blocks.
_FIRST = 12


def quantize_openvino(model, inputs):
    """An OpenVINO model with int8 layers, which NNCF calibrates on Inputs."""
    nncf = import_extra("nncf")
    nodes = convolutions(model)
    depthwise = any(node.get_type_name() == "GroupConvolution" for node in nodes)
    exact = [node.get_friendly_name() for node in nodes[:_FIRST]] if depthwise else []
    # The range of each activation over all photographs. NNCF's own choice is the mean over photographs, which cuts the
    # values of the clearest people.
    extremes = nncf.quantization.range_estimator.RangeEstimatorParametersSet.MINMAX
    return nncf.quantize(
        model,
        nncf.Dataset(inputs, lambda images: {"images": images}),
        preset=nncf.QuantizationPreset.MIXED,  # activations without a rectifier have both signs
        target_device=nncf.TargetDevice.CPU,
        subset_size=len(inputs),
        fast_bias_correction=False,  # the thorough one takes minutes, but leaves a third less error
        ignored_scope=nncf.IgnoredScope(names=exact, types=["MatMul"], validate=False),  # some networks have none
        # Processors without VNNI add products in 16 bits, which weights of 8 bits overflow: seven bits are safe.
        advanced_parameters=nncf.AdvancedQuantizationParameters(
            overflow_fix="enable", activations_range_estimator_params=extremes
        ),
    )


def convolutions(model):
    """The convolutions of an openvino.Model in the network's order; their names differ between exports."""
    return [node for node in model.get_ordered_ops() if node.get_type_name().endswith("Convolution")]


def quantized_tflite(converter, inputs):
    """The bytes of a TensorFlow Lite model with int8 layers, calibrated on Inputs.

    `converter` is a tf.lite.TFLiteConverter.
    """
    from tensorflow.lite.python import schema_py_generated as schema

    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([images] for images in tqdm(inputs, desc="calibration", unit="image"))
    # Of TensorFlow's converters, only the debugger's lets single layers stay float32.
    debugger = tf.lite.experimental.QuantizationDebugger(converter=converter)
    model = schema.ModelT.InitFromPackedBuf(debugger.calibrated_model, 0)
    graph = model.subgraphs[0]
    makers = {index: operator for operator in graph.operators for index in operator.outputs}
    codes = [code.builtinCode for code in model.operatorCodes]

    def last_convolutions(index):
        """Names of the convolutions from which a tensor is computed, without those before them."""
        if index not in makers:
            return []
        operator = makers[index]
        if codes[operator.opcodeIndex] == schema.BuiltinOperator.CONV_2D:
            return [graph.tensors[operator.outputs[0]].name.decode()]
        return [name for source in operator.inputs for name in last_convolutions(source)]

    exact = [name for output in model.signatureDefs[0].outputs for name in last_convolutions(output.tensorIndex)]
    depthwise = schema.BuiltinOperator.DEPTHWISE_CONV_2D
    if depthwise in codes:
        kinds = schema.BuiltinOperator.CONV_2D, depthwise
        convolutions = [operator for operator in graph.operators if codes[operator.opcodeIndex] in kinds]
        exact += [graph.tensors[operator.outputs[0]].name.decode() for operator in convolutions[:_FIRST]]
    debugger.options = tf.lite.experimental.QuantizationDebugOptions(denylisted_nodes=exact)
    return debugger.get_nondebug_quantized_model()
