"""Parts of a prediction that can be timed alone, and predictions of a given number of people (§4.5)."""

import copy
import functools

import numpy as np
import tensorflow as tf

from mpn.inference.multiposenet import MultiPoseNet
from mpn.inference.views import Augmentation
from mpn.skeleton import NUM_KEYPOINTS


class _Copy(MultiPoseNet):
    """A model with the networks and settings of another, and with graphs of its own."""

    def __init__(self, model):
        for name, value in vars(model).items():
            if not isinstance(getattr(type(model), name, None), functools.cached_property):
                setattr(self, name, value)


class OneView(_Copy):
    """Sees each image as its attribute `view` says: the factor and the mirroring of `MultiPoseNet.prepare`."""

    def __init__(self, model):
        super().__init__(model)
        self.augmentation, self.view = Augmentation(), (1.0, False)

    def prepare(self, image, *_):
        return super().prepare(image, *self.view)


class PeaksAlone(_Copy):
    """Finds peaks and boxes in outputs that the network gave before; call `look_at` first."""

    def __init__(self, model):
        super().__init__(model)
        self.grouping = "max"  # needs no PRN
        self._outputs = None

    def look_at(self, outputs):
        """Takes the outputs from now on: dict of numpy arrays, see `MultiPoseNet.forward_graph`."""
        if self._outputs is None:
            # (1, h, w, channels) or (1, anchors, channels), of any size, as in the graph that runs the network.
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


class Crowded(_Copy):
    """Works as its model does, then replaces the people that it found by given ones."""

    def __init__(self, model):
        super().__init__(model)
        shapes = {
            "boxes": (None, 4),
            "box_scores": (None,),
            "peaks": (NUM_KEYPOINTS, None, 2),
            "peak_scores": (NUM_KEYPOINTS, None),
        }
        # TensorFlow computes ahead with constants, not with variables.
        self._crowd = {
            name: tf.Variable(tf.zeros([side or 0 for side in shape]), shape=shape) for name, shape in shapes.items()
        }

    def put_in(self, detections, scale):
        """Gives these people from now on.

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
        # Kept in the outputs, and computed before the PRN: TensorFlow must neither skip nor postpone it.
        unused = {f"unused_{name}": found[name] for name in self._crowd}
        with tf.control_dependencies(list(unused.values())):
            given = {name: tf.identity(variable) for name, variable in self._crowd.items()}
        return {**found, **unused, **given}


def halves_of_grouping(model, detections):
    """`model.group` in two: the graph with RoIs, PRN and scores of candidates, and the rest.

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
