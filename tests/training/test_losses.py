"""Losses against numbers worked out by hand."""

import math

import keras_retinanet.losses
import numpy as np
import pytest
import tensorflow as tf

from mpn.training.losses import (
    SILHOUETTE_WEIGHT,
    focal,
    masked_l2,
    prn_binary_cross_entropy,
    prn_cross_entropy,
    smooth_l1,
)

K = 17
CELLS = 56 * 36


def heatmap_batch(batch=2):
    """Zero targets under a mask of ones, (batch, 2, 3, 18) each."""
    return np.zeros((batch, 2, 3, K + 1), np.float32), np.ones((batch, 2, 3, K + 1), np.float32)


def l2(targets, mask, prediction):
    return masked_l2(np.concatenate([targets, mask], axis=-1), prediction).numpy()


def test_masked_l2_sums_squares_over_cells_and_keypoint_channels():
    targets, mask = heatmap_batch()
    prediction = np.zeros_like(targets)
    targets[0, 0, 1, 3] = 1.0
    prediction[0, 0, 1, 3] = 0.25  # 0.5625
    prediction[0, 1, 2, 16] = -2.0  # 4
    prediction[1, 1, 0, 0] = 3.0  # 9
    np.testing.assert_allclose(l2(targets, mask, prediction), [4.5625, 9.0], rtol=1e-6)


def test_masked_l2_leaves_out_what_the_mask_hides():
    targets, mask = heatmap_batch()
    prediction = np.zeros_like(targets)
    prediction[0, 0, 0, 5] = 7.0
    prediction[0, 0, 1, 5] = 2.0
    mask[0, 0, 0, 5] = 0.0
    np.testing.assert_allclose(l2(targets, mask, prediction), [4.0, 0.0])


def test_masked_l2_weighs_the_silhouette_less():
    targets, mask = heatmap_batch()
    prediction = np.zeros_like(targets)
    prediction[0, ..., K] = 2.0  # six cells of 4
    np.testing.assert_allclose(l2(targets, mask, prediction), [24 * SILHOUETTE_WEIGHT, 0.0], rtol=1e-6)
    assert 0 < SILHOUETTE_WEIGHT < 1


def test_gradient_is_zero_at_masked_pixels_and_nowhere_else():
    rng = np.random.default_rng(0)
    targets = rng.random((2, 8, 8, K + 1), np.float32)
    mask = (rng.random(targets.shape) < 0.6).astype(np.float32)
    prediction = tf.Variable(rng.random(targets.shape, np.float32) + 2)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(masked_l2(tf.concat([targets, mask], axis=-1), prediction))
    gradient = tape.gradient(loss, prediction).numpy()
    assert (gradient[mask == 0] == 0).all()
    assert (gradient[mask == 1] > 0).all()


def test_masked_l2_of_half_precision_does_not_overflow():
    targets, mask = heatmap_batch(1)
    prediction = np.full_like(targets, 300.0, dtype=np.float16)  # 300² is above float16's 65504
    expected = 300.0**2 * 6 * (K + SILHOUETTE_WEIGHT)
    np.testing.assert_allclose(l2(targets, mask, prediction), [expected], rtol=1e-5)


def test_focal_loss():
    # Anchors: person at .8, background at .3, ignored at .9, person at .5; alpha .25, gamma 2, over two persons.
    y_true = np.array([[[1, 1], [0, 0], [0, -1], [1, 1]]], np.float32)
    y_pred = np.array([[[0.8], [0.3], [0.9], [0.5]]], np.float32)
    expected = (0.25 * 0.2**2 * -math.log(0.8) + 0.75 * 0.3**2 * -math.log(0.7) + 0.25 * 0.5**2 * -math.log(0.5)) / 2
    loss = focal(y_true, y_pred)
    assert loss.numpy() == pytest.approx(expected, rel=1e-5)


def test_focal_loss_without_people_is_not_divided_by_zero():
    y_true = np.array([[[0, 0], [0, -1]]], np.float32)
    y_pred = np.array([[[0.3], [0.9]]], np.float32)
    loss = focal(y_true, y_pred)
    assert loss.numpy() == pytest.approx(0.75 * 0.3**2 * -math.log(0.7), rel=1e-5)


def test_smooth_l1_loss():
    # sigma 3: quadratic 4.5 d² below 1/9, d - 1/18 above; background and ignored anchors do not count.
    y_true = np.zeros((1, 4, 5), np.float32)
    y_true[0, :, 4] = [1, 0, -1, 1]
    y_pred = np.zeros((1, 4, 4), np.float32)
    y_pred[0, 0] = [0.1, 0, 0, -0.5]
    y_pred[0, 1] = 50
    y_pred[0, 2] = 70
    y_pred[0, 3, 2] = 2
    expected = (4.5 * 0.1**2 + (0.5 - 1 / 18) + (2 - 1 / 18)) / 2
    loss = smooth_l1(y_true, y_pred)
    assert loss.numpy() == pytest.approx(expected, rel=1e-5)
    y_true[..., 4] = 0
    assert smooth_l1(y_true, y_pred) == 0


