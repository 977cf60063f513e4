"""The PRN with pooled layers and a learned gain: its arithmetic and its design."""

import dataclasses
import json

import keras
import numpy as np
import pytest

from mpn.config import ModelConfig
from mpn.errors import UserError
from mpn.model_directory import load_networks, save_networks
from mpn.models.networks import Networks
from mpn.models.prn import build_prn

CELLS = 56 * 36
DESIGNS = [(pool, gain) for pool in (1, 2, 4) for gain in (False, True)]


def rois(count=2, seed=3):
    return np.random.default_rng(seed).random((count, 56, 36, 17), np.float32)


def softmax_over_cells(x):
    e = np.exp(x - x.max(axis=(1, 2), keepdims=True))
    return e / e.sum(axis=(1, 2), keepdims=True)


def without_correction(model):
    """The model with all kernels and biases 0; the gain stays as it is."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dense):
            layer.set_weights([np.zeros_like(w) for w in layer.get_weights()])
    return model


def highest(poses):
    """(B, 17): the number of the highest cell of each keypoint."""
    return poses.reshape(len(poses), CELLS, 17).argmax(axis=1)


@pytest.mark.parametrize(("pool", "gain"), DESIGNS)
def test_without_a_correction_the_highest_cells_are_the_inputs(pool, gain):
    x = rois()
    poses = without_correction(build_prn(nodes=4, pool=pool, residual_gain=gain)).predict_on_batch(x)
    np.testing.assert_array_equal(highest(poses), highest(x))
    factor = 5 if gain else 1  # the gain before training
    np.testing.assert_allclose(poses, softmax_over_cells(factor * x.astype(np.float64)), rtol=1e-4)


@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize(("pool", "gain"), DESIGNS)
def test_every_keypoint_has_a_distribution_over_the_cells(pool, gain, residual):
    model = build_prn(nodes=4, layers=2, residual=residual, pool=pool, residual_gain=gain)
    poses = model.predict_on_batch(20 * rois())
    assert poses.shape == (2, 56, 36, 17) and poses.dtype == np.float32
    np.testing.assert_allclose(poses.sum(axis=(1, 2), dtype=np.float64), 1, rtol=1e-4)
    assert poses.min() >= 0


@pytest.mark.parametrize(("pool", "gain"), DESIGNS)
def test_without_residual_and_correction_all_cells_are_alike(pool, gain):
    model = without_correction(build_prn(nodes=4, residual=False, pool=pool, residual_gain=gain))
    np.testing.assert_allclose(model.predict_on_batch(rois()), 1 / CELLS, rtol=1e-5)


@pytest.mark.parametrize(("pool", "gain"), DESIGNS)
def test_an_empty_roi_gives_numbers(pool, gain):
    poses = build_prn(nodes=4, pool=pool, residual_gain=gain).predict_on_batch(np.zeros((1, 56, 36, 17), np.float32))
    assert np.isfinite(poses).all()
    np.testing.assert_allclose(poses.sum(axis=(1, 2)), 1, rtol=1e-4)


def test_numbers_of_parameters():
    # Pooled by 4 a RoI has 14 x 9 x 17 = 2142 cells: 2142 x 512 + 512 into the hidden layer and as many back to them.
    assert build_prn(nodes=512, pool=4).count_params() == 1_097_216 + 1_098_846
    assert build_prn(nodes=512, pool=4, residual_gain=True).count_params() == 2_196_079
    # By 2: 28 x 18 x 17 = 8568.
    assert build_prn(nodes=8, pool=2).count_params() == 8568 * 8 + 8 + 8 * 8568 + 8568


@pytest.mark.parametrize("pool", [1, 2, 4])
def test_the_layers_see_means_of_squares(pool):
    """Each node is connected to one pooled cell; what it sees is the mean of the square's cells times its side."""
    model = without_correction(build_prn(nodes=3, pool=pool))
    height, width = 56 // pool, 36 // pool
    places = [(0, 0, 0), (height - 1, width - 1, 16), (height // 2, 1, 5)]
    kernel, bias = model.get_layer("hidden_1").get_weights()
    for node, place in enumerate(places):
        kernel[np.ravel_multi_index(place, (height, width, 17)), node] = 1
    model.get_layer("hidden_1").set_weights([kernel, bias])
    x = rois()
    seen = keras.Model(model.input, model.get_layer("hidden_1").output).predict_on_batch(x)
    for node, (row, column, joint) in enumerate(places):
        square = x[:, row * pool : (row + 1) * pool, column * pool : (column + 1) * pool, joint]
        np.testing.assert_allclose(seen[:, node], square.mean(axis=(1, 2)) * pool, rtol=1e-5)


def interpolated(values, factor):
    """(h, w, K) to (factor h, factor w, K): linear between the centres of the coarse cells, constant beyond them."""
    for axis in (0, 1):
        size = values.shape[axis]
        coarse, fine = np.arange(size) + 0.5, (np.arange(size * factor) + 0.5) / factor
        values = np.apply_along_axis(lambda line, f=fine, c=coarse: np.interp(f, c, line), axis, values)
    return values


@pytest.mark.parametrize("pool", [1, 2, 4])
def test_the_correction_is_interpolated_between_the_centres_of_squares(pool):
    """No half cell off to a side: that would move every keypoint."""
    model = without_correction(build_prn(nodes=2, pool=pool))
    values = np.random.default_rng(1).normal(0, 2, (56 // pool, 36 // pool, 17))
    kernel, bias = model.get_layer("correction").get_weights()
    model.get_layer("correction").set_weights([kernel, values.ravel()])
    x = rois()
    poses = model.predict_on_batch(x)
    np.testing.assert_allclose(poses, softmax_over_cells(x + interpolated(values, pool)[None]), rtol=1e-3)
    # A constant for each keypoint changes nothing.
    model.get_layer("correction").set_weights([kernel, (values + np.arange(17)).ravel()])
    np.testing.assert_allclose(model.predict_on_batch(x), poses, rtol=1e-3)


def test_every_keypoint_has_its_own_gain():
    model = without_correction(build_prn(nodes=2, pool=4, residual_gain=True))
    gains = np.linspace(0.5, 9, 17).astype(np.float32)
    model.get_layer("residual_gain").set_weights([gains])
    x = rois()
    np.testing.assert_allclose(model.predict_on_batch(x), softmax_over_cells(x * gains), rtol=1e-4)


def test_the_first_gain_makes_a_peak_stand_out():
    """As its input is, no more than 1, a softmax over 2016 cells leaves a peak next to nothing."""
    x = np.zeros((1, 56, 36, 17), np.float32)
    x[0, 30, 10] = 1
    plain, gained = (
        without_correction(build_prn(nodes=2, residual_gain=gain)).predict_on_batch(x)[0, 30, 10]
        for gain in (False, True)
    )
    np.testing.assert_allclose(plain, np.e / (np.e + 2015), rtol=1e-4)
    np.testing.assert_allclose(gained, np.e**5 / (np.e**5 + 2015), rtol=1e-4)


def test_a_saved_prn_is_the_same_and_knows_its_design(tmp_path):
    config = ModelConfig(prn_nodes=4, prn_pool=4, prn_residual_gain=True)
    networks = Networks(config)
    networks.prn.get_layer("residual_gain").set_weights([np.linspace(1, 9, 17)])
    save_networks(networks, tmp_path / "model", ("prn",))
    loaded = load_networks(tmp_path / "model", ("prn",))
    assert loaded.config == config
    expected = networks.prn.predict_on_batch(rois())
    np.testing.assert_allclose(loaded.prn.predict_on_batch(rois()), expected, rtol=1e-5)
    for change in ({"prn_pool": 2}, {"prn_residual_gain": False}):
        file = tmp_path / "model" / "config.json"
        file.write_text(json.dumps({**dataclasses.asdict(config), **change}))
        with pytest.raises(UserError, match=f"{next(iter(change))} is .* there and .* here"):
            load_networks(tmp_path / "model", ("prn",))
    networks.prn.save(tmp_path / "prn.keras")
    again = keras.models.load_model(tmp_path / "prn.keras")
    np.testing.assert_allclose(again.predict_on_batch(rois()), expected, rtol=1e-5)
    fresh, first = (without_correction(model) for model in (keras.models.clone_model(again), Networks(config).prn))
    np.testing.assert_allclose(fresh.predict_on_batch(rois()), first.predict_on_batch(rois()), rtol=1e-5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"prn_pool": 3},
        {"prn_pool": 0},
        {"prn_window": 4},
        {"prn_window": -1},
        {"prn_window": 1.0},
        {"prn_assignment": "best"},
    ],
)
def test_impossible_designs_are_named(wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(UserError, match=f"{name}.*{value!r}"):
        ModelConfig(**wrong)
