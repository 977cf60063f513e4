"""Parts of the predictor's compiled graphs: how they are compiled, the network, and the boxes it gives (§3.3)."""

import tensorflow as tf
from keras_retinanet.layers.filter_detections import filter_detections

from mpn.models.person import MAX_DETECTIONS, SCORE_THRESHOLD
from mpn.precision import rewrite_to_bfloat16


def compile_graph(function, signature, rewrites=False, as_numpy=True):
    """Compiles a function into one TensorFlow graph.

    Args:
        function: of tensors, giving a dict of tensors. Networks in it must be built already.
        signature: tuple of its tf.TensorSpecs.
        rewrites: whether oneDNN may compute its convolutions and matrix products in bfloat16.
        as_numpy: give numpy arrays; tensors otherwise, which stay on the device that computed them.

    Returns:
        function of tensors or arrays, giving a dict.
    """
    graph = tf.function(function, input_signature=signature)

    def call(*inputs):
        rewrite_to_bfloat16(rewrites)  # read when TensorFlow runs a graph for the first time
        try:
            outputs = graph(*inputs)
        finally:
            rewrite_to_bfloat16(False)
        return {name: tensor.numpy() for name, tensor in outputs.items()} if as_numpy else outputs

    return call


def run_with_constant_weights(network, images):
    """Graph of a network whose weights are constants of that graph.

    TensorFlow then folds batch normalisation into the convolutions and lays weights out for the processor once: a
    quarter faster than with variables.

    Args:
        network: keras.Model.
        images: (B, H, W, 3) uint8.

    Returns:
        what the network gives.
    """
    with tf.init_scope():  # values can only be read outside of the graph
        trainable = [variable.numpy() for variable in network.trainable_variables]
        fixed = [variable.numpy() for variable in network.non_trainable_variables]
    trainable, fixed = ([tf.constant(value) for value in values] for values in (trainable, fixed))
    outputs, _ = network.stateless_call(trainable, fixed, tf.cast(images, tf.float32), training=False)
    return outputs


def suppress_boxes(boxes, scores, size, nms_threshold):
    """Graph of non-maximum suppression on one image.

    Args:
        boxes: (A, 4) float32, [x1, y1, x2, y2] in input pixels.
        scores: (A, 1) float32 in [0, 1].
        size: (2,) float32, width and height of the input without padding, at which boxes are cut off.
        nms_threshold: boxes that overlap a better one by a larger IoU are dropped.

    Returns:
        dict: "boxes" (N, 4) float32, best first, N at most 100, and "box_scores" (N,) float32.
    """
    boxes, scores, _ = filter_detections(
        boxes, scores, score_threshold=SCORE_THRESHOLD, max_detections=MAX_DETECTIONS, nms_threshold=nms_threshold
    )
    boxes = tf.minimum(boxes, tf.tile(size, (2,)))
    # The rest of the rows is filler, and a box that has no area now lay in the padding of the image.
    found = (scores > 0) & tf.reduce_all(boxes[:, 2:] > boxes[:, :2], axis=1)
    return {"boxes": tf.boolean_mask(boxes, found), "box_scores": tf.boolean_mask(scores, found)}