@pytest.mark.parametrize(("loss", "width"), [("focal", 1), ("smooth_l1", 4)])
def test_losses_of_the_person_subnet_are_those_of_keras_retinanet_image_by_image(loss, width):
    """The second image has no person, the third nothing but ignored anchors."""
    rng = np.random.default_rng(0)
    states = np.stack([rng.integers(-1, 2, 40), rng.integers(-1, 1, 40), np.full(40, -1)])
    targets = (states == 1)[..., None] if width == 1 else rng.normal(0, 0.3, (3, 40, width))
    y_true = np.concatenate([targets, states[..., None]], axis=-1).astype(np.float32)
    y_pred = rng.uniform(0, 1, (3, 40, width)).astype(np.float32)
    ours = {"focal": focal, "smooth_l1": smooth_l1}[loss](y_true, y_pred).numpy()
    theirs = getattr(keras_retinanet.losses, loss)()
    np.testing.assert_allclose(ours, [theirs(y_true[i : i + 1], y_pred[i : i + 1]) for i in range(3)], rtol=1e-5)
    assert ours[0] > 0 and ours[2] == 0


def prn_batch():
    """Two people: keypoint 2 of the first is labelled in one cell, keypoints 0 and 16 of the second."""
    y_true = np.zeros((2, 56, 36, K), np.float32)
    y_true[0, 10, 5, 2] = 1
    y_true[1, 0, 0, 0] = 1
    y_true[1, 55, 35, 16] = 1
    return y_true, np.full((2, 56, 36, K), 1 / CELLS, np.float32)


def test_prn_cross_entropy():
    y_true, y_pred = prn_batch()
    np.testing.assert_allclose(prn_cross_entropy(y_true, y_pred).numpy(), [math.log(CELLS)] * 2, rtol=1e-5)
    y_pred[1, 0, 0, 0] = 0.5
    expected = [math.log(CELLS), (math.log(CELLS) + math.log(2)) / 2]
    np.testing.assert_allclose(prn_cross_entropy(y_true, y_pred).numpy(), expected, rtol=1e-5)


def test_prn_binary_cross_entropy():
    y_true, y_pred = prn_batch()
    one = math.log(CELLS) - (CELLS - 1) * math.log1p(-1 / CELLS)
    np.testing.assert_allclose(prn_binary_cross_entropy(y_true, y_pred).numpy(), [one, one], rtol=1e-4)
    # A blurred label: half the mass in each of two cells.
    y_true[0, 10, 5, 2] = y_true[0, 11, 5, 2] = 0.5
    blurred = math.log(CELLS) - (CELLS - 1) * math.log1p(-1 / CELLS)
    y_pred[0, 10, 5, 2] = 0.3
    blurred += -0.5 * math.log(0.3) - 0.5 * math.log(0.7) + 0.5 * math.log(1 / CELLS) + 0.5 * math.log1p(-1 / CELLS)
    np.testing.assert_allclose(prn_binary_cross_entropy(y_true, y_pred).numpy(), [blurred, one], rtol=1e-4)


@pytest.mark.parametrize("loss", [prn_binary_cross_entropy, prn_cross_entropy])
def test_prn_losses_ignore_unlabelled_keypoints(loss):
    y_true, y_pred = prn_batch()
    before = loss(y_true, y_pred).numpy()
    prediction = tf.Variable(y_pred)
    prediction[0, ..., 3].assign(np.random.default_rng(0).random((56, 36), np.float32))
    with tf.GradientTape() as tape:
        after = loss(y_true, prediction)
    np.testing.assert_array_equal(before, after)
    gradient = tape.gradient(after, prediction).numpy()
    labelled = y_true.sum(axis=(1, 2)) > 0
    assert (np.abs(gradient).sum(axis=(1, 2)) > 0).tolist() == labelled.tolist()


@pytest.mark.parametrize("loss", [prn_binary_cross_entropy, prn_cross_entropy])
def test_prn_losses_of_a_certain_but_wrong_answer_are_finite(loss):
    y_true, y_pred = prn_batch()
    y_pred[:] = 0
    y_pred[:, 30, 30] = 1
    assert np.isfinite(loss(y_true, y_pred).numpy()).all()
    nobody = loss(np.zeros_like(y_true), y_pred).numpy()
    np.testing.assert_array_equal(nobody, [0, 0])
