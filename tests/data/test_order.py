import numpy as np
import pytest
from batches import take

from mpn.data.order import training_order


def test_each_pass_is_a_permutation():
    samples = np.array(take(training_order(7, seed=3), 21))
    np.testing.assert_array_equal(samples[:, 0], np.arange(21))
    np.testing.assert_array_equal(samples[:, 1], np.repeat([0, 1, 2], 7))
    passes = samples[:, 2].reshape(3, 7)
    np.testing.assert_array_equal(np.sort(passes), np.tile(np.arange(7), (3, 1)))
    assert len({tuple(order) for order in passes}) == 3


def test_a_seed_makes_an_order_repeatable():
    assert take(training_order(9, seed=5), 30) == take(training_order(9, seed=5), 30)
    assert take(training_order(9, seed=5), 9) != take(training_order(9, seed=6), 9)


@pytest.mark.parametrize("first", [1, 6, 7, 16])
def test_first_continues_where_a_run_stopped(first):
    assert take(training_order(7, 3, first=first), 15) == take(training_order(7, 3), first + 15)[first:]


def test_order_without_shuffling():
    assert [index for _, _, index in take(training_order(3, 0, shuffle=False), 7)] == [0, 1, 2, 0, 1, 2, 0]
