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


@pytest.mark.parametrize("hosts", [2, 3])
def test_hosts_share_each_batch(hosts):
    whole = take(order.samples(7, 3, part=order.Part(6)), 30)
    parts = [take(order.samples(7, 3, 6, order.Part(6, host, hosts)), 30 // hosts) for host in range(hosts)]
    size = 6 // hosts
    batches = [[s for part in parts for s in part[b * size : (b + 1) * size]] for b in range(5)]
    assert [sample for batch in batches for sample in batch] == whole


def test_all_hosts_take_the_same_number_of_validation_steps():
    """Seven samples in batches of four: the last is a copy of the seventh."""
    parts = [take(order.samples(7, 3, 4, order.Part(0, host, 2), training=False), 99) for host in (0, 1)]
    assert [[index for _, _, index in part] for part in parts] == [[0, 1, 4, 5], [2, 3, 6, 6]]
