"""Modules imported at their first use: TensorFlow takes seconds, and `--help` and exported models do without it."""

import functools
import importlib
import importlib.machinery
import importlib.util
import os


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
tf = LazyModule("tensorflow")


@functools.cache
def assignment_solver():
    """scipy.optimize.linear_sum_assignment, from its own file if it has one.

    The rest of scipy.optimize takes a third of the time from the start of Python to the first pose of an export.
    """
    import scipy

    folder = os.path.join(scipy.__path__[0], "optimize")
    spec = importlib.machinery.PathFinder.find_spec("scipy.optimize._lsap", [folder])
    try:
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.linear_sum_assignment
    except (AttributeError, ImportError):  # the file is scipy's own affair, and may go
        from scipy.optimize import linear_sum_assignment

        return linear_sum_assignment
