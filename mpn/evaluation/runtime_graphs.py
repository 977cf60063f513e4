"""Parts of a prediction that can be timed alone, and whole predictions of as many people as are asked for (§4.5)."""

import copy

import numpy as np
import tensorflow as tf

from mpn.inference.multiposenet import MultiPoseNet
from mpn.skeleton import NUM_KEYPOINTS


class PeaksAlone(MultiPoseNet):
    """A model that finds peaks and boxes in what the network gave before; first call `look_at`.

    Args:
        model: MultiPoseNet to be like.
    """

    def __init__(self, model):
        super().__init__(**_options(model) | {"grouping": "max"})  # which needs no PRN: none is built
        self._outputs = None

    def look_at(self, outputs):
        """From now on takes these outputs: dict of numpy arrays, what `forward_graph` gives for an image."""
        if self._outputs is None:
            # (1, h, w, channels) or (1, anchors, channels), of any size as in the graph that runs the network.
            shapes = {name: (1, *[None] * (value.ndim - 2), value.shape[-1]) for name, value in outputs.items()}
            self._outputs = {name: tf.Variable(value, shape=shapes[name]) for name, value in outputs.items()}
        for name, value in outputs.items():
            self._outputs[name].assign(value)

    def run(self, inputs):
        """Peaks and NMS, the graph of `detect` without its network: dict of numpy arrays.

        Args:
            inputs: of the same image, see `MultiPoseNet.prepare`.
        """
        return self._detect_graph(*inputs)

    def _forward(self, images):
        return {name: tf.identity(variable) for name, variable in self._outputs.items()}


class Crowded(MultiPoseNet):
    """A model that works as always, and then puts given people in the place of those that it found.

    Args:
        model: MultiPoseNet to be like.
    """

    def __init__(self, model):
        super().__init__(**_options(model))
        shapes = {
            "boxes": (None, 4),
            "box_scores": (None,),
            "peaks": (NUM_KEYPOINTS, None, 2),
            "peak_scores": (NUM_KEYPOINTS, None),
        }
        # Variables, so that TensorFlow cannot compute anything of them when the graph is made.
        self._crowd = {
            name: tf.Variable(tf.zeros([side or 0 for side in shape]), shape=shape) for name, shape in shapes.items()
        }

    def put_in(self, detections, scale):
        """From now on finds these people.

        Args:
            detections: Detections in image pixels.
            scale: (2,) float32, input pixels an image pixel along x and y, see `MultiPoseNet.prepare`.
        """
        self._crowd["boxes"].assign(detections.boxes * np.tile(scale, 2))
        self._crowd["box_scores"].assign(detections.box_scores)
        self._crowd["peaks"].assign(detections.peaks * scale)
        self._crowd["peak_scores"].assign(detections.peak_scores)

    def _detected(self, images, size):
        found = super()._detected(images, size)
        # TensorFlow must neither leave out what was found, nor begin with the PRN before it is found.
        unused = {f"unused_{name}": found[name] for name in self._crowd}
        with tf.control_dependencies(list(unused.values())):
            given = {name: tf.identity(variable) for name, variable in self._crowd.items()}
        return {**found, **unused, **given}


def halves_of_grouping(model, detections):
    """`model.group` in two: the PRN's graph (RoIs, PRN and scores of candidates), and all but that.

    Args:
        model: MultiPoseNet.
        detections: Detections.

    Returns:
        two functions without arguments; the second gives the people.
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


def _options(model):
    """What a MultiPoseNet was made with."""
    return {
        "networks": model.networks,
        "image_size": model.config.image_size,
        "precision": model.precision,
        "grouping": model.grouping,
        "nms_threshold": model.nms_threshold,
        "square": model.square,
        "window": model.config.prn_window,
        "assignment": model.config.prn_assignment,
    }
