"""TF_CONFIG: what it may be, and the sentence for each mistake in it; hosts that do not come, or end."""

import json
import random

import numpy as np
import pytest
from hosts import last_line, output_of, run_rounds
from runs import datasets_of, log_of, prn_arguments, state_of

from mpn.errors import UserError
from mpn.model_directory import last_checkpoint
from mpn.training.cluster import ALONE, Cluster, read_cluster

TWO = ["a:1", "b:2"]


def config(cluster, *task):
    return json.dumps({"cluster": cluster, "task": dict(zip(("type", "index"), task, strict=True))})


def test_hosts_and_the_place_of_this_one():
    assert read_cluster(config({"worker": TWO}, "worker", 1)) == Cluster(("a:1", "b:2"), 1)
    chief = {"worker": TWO, "chief": ["c:3"]}
    assert read_cluster(config(chief, "worker", 0)) == Cluster(("c:3", "a:1", "b:2"), 1)
    assert read_cluster(config(chief, "chief", 0)).is_chief and not read_cluster(config(chief, "worker", 0)).is_chief


def test_no_cluster_or_one_host_is_training_alone(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert read_cluster() is ALONE and ALONE.is_chief
    assert read_cluster(config({"worker": ["a:1"]}, "worker", 0)) is ALONE


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not JSON"),
        ("{", "is not JSON"),
        ("[]", "has no cluster"),
        ("{}", "has no cluster"),
        ('{"task": {"type": "worker", "index": 0}}', "has no cluster"),
        ('{"cluster": {}, "task": {"type": "worker", "index": 0}}', "has no cluster"),
        (config({"worker": []}, "worker", 0), "without hosts"),
        (config({"worker": "a:1"}, "worker", 0), "addresses of 'worker'"),
        (config({"worker": ["a", "b"]}, "worker", 0), "addresses of 'worker'"),
        (config({"worker": ["a:1", "b:99999"]}, "worker", 0), "addresses of 'worker'"),
        (config({"worker": ["a:1", 2]}, "worker", 0), "addresses of 'worker'"),
        (config({"worker": ["a:1", "a:1"]}, "worker", 0), "twice"),
        (config({"worker": TWO, "ps": ["c:1"]}, "worker", 0), "'ps'"),
        (json.dumps({"cluster": {"worker": TWO}}), "has no task"),
        (json.dumps({"cluster": {"worker": TWO}, "task": {"index": 0}}), "has no task"),
        (config({"worker": TWO}, "worker", 2), "the task 'worker' 2"),
        (config({"worker": TWO}, "worker", -1), "the task 'worker' -1"),
        (config({"worker": TWO}, "worker", "0"), "the task 'worker' '0'"),
        (config({"worker": TWO}, "worker", True), "the task 'worker' True"),
        (config({"worker": TWO}, "worker", None), "the task 'worker' None"),
        (config({"worker": TWO}, ["worker"], 0), "the task"),
        (config({"worker": TWO}, "chief", 0), "the task 'chief' 0"),
    ],
)
def test_a_wrong_configuration_is_one_sentence(text, words):
    with pytest.raises(UserError) as caught:
        read_cluster(text)
    message = str(caught.value)
    assert message.startswith("TF_CONFIG ") and words in message and "\n" not in message


def test_a_process_that_has_used_tensorflow_cannot_join(labels_only, tmp_path, monkeypatch):
    import train_prn

    monkeypatch.setenv("TF_CONFIG", config({"worker": ["localhost:1", "localhost:2"]}, "worker", 0))
    np.asarray(__import__("tensorflow").zeros(1))
    with pytest.raises(UserError, match="in a new process"):
        train_prn.main([str(a) for a in prn_arguments(tmp_path / "model", "--coco", labels_only)])
    assert not (tmp_path / "model").exists()


def test_a_host_waits_a_limited_time_for_the_others(labels_only, tmp_path):
    """The first and the second host, whose TensorFlow notices it in different ways."""
    command = ["prn", *prn_arguments("model", "--coco", labels_only)]
    hosts = [{"name": f"host{i}", "host": i, "commands": [command], "join_seconds": 3} for i in (0, 1)]
    absent = {"name": "absent", "commands": []}
    results = run_rounds(tmp_path, [[hosts[0], absent], [absent, hosts[1]]])
    for index, jobs in enumerate(results):
        status, seconds = jobs[f"host{index}"]
        assert status != 0 and seconds < 60
        last = last_line(tmp_path, f"host{index}")
        assert last.startswith("error: ") and "localhost:" in last and "TF_CONFIG" in last, last
    assert not (tmp_path / "model").exists()


def kill_and_resume(folder, coco, kills):
    """Trains stage 3 on two hosts, killed as `kills` says: (victim, seconds or path) each, and resumed each time."""
    epochs = 400
    command = ["prn", *map(str, prn_arguments("model", "--coco", coco, "--epochs", epochs, "--steps-per-epoch", 4))]
    resumed = ["prn", "--model", "model", "--resume"]
    before = 0
    for number, (victim, when) in enumerate(kills):
        exists = last_checkpoint(folder / "model", "prn").exists()
        jobs = [
            {"name": f"{number}-{i}", "host": i, "commands": [resumed if exists else command], "join_seconds": 30}
            for i in (0, 1)
        ]
        jobs[victim]["kill"] = when
        (result,) = run_rounds(folder, [jobs])
        status, seconds = result[f"{number}-{1 - victim}"]
        last = last_line(folder, f"{number}-{1 - victim}")
        print(f"kill {number}: host {victim} at {when}; the other ended {seconds} s later: {last}")
        assert status != 0 and seconds < 60
        assert last.startswith("error: ") and "localhost:" in last or "another host" in last
        path = last_checkpoint(folder / "model", "prn")
        if path.exists():
            epoch = state_of(folder / "model", "prn")["epoch"]
            datasets_of(path)  # can be read completely
            assert before <= epoch < epochs
            print(f"checkpoint of epoch {epoch}")
            before = epoch
    last = [*resumed, "--epochs", before + 2]
    (result,) = run_rounds(folder, [[{"name": f"last{i}", "host": i, "commands": [last]} for i in (0, 1)]])
    assert [status for status, _ in result.values()] == [0, 0], output_of(folder, "last1")
    assert state_of(folder / "model", "prn")["epoch"] == before + 2
    assert [int(row["epoch"]) for row in log_of(folder / "model", "prn")] == list(range(before + 2))
    assert not [path for path in (folder / "model").rglob(".tmp-*")]


@pytest.mark.slow
def test_a_killed_host_ends_the_other_and_the_run_goes_on(labels_only, tmp_path):
    checkpoint = str(last_checkpoint(tmp_path / "model", "prn"))
    kill_and_resume(tmp_path, labels_only, [(1, checkpoint), (0, 12)])


@pytest.mark.slow
def test_hosts_killed_at_random(labels_only, tmp_path):
    rng = random.Random(1)
    kill_and_resume(tmp_path, labels_only, [(rng.randrange(2), rng.uniform(0.5, 25)) for _ in range(10)])
