"""Our extractors against keras.applications, whose ImageNet weights they must take unchanged."""

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.applications import resnet
from tiny_networks import outputs_of

from mpn.errors import UserError
from mpn.models.backbone import (
    LEVELS,
    RESNET_BLOCKS,
    build_backbone,
    copy_backbone_weights,
    freeze_batch_normalization,
)
from mpn.models.normalization import BatchNormalization
from mpn.weights import load_backbone_weights

RESNET50_LEVELS = ("conv2_block3_out", "conv3_block4_out", "conv4_block6_out", "conv5_block3_out")
MOBILENET_LEVELS = ("block_3_expand_relu", "block_6_expand_relu", "block_13_expand_relu", "out_relu")


def images(height, width, count=1):
    return np.random.default_rng(5).integers(0, 256, (count, height, width, 3)).astype(np.float32)


def randomise(model, seed=0):
    """Weights as unlike the initial ones as training would make them, batch statistics included."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            size = layer.gamma.shape[0]
            positive = [rng.uniform(0.5, 1.5, size) for _ in range(2)]
            centred = [rng.normal(0, 0.3, size) for _ in range(2)]
            layer.set_weights([positive[0], centred[0], centred[1], positive[1]])
        elif layer.weights:
            layer.set_weights([w + rng.normal(0, 0.01, w.shape) for w in layer.get_weights()])


def assert_same(ours, theirs):
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5 * np.abs(theirs).max())


@pytest.fixture(scope="module")
def resnet50(tmp_path_factory):
    """keras.applications' ResNet-50 and a weights file of it."""
    application = keras.applications.ResNet50(include_top=False, weights=None, input_shape=(None, None, 3))
    randomise(application)
    path = tmp_path_factory.mktemp("weights") / "resnet50.weights.h5"
    application.save_weights(path)
    return application, str(path)


@pytest.fixture(scope="module")
def light():
    """A MobileNet that tests must not change."""
    return build_backbone("mobilenet_v2", width=0.35)


@pytest.fixture(scope="module")
def plain(resnet50):
    backbone = build_backbone("resnet50")
    load_backbone_weights(backbone, resnet50[1])
    return backbone


