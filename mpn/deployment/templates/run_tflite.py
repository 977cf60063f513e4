import tensorflow as tf


def run(name, **inputs):
    return tf.lite.Interpreter(f"{name}.tflite").get_signature_runner()(**inputs)
