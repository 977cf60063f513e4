"""Several devices and several hosts train as one device does: the same steps of each stage, on processors."""

import numpy as np
import pytest
from hosts import output_of, run_rounds
from runs import datasets_of, keypoint_arguments, log_of, person_arguments, prn_arguments, state_of

from mpn.errors import UserError
from mpn.model_directory import last_checkpoint
from mpn.training import distribution

STAGES = ("keypoints", "person", "prn")
WAYS = ("devices", "hosts", "resumed")


def commands(coco, model, *more):
    """All stages: 20 steps in two epochs. The last of seven images leaves one of two devices without work."""
    shared = ("--hold-out", 0, "--seed", 5, "--steps-per-epoch", 10, *more)
    stages = {
        # With 8 images, batch normalisation is trained; on two devices its statistics are synchronised.
        "keypoints": keypoint_arguments(coco, model, *shared, "--batch-size", 8, "--average", 0.5),
        "person": person_arguments(coco, model, *shared, "--learning-rate", 1e-3),
        # Each device drops units of its own.
        "prn": prn_arguments(model, "--coco", coco, *shared, "--dropout", 0),
    }
    return [[stage, *map(str, arguments)] for stage, arguments in stages.items()]


@pytest.fixture(scope="module")
def trained(tiny_coco, tmp_path_factory):
    """Folder of the model directories one, devices, hosts and resumed after 20 steps of each stage."""
    folder = tmp_path_factory.mktemp("devices")
    both, first = ("--epochs", 2), ("--epochs", 1)
    half = [[stage, "--model", "resumed", "--resume", "--epochs", "2"] for stage in STAGES]
    results = run_rounds(
        folder,
        [
            [{"name": "one", "commands": commands(tiny_coco, "one", *both)}],
            [{"name": "devices", "devices": 2, "commands": commands(tiny_coco, "devices", *both)}],
            [{"name": f"hosts{i}", "host": i, "commands": commands(tiny_coco, "hosts", *both)} for i in (0, 1)],
            [{"name": f"half{i}", "host": i, "commands": commands(tiny_coco, "resumed", *first)} for i in (0, 1)],
            [{"name": "resumed", "devices": 1, "commands": half}],
        ],
    )
    for jobs in results:
        for name, (status, _) in jobs.items():
            assert status == 0, output_of(folder, name)[-3000:]
    return folder


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("stage", STAGES)
def test_several_devices_and_hosts_train_as_one_device_does(trained, stage, way):
    """The log, the weights and their average, and the optimizer's means of gradients and of their squares."""
    if (stage, way) == ("person", "resumed"):
        pytest.skip("its backbone is that of the second epoch of stage 1")
    rows, others = log_of(trained / "one", stage), log_of(trained / way, stage)
    assert [row.keys() for row in rows] == [row.keys() for row in others]
    for row, other in zip(rows, others, strict=True):
        for name, value in row.items():
            assert float(other[name]) == pytest.approx(float(value), rel=1e-4), name
    expected, found = (datasets_of(last_checkpoint(trained / model, stage)) for model in ("one", way))
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        difference = np.linalg.norm(found[name].astype(float) - value) / max(np.linalg.norm(value.astype(float)), 1e-30)
        print(name, difference)
        assert difference <= 1e-4, name
    assert state_of(trained / way, stage)["samples"] == state_of(trained / "one", stage)["samples"]


def test_a_batch_must_divide_among_the_devices(monkeypatch):
    monkeypatch.setattr(distribution, "training_devices", lambda: ["GPU:0", "GPU:1", "GPU:2"])
    monkeypatch.setattr(distribution, "_mirrored", lambda *devices: type("", (), {"num_replicas_in_sync": 3}))
    with pytest.raises(UserError, match="batch_size 4 does not divide among 3 devices"):
        distribution.training_strategy(4)
