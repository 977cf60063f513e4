import openvino


def run(name, **inputs):
    outputs = openvino.compile_model(f"{name}.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(inputs)
    return {output.any_name: value for output, value in outputs.items()}
