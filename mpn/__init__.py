"""MultiPoseNet in Keras: every person in an image, with 17 keypoints and a silhouette."""

import sys

from mpn.environment import pin_environment

__all__ = ["MultiPoseNet"]

pin_environment()


def __getattr__(name):
    # TensorFlow takes seconds to import, which neither `--help` nor an exported model should cost.
    if name == "MultiPoseNet":
        if "tensorflow" in sys.modules:
            from mpn.inference.multiposenet import MultiPoseNet
        else:
            from mpn.deployment.loading import MultiPoseNet

        return MultiPoseNet
    raise AttributeError(f"module 'mpn' has no attribute {name!r}")
