"""The cost of training, against sums worked out by hand."""

import pytest
from tiny_networks import NARROW

from mpn.studies import training_cost
from mpn.studies.cost import cost_table
from mpn.studies.training_cost import SAMPLES, StageCost, cost_rows, stage_costs

GRID = 56 * 36 * 17


@pytest.fixture(scope="module")
def costs(small_backbone):
    return stage_costs(NARROW, 64, (64, 96))


def test_every_trained_layer_counts_three_times(costs):
    backbone, keypoints, *_ = (cost.multiply_adds for cost in cost_table(NARROW, 64, 64).values())
    # Training has an output of 18 channels on each of K2-K5, which have 8 channels and strides of 4 to 32.
    outputs = (16**2 + 8**2 + 4**2 + 2**2) * 8 * 18
    assert costs["keypoints"].operations == 2 * 3 * (backbone + keypoints + outputs)
    assert costs["prn"].operations == 2 * 3 * (2 * 8 * GRID)  # two dense layers around eight units


def test_the_frozen_backbone_counts_once(costs):
    backbone, _, person, *_ = (cost.multiply_adds for cost in cost_table(NARROW, 64, 96).values())
    assert costs["person"].operations == 2 * (backbone + 3 * person)


def test_gradients_and_checkpoints_are_those_of_trained_weights(costs):
    parameters = 2 * 8 * GRID + 8 + GRID
    assert costs["prn"].trained == costs["prn"].parameters == parameters
    assert costs["prn"].gradient_bytes == 4 * parameters
    assert costs["prn"].checkpoint_bytes == 12 * parameters  # weights, mean and variance
    backbone, _, person, *_ = (cost.parameters for cost in cost_table(NARROW, 64, 96).values())
    assert costs["person"].parameters == backbone + person and costs["person"].trained == person
    assert costs["person"].checkpoint_bytes == 4 * backbone + 12 * person


def test_rows_have_the_operations_and_hours_of_the_whole_run():
    (row,) = cost_rows({"person": StageCost(2 * 10**9, 250_000, 250_000)}, {"person": 50}, rate=100)
    assert row == ("person", "64,115", 50, "2.0", "0.00641", "1", "3", "8.9")


def test_the_command_prints_three_stages(monkeypatch, capsys):
    monkeypatch.setattr(training_cost, "stage_costs", lambda *_: dict.fromkeys(SAMPLES, StageCost(10**9, 10**6, 10**6)))
    training_cost.main(["--rate", "200"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| keypoints", "| person", "| prn"]
    assert lines[2].endswith("| 8.9 |")
