import numpy as np
import pytest
from batches import take

from mpn.data import order


def test_each_pass_is_a_permutation():
    samples = np.array(take(order.samples(7, seed=3), 21))
    np.testing.assert_array_equal(samples[:, 0], np.arange(21))
    np.testing.assert_array_equal(samples[:, 1], np.repeat([0, 1, 2], 7))
    passes = samples[:, 2].reshape(3, 7)
    np.testing.assert_array_equal(np.sort(passes), np.tile(np.arange(7), (3, 1)))
    assert len({tuple(indices) for indices in passes}) == 3


def test_a_seed_makes_an_order_repeatable():
    assert take(order.samples(9, seed=5), 30) == take(order.samples(9, seed=5), 30)
    assert take(order.samples(9, seed=5), 9) != take(order.samples(9, seed=6), 9)


@pytest.mark.parametrize("first", [1, 6, 7, 16])
def test_first_continues_where_a_run_stopped(first):
    assert take(order.samples(7, 3, part=order.Part(first)), 15) == take(order.samples(7, 3), first + 15)[first:]


def test_validation_is_one_pass_in_order():
    assert [tuple(sample) for sample in take(order.samples(3, 0, training=False), 7)] == [(i, 0, i) for i in range(3)]
