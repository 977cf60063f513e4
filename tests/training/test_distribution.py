"""Several devices and several hosts train as one device does: the same steps of each stage, on processors."""

import math

import numpy as np
import pytest
from hosts import last_line, output_of, run_rounds
from runs import datasets_of, keypoint_arguments, log_of, person_arguments, prn_arguments, state_of

from mpn.errors import UserError
from mpn.model_directory import last_checkpoint
from mpn.training import distribution

STAGES = ("keypoints", "person", "prn")
EPOCHS = ("--epochs", 2)


def commands(coco, model, *more, stages=STAGES):
    """10 steps an epoch of some stages. The last of seven images leaves one of two devices without work."""
    shared = ("--hold-out", 0, "--seed", 5, "--steps-per-epoch", 10, "--learning-rate", 1e-4, *more)
    arguments = {
        # With 8 images, batch normalisation is trained; on two devices its statistics are synchronised.
        "keypoints": keypoint_arguments(coco, model, "--batch-size", 8, "--average", 0.5, *shared),
        "person": person_arguments(coco, model, *shared),
        # Each device drops units of its own.
        "prn": prn_arguments(model, "--coco", coco, "--dropout", 0, *shared),
    }
    return [[stage, *map(str, arguments[stage])] for stage in stages]


def on_hosts(name, jobs):
    """A round in which two hosts run the same commands."""
    return [{"name": f"{name}{host}", "host": host, "commands": jobs} for host in (0, 1)]


def finished(folder, rounds):
    """Runs rounds, all of whose jobs must end well, and returns the folder."""
    for jobs in run_rounds(folder, rounds):
        for name, (status, _) in jobs.items():
            assert status == 0, output_of(folder, name)[-3000:]
    return folder


@pytest.fixture(scope="module")
def trained(tiny_coco, tmp_path_factory):
    """Folder of the model directories one, devices and hosts after 20 steps; hosts has stage 3 alone."""
    return finished(
        tmp_path_factory.mktemp("devices"),
        [
            [
                {"name": "one", "commands": commands(tiny_coco, "one", *EPOCHS)},
                {"name": "devices", "devices": 2, "commands": commands(tiny_coco, "devices", *EPOCHS)},
            ],
            on_hosts("hosts", commands(tiny_coco, "hosts", *EPOCHS, stages=["prn"])),
        ],
    )


def assert_same_run(model, other, stage):
    """The same log, weights and their averages, and optimizer's means of gradients and of their squares."""
    rows, others = log_of(model, stage), log_of(other, stage)
    assert [row.keys() for row in rows] == [row.keys() for row in others]
    for row, second in zip(rows, others, strict=True):
        for name, value in row.items():
            assert float(second[name]) == pytest.approx(float(value), rel=1e-4), name
    expected, found = (datasets_of(last_checkpoint(directory, stage)) for directory in (model, other))
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        difference = np.linalg.norm(found[name].astype(float) - value) / max(np.linalg.norm(value.astype(float)), 1e-30)
        print(name, difference)
        assert difference <= 1e-4, name
    assert state_of(model, stage)["samples"] == state_of(other, stage)["samples"]


@pytest.mark.parametrize("stage", STAGES)
def test_two_devices_train_as_one_does(trained, stage):
    assert_same_run(trained / "one", trained / "devices", stage)


def test_two_hosts_train_as_one_does(trained):
    assert_same_run(trained / "one", trained / "hosts", "prn")
    assert "Epoch 2/2" in output_of(trained, "hosts0") and "Epoch" not in output_of(trained, "hosts1")


def test_a_batch_must_divide_among_the_devices(monkeypatch):
    monkeypatch.setattr(distribution, "training_devices", lambda: ["GPU:0", "GPU:1", "GPU:2"])
    monkeypatch.setattr(distribution, "_mirrored", lambda *devices: type("", (), {"num_replicas_in_sync": 3}))
    with pytest.raises(UserError, match="batch_size 4 does not divide among 3 devices"):
        distribution.training_strategy(4)


@pytest.mark.slow
def test_two_hosts_train_all_stages_as_one_does(trained, tiny_coco):
    finished(trained, [on_hosts("all", commands(tiny_coco, "all", *EPOCHS))])
    for stage in STAGES:
        assert_same_run(trained / "one", trained / "all", stage)


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_hosts(trained, tiny_coco):
    first = commands(tiny_coco, "half", "--epochs", 1, stages=["keypoints", "prn"])
    second = [[stage, "--model", "half", "--resume", "--epochs", "2"] for stage in ("keypoints", "prn")]
    finished(trained, [on_hosts("half", first), [{"name": "second", "commands": second}]])
    for stage in ("keypoints", "prn"):
        assert_same_run(trained / "one", trained / "half", stage)


@pytest.mark.slow
def test_hosts_with_different_options_are_refused(tiny_coco, tmp_path):
    jobs = [
        {"name": f"host{host}", "host": host, "commands": commands(tiny_coco, "m", "--seed", host, stages=["prn"])}
        for host in (0, 1)
    ]
    (result,) = run_rounds(tmp_path, [jobs])
    assert [status for status, _ in result.values()] == [1, 1]
    assert "seed is 1 here and 0 there" in output_of(tmp_path, "host1")
    last = last_line(tmp_path, "host0")
    assert last.startswith("error: ") and ("localhost:" in last or "another host" in last), last


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_trains(trained, tiny_coco, tmp_path, precision, devices):
    """Losses are finite, and near those of float32."""
    more = ("--epochs", 1, "--precision", precision)
    job = {"name": "half", "devices": devices, "as_on_gpu": True, "commands": commands(tiny_coco, "half", *more)}
    finished(tmp_path, [[job]])
    for stage in STAGES:
        (row,), expected = log_of(tmp_path / "half", stage), log_of(trained / "one", stage)[0]
        for name in ("loss", "val_loss"):
            assert math.isfinite(float(row[name]))
            assert float(row[name]) == pytest.approx(float(expected[name]), rel=0.03), (stage, name)


@pytest.mark.slow
def test_a_compiled_step_is_the_same_step(trained, tiny_coco, tmp_path):
    finished(tmp_path, [[{"name": "jit", "commands": commands(tiny_coco, "jit", "--epochs", 1, "--jit", "on")}]])
    for stage in STAGES:
        (row,), expected = log_of(tmp_path / "jit", stage), log_of(trained / "one", stage)[0]
        for name, value in row.items():
            assert float(value) == pytest.approx(float(expected[name]), rel=1e-3), (stage, name)


@pytest.mark.slow
def test_runs_with_dropout_and_own_statistics_repeat(tiny_coco, tmp_path):
    """Two equal runs give the same weights."""
    rounds = []
    for name in ("first", "again"):
        more = ("--epochs", 1, "--steps-per-epoch", 3)
        jobs = commands(tiny_coco, name, *more, "--batch-normalization", "train", stages=["keypoints"])
        jobs += commands(tiny_coco, name, *more, "--dropout", 0.5, stages=["prn"])
        rounds.append([{"name": name, "devices": 2, "commands": jobs}])
    finished(tmp_path, rounds)
    for stage in ("keypoints", "prn"):
        assert_same_run(tmp_path / "first", tmp_path / "again", stage)
