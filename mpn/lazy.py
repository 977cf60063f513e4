"""Modules imported at their first use: importing takes long, and an exported model finds a person without them."""

import importlib


class LazyModule:
    """Stands for the module `name`, such as "keras.ops", and imports it when an attribute is used."""

    def __init__(self, name):
        self._name = name

    def __getattr__(self, name):
        return getattr(importlib.import_module(self._name), name)


interpolate = LazyModule("scipy.interpolate")
ops = LazyModule("keras.ops")
optimize = LazyModule("scipy.optimize")
tf = LazyModule("tensorflow")
