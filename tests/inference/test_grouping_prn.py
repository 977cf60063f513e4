"""The PRN arranged for grouping says what the trained Keras model says."""

import numpy as np
import pytest
import tensorflow as tf

from mpn.inference.prn import GroupingPRN
from mpn.models.prn import build_prn


def trained_like(**design):
    """A PRN with weights of a trained one's size, no two keypoints or cells alike."""
    rng = np.random.default_rng(3)
    prn = build_prn(nodes=12, **design)
    prn.set_weights([rng.normal(0, 4 / weight.shape[0] ** 0.5, weight.shape) for weight in prn.get_weights()])
    return prn


def rois():
    return np.random.default_rng(4).random((3, 56, 36, 17), np.float32) ** 8


DESIGNS = [
    {},
    {"layers": 2, "residual": False},
    {"pool": 2, "residual_gain": True},
    {"pool": 4, "layers": 2},
]


@pytest.mark.parametrize("design", DESIGNS)
def test_it_is_the_keras_model_keypoints_first(design):
    prn, x = trained_like(**design), rois()
    found = GroupingPRN(prn, design.get("pool", 1))(np.moveaxis(x, 3, 1)).numpy()
    assert found.dtype == np.float32
    expected = np.moveaxis(prn.predict_on_batch(x), 3, 1)
    assert expected.max() > 10 * np.median(expected)  # distributions, not nearly uniform ones
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-8)


@pytest.mark.parametrize("design", [{}, {"pool": 4, "residual_gain": True}])
def test_in_bfloat16_it_says_nearly_the_same(design):
    prn, x = trained_like(**design), np.moveaxis(rois(), 3, 1)
    exact, rounded = (GroupingPRN(prn, design.get("pool", 1), dtype)(x).numpy() for dtype in ("float32", "bfloat16"))
    assert rounded.dtype == np.float32 and not np.array_equal(exact, rounded)
    # Logits are rounded by up to 2^-8 of themselves, and processors without bfloat16 round in places of their own.
    np.testing.assert_allclose(np.log(rounded), np.log(exact), atol=0.3, rtol=2**-8)
    np.testing.assert_allclose(rounded.sum(axis=(2, 3)), 1, rtol=1e-4)


def test_in_a_graph_and_for_nobody():
    prn = tf.function(GroupingPRN(trained_like(pool=4), 4), input_signature=[tf.TensorSpec((None, 17, 56, 36))])
    assert prn(tf.zeros((0, 17, 56, 36))).shape == (0, 17, 56, 36)
    np.testing.assert_allclose(tf.reduce_sum(prn(tf.zeros((2, 17, 56, 36))), axis=(2, 3)), 1, rtol=1e-4)
