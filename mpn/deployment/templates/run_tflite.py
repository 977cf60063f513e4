from ai_edge_litert.interpreter import Interpreter


def run(name, **inputs):
    return Interpreter(f"{name}.tflite").get_signature_runner()(**inputs)
