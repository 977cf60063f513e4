"""Parts of a prediction that can be timed alone (§4.5)."""

import copy

import tensorflow as tf

from mpn.inference.graphs import compile_graph
from mpn.skeleton import NUM_KEYPOINTS


def peaks_graph(model):
    """The second part of a MultiPoseNet's `detect`, without its network: peaks and NMS.

    Returns a function of `MultiPoseNet.prepare`'s two inputs, and of the heatmaps, regression and classification that
    `MultiPoseNet.forward_graph` gives for them, to a dict of numpy arrays. It takes images of all sizes.
    """

    def find(images, size, heatmaps, regression, classification):
        boxes = model._boxes({"regression": regression, "classification": classification}, images, size)
        return {**model._found(heatmaps), **boxes}

    shapes = (2,), (1, None, None, NUM_KEYPOINTS + 1), (1, None, 4), (1, None, 1)
    signature = tf.TensorSpec((1, None, None, 3), tf.uint8), *(tf.TensorSpec(shape, tf.float32) for shape in shapes)
    return compile_graph(find, signature)


def halves_of_grouping(model, detections):
    """A MultiPoseNet's `group` in two: the graph with RoIs, PRN and scores of candidates, and the rest.

    Returns two functions without arguments; the second gives the people.
    """
    graph, seen = model._group_graph, []

    def record(*inputs):
        seen.append((inputs, graph(*inputs)))
        return seen[-1][1]

    recorder = copy.copy(model)
    recorder._group_graph = record
    recorder.group(detections)
    inputs, outputs = seen[0]
    recorder._group_graph = lambda *_: outputs
    return lambda: graph(*inputs), lambda: recorder.group(detections)
