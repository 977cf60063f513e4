"""Training of the three stages, as in `train_keypoints(KeypointTraining(coco="coco", model="models/m"))`."""

from mpn.lazy import attributes_of

_SETTINGS = dict.fromkeys(("KeypointTraining", "PersonTraining", "PrnTraining"), "settings")
_MODULES = _SETTINGS | {"train_keypoints": "keypoints", "train_person": "person", "train_prn": "prn"}

__all__ = list(_MODULES)
__getattr__ = attributes_of(__name__, _MODULES)
