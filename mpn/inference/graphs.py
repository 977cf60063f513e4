"""Parts of the predictor's compiled graphs: the compilation, the forward pass, and NMS of boxes (§3.3)."""

import tensorflow as tf
from keras_retinanet.layers.filter_detections import filter_detections

from mpn.models.person import MAX_DETECTIONS, SCORE_THRESHOLD
from mpn.precision import rewrite_to_bfloat16

# IoU above which a box votes, chosen on held-out photographs.
VOTE_THRESHOLD = 0.6


def compile_graph(function, signature, rewrites=False, as_numpy=True):
    """Compiles a function from tensors to a dict of tensors into one TensorFlow graph.

    The function's networks must be built already. `signature` is a tuple of its tf.TensorSpecs. With `rewrites`, oneDNN
    may compute convolutions and matrix products in bfloat16. Without `as_numpy`, outputs stay tensors on the device.
    """
    graph = tf.function(function, input_signature=signature, autograph=False)

    def call(*inputs):
        rewrite_to_bfloat16(rewrites)  # TensorFlow reads this when a graph first runs
        try:
            outputs = graph(*inputs)
        finally:
            rewrite_to_bfloat16(False)
        return {name: tensor.numpy() for name, tensor in outputs.items()} if as_numpy else outputs

    return call


def run_with_constant_weights(network, images):
    """Calls a keras.Model on (B, H, W, 3) uint8 images in a graph that holds its weights as constants.

    This is a quarter faster than variables: TensorFlow folds batch normalisation into the convolutions and arranges the
    weights for the processor once.
    """
    with tf.init_scope():  # values can only be read outside the graph
        trainable = [variable.numpy() for variable in network.trainable_variables]
        fixed = [variable.numpy() for variable in network.non_trainable_variables]
    trainable, fixed = ([tf.constant(value) for value in values] for values in (trainable, fixed))
    outputs, _ = network.stateless_call(trainable, fixed, tf.cast(images, tf.float32), training=False)
    return outputs


def suppress_boxes(boxes, scores, size, nms_threshold):
    """Non-maximum suppression on one image, inside a graph.

    `boxes` is (A, 4) float32 [x1, y1, x2, y2] in input pixels, `scores` (A, 1) float32 in [0, 1]. `size`, (2,) float32,
    is the input's width and height without padding; boxes are cut to it. A box is dropped if its IoU with a better one
    is above `nms_threshold`; those that stay are moved by `vote`. Returns "boxes" (N, 4), best first, at most 100, and
    "box_scores" (N,), both float32.
    """
    kept, kept_scores, _ = filter_detections(
        boxes, scores, score_threshold=SCORE_THRESHOLD, max_detections=MAX_DETECTIONS, nms_threshold=nms_threshold
    )
    kept = tf.minimum(vote(kept, boxes, scores), tf.tile(size, (2,)))
    # Filler rows have the score -1; boxes without area were in the padding.
    found = (kept_scores > 0) & tf.reduce_all(kept[:, 2:] > kept[:, :2], axis=1)
    return {"boxes": tf.boolean_mask(kept, found), "box_scores": tf.boolean_mask(kept_scores, found)}


def vote(kept, boxes, scores):
    """Box voting: (N, 4) boxes that NMS has kept, each moved to the weighted mean of the boxes that overlap it.

    These are those of `boxes`, (A, 4), whose IoU with it is above VOTE_THRESHOLD, the kept box included. The weight is
    their score, of (A, 1), times the IoU above the threshold, so that rounding moves no box far. Beyond the paper.
    """
    sides = tf.minimum(kept[:, None, 2:], boxes[:, 2:]) - tf.maximum(kept[:, None, :2], boxes[:, :2])
    shared = tf.reduce_prod(tf.maximum(sides, 0), axis=-1)
    area, others = (tf.reduce_prod(each[:, 2:] - each[:, :2], axis=-1) for each in (kept, boxes))
    overlap = tf.math.divide_no_nan(shared, area[:, None] + others - shared)
    weights = tf.maximum(overlap - VOTE_THRESHOLD, 0) * scores[:, 0]
    return tf.math.divide_no_nan(weights @ boxes, tf.reduce_sum(weights, axis=1, keepdims=True))
