"""MultiPoseNet in Keras: every person in an image, with 17 keypoints and a silhouette."""

from mpn.environment import pin_environment

__all__ = ["MultiPoseNet"]

pin_environment()


def __getattr__(name):
    # Not imported at the start: TensorFlow takes seconds, and `--help` should be quick.
    if name == "MultiPoseNet":
        from mpn.inference.multiposenet import MultiPoseNet

        return MultiPoseNet
    raise AttributeError(f"module 'mpn' has no attribute {name!r}")
