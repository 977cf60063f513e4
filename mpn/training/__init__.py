"""Training of the three stages, as in `train_keypoints(KeypointTraining(coco="coco", model="models/m"))`."""

import importlib

_MODULES = {
    "KeypointTraining": "settings",
    "PersonTraining": "settings",
    "PrnTraining": "settings",
    "train_keypoints": "keypoints",
    "train_person": "person",
    "train_prn": "prn",
}
__all__ = list(_MODULES)


def __getattr__(name):
    # Settings must not wait for the import of TensorFlow, which takes seconds.
    if name in _MODULES:
        return getattr(importlib.import_module(f"mpn.training.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'mpn.training' has no attribute {name!r}")
