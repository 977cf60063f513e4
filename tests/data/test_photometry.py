import numpy as np
import pytest

from mpn.data.photometry import jitter_colours


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(90, 170, (40, 60, 3)).astype(np.uint8)


def test_no_strength_changes_nothing(image):
    np.testing.assert_array_equal(jitter_colours(image, 0.0, np.random.default_rng(1)), image)


class Fixed:
    """Stands in for a Generator: gives the numbers it was made with."""

    def __init__(self, *numbers):
        self.numbers = np.array(numbers)

    def uniform(self, low, high, count):
        assert (low, high, count) == (-1, 1, 4)
        return self.numbers


@pytest.mark.parametrize(
    "numbers, expected",
    [
        # Contrast x 1.5 about the middle grey of 127.5: 100 -> 86.25, 150 -> 161.25.
        ((1, 0, 0, 0), (86, 161, 161)),
        # Saturation x 1.6 about the mean of the channels, 133.33: 100 -> 80, 150 -> 160.
        ((0, 1, 0, 0), (80, 160, 160)),
        # Brightness + 50.
        ((0, 0, 1, 0), (150, 200, 200)),
        # Brightness - 50, half of it.
        ((0, 0, -0.5, 0), (75, 125, 125)),
    ],
)
def test_each_kind_of_jitter_by_hand(numbers, expected):
    pixel = np.array([[[100, 150, 150]]], np.uint8)
    np.testing.assert_allclose(jitter_colours(pixel, 1.0, Fixed(*numbers))[0, 0], expected, atol=1)


def test_hue_turns_colours_and_leaves_greys():
    colours = np.array([[[120, 120, 120], [150, 100, 100]]], np.uint8)
    grey, red = jitter_colours(colours, 1.0, Fixed(0, 0, 0, 1))[0]
    np.testing.assert_array_equal(grey, (120, 120, 120))
    # A turn by 25 degrees keeps mean and distance from the grey axis: sqrt(2/3) 50 = 40.8.
    assert red.mean() == pytest.approx(350 / 3, abs=1)
    assert np.linalg.norm(red - red.mean()) == pytest.approx(40.8, abs=1.5)
    # From red towards green or blue: the cosine to where it was is that of 25 degrees.
    before = np.array([100, -50, -50]) / 3
    cosine = (red - red.mean()) @ before / np.linalg.norm(red - red.mean()) / np.linalg.norm(before)
    assert cosine == pytest.approx(np.cos(np.deg2rad(25)), abs=0.02)


def test_jitter_is_random_and_repeatable(image):
    one, same, other = (jitter_colours(image, 0.7, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any() and one.dtype == np.uint8