def test_resnet50_equals_keras_applications_at_every_level(resnet50, plain):
    application, _ = resnet50
    batch = images(64, 96, 2)
    theirs = keras.Model(application.input, [application.get_layer(name).output for name in RESNET50_LEVELS])
    expected = outputs_of(theirs, resnet.preprocess_input(batch.copy()))
    actual = outputs_of(plain, batch)
    assert list(actual) == list(LEVELS)
    assert plain.strides == {"C2": 4, "C3": 8, "C4": 16, "C5": 32}
    for level, reference in zip(LEVELS, expected, strict=True):
        stride = plain.strides[level]
        assert reference.shape[1:3] == (64 // stride, 96 // stride)
        assert_same(actual[level], reference)


def test_dilated_resnet_keeps_the_weights_and_refines_c5(plain):
    dilated = build_backbone("resnet50", dilated=True)
    assert [(w.path, w.shape) for w in dilated.weights] == [(w.path, w.shape) for w in plain.weights]
    dilated.set_weights(plain.get_weights())
    batch = images(64, 96)
    fine, coarse = outputs_of(dilated, batch), outputs_of(plain, batch)
    assert dilated.strides == {"C2": 4, "C3": 8, "C4": 16, "C5": 16}
    assert fine["C5"].shape == (1, 4, 6, 2048)
    for level in ("C2", "C3", "C4"):
        np.testing.assert_array_equal(fine[level], coarse[level])
    # The dilated convolutions see at every second cell exactly what the strided ones see.
    assert_same(fine["C5"][:, ::2, ::2], coarse["C5"])
    assert np.abs(fine["C5"][:, 1::2, 1::2] - coarse["C5"]).max() > 1e-2 * np.abs(coarse["C5"]).max()


def test_resnet101_has_the_size_and_levels_of_keras_applications():
    backbone = build_backbone("resnet101")
    assert backbone.count_params() == 42_658_176
    outputs = [backbone.output[level]._keras_history.operation.name for level in LEVELS]
    assert outputs == ["conv2_block3_out", "conv3_block4_out", "conv4_block23_out", "conv5_block3_out"]


def test_folded_normalisation_computes_the_same(tmp_path):
    source = keras.applications.MobileNetV2(include_top=False, weights=None, alpha=0.35, input_shape=(None, None, 3))
    randomise(source)
    source.save_weights(tmp_path / "source.weights.h5")
    plain, folded = (build_backbone("mobilenet_v2", width=0.35, folded=folded) for folded in (False, True))
    for backbone in (plain, folded):
        load_backbone_weights(backbone, str(tmp_path / "source.weights.h5"), 0.35)
    assert not any("moving" in v.path or "gamma" in v.path for v in folded.variables)
    assert any("moving" in v.path for v in plain.variables) and folded.strides == plain.strides
    batch = images(64, 96, 2)
    expected, actual = outputs_of(plain, batch), outputs_of(folded, batch)
    for level in LEVELS:
        scale = np.abs(expected[level]).max()
        assert scale > 0
        np.testing.assert_allclose(actual[level], expected[level], atol=1e-4 * scale)


def test_a_folded_resnet_computes_the_same(monkeypatch):
    monkeypatch.setitem(RESNET_BLOCKS, "resnet50", (1, 1, 1, 1))
    plain, folded = (build_backbone("resnet50", folded=folded) for folded in (False, True))
    randomise(plain)
    copy_backbone_weights(folded, plain)
    batch = images(64, 96)
    expected, actual = outputs_of(plain, batch), outputs_of(folded, batch)
    for level in LEVELS:
        np.testing.assert_allclose(actual[level], expected[level], atol=1e-4 * np.abs(expected[level]).max())


def test_weights_of_another_width_are_refused(light, tmp_path):
    path = str(tmp_path / "half.weights.h5")
    keras.applications.MobileNetV2((None, None, 3), alpha=0.5, include_top=False, weights=None).save_weights(path)
    with pytest.raises(UserError, match="half.weights.h5 into mobilenet_v2 of width 0.35"):
        load_backbone_weights(light, path, width=0.35)


def test_weights_of_another_network_are_refused(light, resnet50):
    before = light.get_weights()
    with pytest.raises(UserError, match="into mobilenet_v2 of width 0.35") as caught:
        load_backbone_weights(light, resnet50[1], width=0.35)
    assert resnet50[1] in str(caught.value) and "\n" not in str(caught.value)
    for old, new in zip(before, light.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_file_that_is_no_weights_file_is_refused(light, tmp_path):
    path = tmp_path / "notes.h5"
    path.write_text("not HDF5")
    with pytest.raises(UserError, match="notes.h5"):
        load_backbone_weights(light, str(path), width=0.35)


def test_a_file_of_another_kind_of_numbers_is_refused(light, tmp_path):
    path = str(tmp_path / "empty.h5")
    with h5py.File(path, "w") as file:
        file["nothing"] = h5py.Empty("f4")
    with pytest.raises(UserError, match="empty.h5 into mobilenet_v2"):
        load_backbone_weights(light, path, width=0.35)


def test_missing_weights_are_refused(light, tmp_path):
    with pytest.raises(UserError, match="do not exist"):
        load_backbone_weights(light, str(tmp_path / "nowhere.h5"), width=0.35)


def test_none_leaves_a_backbone_as_it_is(light):
    before = light.get_weights()
    load_backbone_weights(light, "none", width=0.35)
    for old, new in zip(before, light.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_unknown_backbone_is_refused():
    with pytest.raises(UserError, match="vgg16"):
        build_backbone("vgg16")


def test_frozen_normalization_ignores_the_batch():
    backbone = build_backbone("mobilenet_v2", width=0.35)
    batch = images(64, 64, 2)
    free = backbone(batch, training=True)["C2"]
    freeze_batch_normalization(backbone)
    assert not np.allclose(free, backbone(batch, training=False)["C2"], atol=1e-3)
    statistics = [v.numpy() for v in backbone.non_trainable_variables]
    np.testing.assert_array_equal(backbone(batch, training=True)["C2"], backbone(batch, training=False)["C2"])
    for old, new in zip(statistics, backbone.non_trainable_variables, strict=True):
        np.testing.assert_array_equal(old, new)
    assert backbone.trainable_variables  # the convolutions still learn


def test_batch_normalization_is_keras_own():
    """Same outputs, gradients and running statistics as Keras' layer, in training and inference."""
    rng = np.random.default_rng(0)
    images = rng.normal(3, 2, (4, 5, 6, 7)).astype(np.float32)
    ours, theirs = (kind(momentum=0.9, epsilon=1e-3) for kind in (BatchNormalization, keras.layers.BatchNormalization))
    weights = [rng.uniform(0.5, 2, 7).astype(np.float32) for _ in range(4)]
    results = []
    for layer in (ours, theirs):
        layer.build(images.shape)
        layer.set_weights(weights)
        with tf.GradientTape() as tape:
            inputs = tf.Variable(images)
            outputs = layer(inputs, training=True)
            loss = tf.reduce_sum(outputs**3)
        gradients = tape.gradient(loss, [inputs, *layer.trainable_variables])
        results.append([outputs, *gradients, *layer.get_weights(), layer(images, training=False)])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-3)
    assert not np.allclose(ours.moving_mean, weights[2])  # it did move


def test_frozen_batch_normalization_stays_as_it_is():
    layer = BatchNormalization()
    layer.trainable = False
    layer(np.full((2, 3, 3, 1), 5, np.float32), training=True)
    assert layer.moving_mean.numpy() == [0] and layer.moving_variance.numpy() == [1]
