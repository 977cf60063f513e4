"""Parts of the predictor's compiled graphs: the compilation, the network, and its boxes (§3.3)."""

import tensorflow as tf
from keras_retinanet.layers.filter_detections import filter_detections

from mpn.models.person import MAX_DETECTIONS, SCORE_THRESHOLD
from mpn.precision import rewrite_to_bfloat16


def compile_graph(function, signature, rewrites=False, as_numpy=True):
    """Compiles a function from tensors to a dict of tensors into one TensorFlow graph.

    Args:
        function: its networks must be built already.
        signature: tuple of its tf.TensorSpecs.
        rewrites: whether oneDNN may compute convolutions and matrix products in bfloat16.
        as_numpy: give numpy arrays instead of tensors, which stay on the device.
    """
    graph = tf.function(function, input_signature=signature)

    def call(*inputs):
        rewrite_to_bfloat16(rewrites)  # TensorFlow reads this at the first run of a graph
        try:
            outputs = graph(*inputs)
        finally:
            rewrite_to_bfloat16(False)
        return {name: tensor.numpy() for name, tensor in outputs.items()} if as_numpy else outputs

    return call


def run_with_constant_weights(network, images):
    """Calls a keras.Model on (B, H, W, 3) uint8 images in a graph that holds its weights as constants.

    TensorFlow then folds batch normalisation into the convolutions and arranges weights for the processor once, which
    is a quarter faster than variables.
    """
    with tf.init_scope():  # values can only be read outside the graph
        trainable = [variable.numpy() for variable in network.trainable_variables]
        fixed = [variable.numpy() for variable in network.non_trainable_variables]
    trainable, fixed = ([tf.constant(value) for value in values] for values in (trainable, fixed))
    outputs, _ = network.stateless_call(trainable, fixed, tf.cast(images, tf.float32), training=False)
    return outputs


def suppress_boxes(boxes, scores, size, nms_threshold):
    """Non-maximum suppression on one image, as part of a graph.

    Args:
        boxes: (A, 4) float32, [x1, y1, x2, y2] in input pixels.
        scores: (A, 1) float32 in [0, 1].
        size: (2,) float32, width and height of the input without padding, to which boxes are cut.
        nms_threshold: a box that overlaps a better one by a larger IoU is dropped.

    Returns:
        dict: "boxes" (N, 4) float32, best first, N at most 100, and "box_scores" (N,) float32.
    """
    boxes, scores, _ = filter_detections(
        boxes, scores, score_threshold=SCORE_THRESHOLD, max_detections=MAX_DETECTIONS, nms_threshold=nms_threshold
    )
    boxes = tf.minimum(boxes, tf.tile(size, (2,)))
    # Filler rows have the score -1, and a box without area was in the padding.
    found = (scores > 0) & tf.reduce_all(boxes[:, 2:] > boxes[:, :2], axis=1)
    return {"boxes": tf.boolean_mask(boxes, found), "box_scores": tf.boolean_mask(scores, found)}
