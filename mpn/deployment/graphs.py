"""The graphs of an export as TensorFlow functions, which writers convert. All tensors are of one image.

    network  images (1, H, W, 3) uint8 RGB, sides multiples of 32 -> heatmaps (H/4, W/4, 18), regression (A, 4),
             classification (A,)
    boxes    regression, classification, shape (2,) int32, H and W -> all_boxes (C, 4), all_scores (C,): every anchor
             with a score above .05
    detect   heatmaps, all_boxes, all_scores, size (2,), width and height without padding -> boxes (N, 4) and
             box_scores (N,), best first; peaks (17, M, 2), peak_scores (17, M), silhouette (H/4, W/4)
    group    boxes, peaks, peak_scores -> candidates (N, 17, M): how well each peak suits each box; guesses (N, 17, 2)
             and guess_scores (N, 17), for keypoints without a peak

and those of a refinement network

    network  images (N, S, S, 3) uint8 RGB crops -> heatmaps (N, S/4, S/4, 18)
    peaks    heatmaps (N, S/4, S/4, 17), without the silhouette -> keypoints (N, 17, 3): x, y and confidence of the
             best peak of each

Coordinates are pixels of the network's input. All numbers are float32 unless another dtype is given.
"""

import tensorflow as tf

from mpn.heatmaps import STRIDE, find_peaks, find_peaks_of_one
from mpn.inference.graphs import run_with_constant_weights, vote
from mpn.inference.grouping import for_each_box, score_candidates
from mpn.inference.prn import GroupingPRN
from mpn.models.person import MAX_DETECTIONS, NMS_THRESHOLD, SCORE_THRESHOLD, decode_boxes
from mpn.skeleton import NUM_KEYPOINTS

_CHANNELS = NUM_KEYPOINTS + 1


def model_graphs(networks, size=None):
    """The graphs of Networks with the weights of all parts: a dict of tf.functions with an input signature.

    Each function returns a dict of tensors. `size`, (height, width), fixes H and W of the network's input.
    """
    config = networks.config
    forward, prn = networks.forward, GroupingPRN(networks.prn, config.prn_pool)  # networks are built outside of graphs
    for name in ("_hidden", "_correction", "_gain"):  # tensors would be inputs of the graph, arrays are constants
        weights = tf.nest.map_structure(lambda tensor: None if tensor is None else tensor.numpy(), getattr(prn, name))
        setattr(prn, name, weights)

    def network(images):
        outputs = run_with_constant_weights(forward, images)
        return {
            "heatmaps": outputs["heatmaps"][0],
            "regression": outputs["regression"][0],
            "classification": outputs["classification"][0, :, 0],
        }

    def boxes(regression, classification, shape):
        likely = tf.where(classification > SCORE_THRESHOLD)[:, 0]
        found = decode_boxes(regression[None], shape[0], shape[1], likely)[0]
        return {"all_boxes": found, "all_scores": tf.gather(classification, likely)}

    def detect(heatmaps, all_boxes, all_scores, size):
        positions, scores = find_peaks(heatmaps[None][..., :NUM_KEYPOINTS])
        # Places behind the last peak of the most frequent keypoint are empty.
        most = tf.maximum(tf.reduce_max(tf.reduce_sum(tf.cast(scores[0] > 0, tf.int32), axis=1)), 1)
        # `mpn.inference.graphs.suppress_boxes` with an operator that every format has.
        kept, _, count = tf.raw_ops.NonMaxSuppressionV5(
            boxes=all_boxes,
            scores=all_scores,
            max_output_size=MAX_DETECTIONS,
            iou_threshold=NMS_THRESHOLD,
            score_threshold=0.0,
            soft_nms_sigma=0.0,
        )
        kept = kept[:count]  # TensorFlow Lite always returns as many as it may
        boxes = tf.minimum(vote(tf.gather(all_boxes, kept), all_boxes, all_scores[:, None]), tf.tile(size, (2,)))
        inside = tf.where(tf.reduce_all(boxes[:, 2:] > boxes[:, :2], axis=1))[:, 0]
        return {
            "boxes": tf.gather(boxes, inside),
            "box_scores": tf.gather(tf.gather(all_scores, kept), inside),
            "peaks": positions[0, :, :most] * STRIDE,
            "peak_scores": scores[0, :, :most],
            "silhouette": heatmaps[..., NUM_KEYPOINTS],
        }

    def group(boxes, peaks, peak_scores):
        each = for_each_box(peaks, peak_scores, tf.shape(boxes)[0])
        candidates, guesses, guess_scores = score_candidates(
            "prn", prn, None, *each, boxes, config.prn_margin, config.prn_window
        )
        return {"candidates": candidates, "guesses": guesses, "guess_scores": guess_scores}

    signatures = {
        network: {"images": ((1, *(size or (None, None)), 3), tf.uint8)},
        boxes: {"regression": (None, 4), "classification": (None,), "shape": ((2,), tf.int32)},
        detect: {"heatmaps": (None, None, _CHANNELS), "all_boxes": (None, 4), "all_scores": (None,), "size": (2,)},
        group: {"boxes": (None, 4), "peaks": (NUM_KEYPOINTS, None, 2), "peak_scores": (NUM_KEYPOINTS, None)},
    }
    return {function.__name__: _graph(function, inputs) for function, inputs in signatures.items()}


def refiner_graphs(networks):
    """The graphs of a refinement network, as of `model_graphs`."""
    model = networks.keypoint_model(supervised=False)
    side = networks.config.image_size[0]

    def network(images):
        return {"heatmaps": run_with_constant_weights(model, images)["heatmaps"]}

    def peaks(heatmaps):
        positions, scores = find_peaks_of_one(heatmaps)
        return {"keypoints": tf.concat([positions * STRIDE, scores[..., None]], axis=-1)}

    return {
        "network": _graph(network, {"images": ((None, side, side, 3), tf.uint8)}),
        "peaks": _graph(peaks, {"heatmaps": (None, side // STRIDE, side // STRIDE, NUM_KEYPOINTS)}),
    }


def _graph(function, inputs):
    """A tf.function of tensors whose shapes, or shapes and dtypes, are given by name."""
    specs = []
    for name, given in inputs.items():
        shape, dtype = given if given and isinstance(given[0], tuple) else (given, tf.float32)
        specs.append(tf.TensorSpec(shape, dtype, name=name))
    return tf.function(function, input_signature=specs, autograph=False)
