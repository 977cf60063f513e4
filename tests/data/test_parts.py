"""The parts of hosts make up the batches of one host, in all three pipelines."""

import numpy as np
import pytest
from batches import leaves, take

from mpn.data.coco import load_coco
from mpn.data.keypoints import keypoint_dataset
from mpn.data.order import WHOLE, Part
from mpn.data.person import person_dataset
from mpn.data.prn import collect_people, prn_dataset


@pytest.fixture(scope="module")
def pipelines(tiny_coco):
    """Functions of a Part and `training` that give batches of 4 of 7 samples or more."""
    records = load_coco(tiny_coco, "train")
    people = collect_people(records)
    return {
        "keypoints": lambda part, training: keypoint_dataset(records, 32, 4, ["y"], part=part, training=training),
        "person": lambda part, training: person_dataset(records, (48, 64), 4, part=part, training=training),
        "prn": lambda part, training: prn_dataset(
            people, 4, 0.2, curriculum=False, seed=1, part=part, training=training
        ),
    }


@pytest.mark.parametrize("stage", ["keypoints", "person", "prn"])
@pytest.mark.parametrize("training", [True, False])
def test_parts_make_up_a_batch(pipelines, stage, training):
    whole = take(pipelines[stage](WHOLE, training), 2 if training else 99)
    parts = [take(pipelines[stage](Part(0, host, 2), training), len(whole) + (not training)) for host in (0, 1)]
    assert len(parts[0]) == len(parts[1]) == len(whole)
    for batch, *halves in zip(whole, *parts, strict=True):
        for expected, *found in zip(leaves(batch), *map(leaves, halves), strict=True):
            assert [len(half) for half in found] == [2, 2]
            np.testing.assert_allclose(np.concatenate(found)[: len(expected)], expected, atol=1e-6)
