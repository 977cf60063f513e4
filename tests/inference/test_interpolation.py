"""Interpolation of maps: exact for what it is exact for, and true to a Gaussian's place."""

import numpy as np
import pytest
from scipy.interpolate import CubicSpline

from mpn.inference.augmentation import interpolation, resample


def values(function, positions, size):
    """What `interpolation` makes at `positions` of a row that holds a function of its cells' centres."""
    return interpolation(positions, size) @ function(np.arange(size) + 0.5)


def test_centres_of_cells_keep_their_values():
    np.testing.assert_allclose(interpolation(np.arange(5) + 0.5, 5), np.eye(5), atol=1e-6)


def test_weights_worked_out_by_hand():
    """Three cells have one parabola: a half and a quarter of a cell behind the first centre, and half a cell before."""
    expected = [[3 / 8, 6 / 8, -1 / 8], [21 / 32, 14 / 32, -3 / 32], [15 / 8, -10 / 8, 3 / 8]]
    np.testing.assert_allclose(interpolation([1, 0.75, 0], 3), expected, atol=1e-6)


def test_far_from_the_border_it_is_the_cubic_spline():
    rng = np.random.default_rng(0)
    row, positions = rng.normal(size=60), rng.uniform(15, 45, 100)
    expected = CubicSpline(np.arange(60) + 0.5, row)(positions)
    np.testing.assert_allclose(interpolation(positions, 60) @ row, expected, atol=1e-5)


@pytest.mark.parametrize("size", [3, 4, 9])
def test_a_parabola_is_exact_up_to_half_a_cell_outside(size):
    positions = np.linspace(-0.5, size + 0.5, 201)
    for function in (lambda x: 0 * x + 3, lambda x: 2 * x - 1, lambda x: x**2 - 5 * x + 2):
        np.testing.assert_allclose(values(function, positions, size), function(positions), atol=1e-4)


def test_nothing_is_known_further_outside():
    weights = interpolation([-0.51, -7.3, 9.51, 40], 9)
    assert weights.shape == (4, 9) and weights.dtype == np.float32
    assert not weights.any()


def test_a_gaussian_keeps_its_peak():
    """The place of the maximum between the cells, for every place the Gaussian can have within one."""
    positions = np.linspace(5, 15, 10001)
    for centre in np.linspace(9.5, 10.5, 21):
        made = values(lambda x, centre=centre: np.exp(-((x - centre) ** 2) / (2 * 1.75**2)), positions, 20)
        assert positions[made.argmax()] == pytest.approx(centre, abs=0.01)
        assert made.max() == pytest.approx(1, abs=0.002)


def test_both_axes_and_all_channels():
    y, x = np.mgrid[:6, :9] + 0.5
    maps = np.stack([x * y, 2 * x - y, y**2 + x], axis=-1).astype(np.float32)
    across, down = np.array([0.25, 3, 8.9]), np.array([5.5, 0.1, 2, 4.7])
    made = resample(maps, interpolation(down, 6), interpolation(across, 9))
    x, y = across[None], down[:, None]
    expected = np.stack(np.broadcast_arrays(x * y, 2 * x - y, y**2 + x), axis=-1)
    np.testing.assert_allclose(made, expected, atol=1e-4)
