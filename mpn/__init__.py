"""MultiPoseNet in Keras: every person in an image, with 17 keypoints and a silhouette."""

from mpn.environment import pin_environment
from mpn.lazy import attributes_of

__all__ = ["MultiPoseNet"]

pin_environment()

__getattr__ = attributes_of(__name__, {"MultiPoseNet": "inference.multiposenet"})
