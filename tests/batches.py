"""What tests of the three pipelines share: taking batches apart."""

import itertools

import numpy as np


def take(dataset, count):
    """The first batches as nested numpy arrays."""
    return list(itertools.islice(dataset.as_numpy_iterator(), count))


def leaves(value):
    if isinstance(value, dict):
        value = [value[key] for key in sorted(value)]
    return [leaf for item in value for leaf in leaves(item)] if isinstance(value, (list, tuple)) else [value]


def assert_same(one, other):
    one, other = leaves(one), leaves(other)
    assert len(one) == len(other) > 0
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


def differ(one, other):
    return any(not np.array_equal(a, b) for a, b in zip(leaves(one), leaves(other), strict=True))
