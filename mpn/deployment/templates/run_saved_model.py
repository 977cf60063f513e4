import tensorflow as tf


def run(name, **inputs):
    inputs = {key: tf.constant(value) for key, value in inputs.items()}
    outputs = tf.saved_model.load(name).signatures["serving_default"](**inputs)
    return {key: value.numpy() for key, value in outputs.items()}
