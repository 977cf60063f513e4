"""TF_CONFIG: what it may be, and the sentence for each mistake in it; hosts that do not come, or end."""

import json
import random
import re

import pytest
import tensorflow as tf
from hosts import last_line, output_of, run_rounds
from runs import log_of, prn_arguments, state_of

import train_prn
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
    monkeypatch.setenv("TF_CONFIG", config({"worker": ["localhost:1", "localhost:2"]}, "worker", 0))
    tf.zeros(1)
    with pytest.raises(UserError, match="in a new process"):
        train_prn.main([str(a) for a in prn_arguments(tmp_path / "model", "--coco", labels_only)])
    assert not (tmp_path / "model").exists()


@pytest.mark.slow
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
    """Trains stage 3 on two hosts, one of which is killed in each round: `kills` are pairs of it and of when."""
    model, most = folder / "model", 1000
    checkpoint = last_checkpoint(model, "prn")
    command = ["prn", *map(str, prn_arguments(model, "--coco", coco, "--steps-per-epoch", 4))]

    def hosts(name, epochs, **more):
        job = {"commands": [[*command, "--epochs", epochs]], "resume": str(checkpoint), "join_seconds": 45, **more}
        return [{"name": f"{name}-{host}", "host": host, **job} for host in (0, 1)]

    rounds = [hosts(number, most) for number in range(len(kills))]
    for jobs, (victim, when) in zip(rounds, kills, strict=True):
        jobs[victim]["kill"] = when
    reached = []
    for number, result in enumerate(run_rounds(folder, rounds)):
        victim, when = kills[number]
        status, seconds = result[f"{number}-{1 - victim}"]
        last = last_line(folder, f"{number}-{1 - victim}")
        reached += map(int, re.findall(r"after epoch (\d+)", output_of(folder, f"{number}-{1 - victim}")))
        print(f"{number}: host {victim} killed at {when}; the other ended {seconds} s later: {last}; epochs {reached}")
        assert status != 0 and seconds < 60
        assert last.startswith("error: ") and ("localhost:" in last or "another host" in last), last
    epoch = state_of(model, "prn")["epoch"] if checkpoint.exists() else 0
    assert reached == sorted(reached) and 0 < epoch < most
    (result,) = run_rounds(folder, [hosts("last", epoch + 2)])
    assert [status for status, _ in result.values()] == [0, 0], output_of(folder, "last-1")
    assert state_of(model, "prn")["epoch"] == epoch + 2
    assert [int(row["epoch"]) for row in log_of(model, "prn")] == list(range(epoch + 2))
    assert not list(model.rglob(".tmp-*"))


@pytest.mark.slow
def test_a_killed_host_ends_the_other_and_the_run_goes_on(labels_only, tmp_path):
    checkpoint = str(last_checkpoint(tmp_path / "model", "prn"))
    kill_and_resume(tmp_path, labels_only, [(1, checkpoint), (0, 12)])


@pytest.mark.slow
def test_hosts_killed_at_random(labels_only, tmp_path):
    rng = random.Random(1)
    kill_and_resume(tmp_path, labels_only, [(rng.randrange(2), rng.uniform(0.5, 60)) for _ in range(10)])
