import onnxruntime


def run(name, **inputs):
    session = onnxruntime.InferenceSession(f"{name}.onnx")
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))
