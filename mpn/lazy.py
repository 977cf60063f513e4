"""Modules imported at their first use: TensorFlow takes seconds, and `--help` and exported models do without it."""

import importlib


class LazyModule:
    """Stands for the module `name`, such as "keras.ops", and imports it when an attribute is used."""

    def __init__(self, name):
        self._name = name

    def __getattr__(self, name):
        return getattr(importlib.import_module(self._name), name)


def attributes_of(package, modules):
    """A package's `__getattr__`: a dict of names and the modules of the package that have them."""

    def getter(name):
        if name in modules:
            return getattr(importlib.import_module(f"{package}.{modules[name]}"), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return getter


interpolate = LazyModule("scipy.interpolate")
ops = LazyModule("keras.ops")
optimize = LazyModule("scipy.optimize")
tf = LazyModule("tensorflow")
