"""Modules imported at their first use: TensorFlow and Keras take seconds, and an exported model needs neither."""

import importlib


class LazyModule:
    """Stands for the module `name`, such as "keras.ops", and imports it when an attribute is used."""

    def __init__(self, name):
        self._name = name

    def __getattr__(self, name):
        return getattr(importlib.import_module(self._name), name)


ops = LazyModule("keras.ops")
tf = LazyModule("tensorflow")
