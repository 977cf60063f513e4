"""Several hosts that train together: the variable TF_CONFIG, and what happens if one of them fails."""

import contextlib
import dataclasses
import functools
import itertools
import json
import os
import re
import subprocess
import sys

import tensorflow as tf
from tensorflow.compiler.xla.tsl.protobuf.coordination_config_pb2 import CoordinatedJob
from tensorflow.python.eager import context

from mpn.errors import UserError

# How long the first host waits for the last one to start.
JOIN_SECONDS = 300
# A host that has been silent this long counts as failed; a process that ends is noticed at once.
HEARTBEAT_SECONDS = 30
# How long hosts wait for a slower one, which may be loading or writing large files; a failed one is noticed anyway.
_PATIENCE_SECONDS = 3600

# What TensorFlow raises if another host has failed.
_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.InternalError,
)


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The hosts of a run and the place of this one among them; the first host is the chief, which writes all files."""

    hosts: tuple  # "name:port" of each
    index: int = 0

    @property
    def is_chief(self):
        return self.index == 0


_numbers = itertools.count()  # for names that are the same on all hosts

ALONE = Cluster(("localhost:0",))


def read_cluster(text=None):
    """Returns the Cluster of TF_CONFIG, or ALONE if it is not set or names one host; UserError if it makes no sense.

    `text` replaces the variable. A task "chief" is the first host, and the tasks "worker" follow.
    """
    text = os.environ.get("TF_CONFIG") if text is None else text
    if text is None:
        return ALONE
    try:
        value = json.loads(text)
    except ValueError as error:
        raise _wrong(f"is not JSON ({error})") from error
    if not isinstance(value, dict) or not isinstance(jobs := value.get("cluster"), dict) or not jobs:
        raise _wrong("has no cluster")
    if unknown := sorted(set(jobs) - {"chief", "worker"}):
        raise _wrong(f"has tasks of the type {unknown[0]!r}, and this program knows chief and worker only")
    hosts = []
    for job in ("chief", "worker"):
        addresses = jobs.get(job, [])
        if not isinstance(addresses, list) or not all(_is_address(address) for address in addresses):
            raise _wrong(f"must list the addresses of {job!r} as texts of the form host:port")
        hosts += [(job, index, address) for index, address in enumerate(addresses)]
    addresses = tuple(address for _, _, address in hosts)
    if not hosts or len(set(addresses)) < len(hosts):
        raise _wrong("names the same host and port twice" if hosts else "has a cluster without hosts")
    task = value.get("task")
    if not isinstance(task, dict) or not {"type", "index"} <= task.keys():
        raise _wrong("has no task, which says which of the hosts this one is")
    places = [(job, index) for job, index, _ in hosts]
    mine = (task["type"], task["index"])
    if mine not in places or isinstance(task["index"], bool):
        raise _wrong(f"has the task {mine[0]!r} {mine[1]!r}, which its cluster does not have")
    return Cluster(addresses, places.index(mine)) if len(hosts) > 1 else ALONE


def _is_address(value):
    found = re.fullmatch(r"[^\s/]+:(\d{1,5})", value) if isinstance(value, str) else None
    return bool(found) and 0 < int(found[1]) < 65536


def _wrong(fault):
    return UserError(
        f'TF_CONFIG {fault}: set it to {{"cluster": {{"worker": ["HOST:PORT", ...]}}, "task": {{"type": "worker", '
        '"index": N}}}, with N from 0, or unset it to train on this host alone'
    )


@functools.cache
def join(cluster):
    """Waits for all hosts of a Cluster, and returns their tf.distribute.MultiWorkerMirroredStrategy.

    A process can join only once, before it uses TensorFlow otherwise; UserError if it has used it, or if its port is
    not free. If a host does not come within JOIN_SECONDS, the process ends with a sentence on stderr.
    """
    runtime = context.context()
    if runtime._initialized:
        raise UserError(
            "TF_CONFIG names several hosts, and this process has used TensorFlow before: train in a new process"
        )
    runtime.configure_coordination_service(
        service_type="standalone",
        service_leader="/job:worker/task:0",
        cluster_register_timeout_in_ms=JOIN_SECONDS * 1000,
        heartbeat_timeout_in_ms=HEARTBEAT_SECONDS * 1000,
        shutdown_barrier_timeout_in_ms=HEARTBEAT_SECONDS * 1000,
        coordinated_jobs=[CoordinatedJob(name="worker", num_tasks=len(cluster.hosts))],
    )
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({"worker": cluster.hosts}),
        task_type="worker",
        task_id=cluster.index,
        num_accelerators={"GPU": len(tf.config.list_physical_devices("GPU"))},
        rpc_layer="grpc",
    )
    others = ", ".join(host for index, host in enumerate(cluster.hosts) if index != cluster.index)
    print(f"waiting for {others}", flush=True)
    hint = "start the same command on every host, and check that the ports of TF_CONFIG are free and reachable"
    try:
        with _ended_after(JOIN_SECONDS, f"{others} did not come within {JOIN_SECONDS} seconds: {hint}"):
            return tf.distribute.MultiWorkerMirroredStrategy(resolver)
    except (tf.errors.OpError, RuntimeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"{cluster.hosts[cluster.index]} could not join {others} ({reason}): {hint}") from error


@contextlib.contextmanager
def _ended_after(seconds, sentence):
    """If the block takes longer, a second process prints the sentence and kills us; TensorFlow stops our threads."""
    code = "import os, sys, time; time.sleep(float(sys.argv[1])); os.getppid() == int(sys.argv[3]) and ("
    code += "print('error:', sys.argv[2], file=sys.stderr, flush=True), os.kill(int(sys.argv[3]), 9))"
    watch = subprocess.Popen([sys.executable, "-c", code, str(seconds), sentence, str(os.getpid())])
    try:
        yield
    finally:
        watch.kill()
        watch.wait()


def check_agreement(cluster, facts):
    """Raises UserError if a dict for JSON differs from that of the first host."""
    if cluster is ALONE:
        return
    name = f"mpn-{next(_numbers)}"
    facts = json.loads(json.dumps(facts))
    if cluster.is_chief:
        context.context().set_config_key_value(name, json.dumps(facts))
        return
    first = json.loads(context.context().get_config_key_value(name, _PATIENCE_SECONDS * 1000))
    for fact, value in facts.items():
        if first.get(fact) != value:
            raise UserError(
                f"this host and the first, {cluster.hosts[0]}, do not train the same: {fact} is {value} here and "
                f"{first.get(fact)} there; start the same command with the same files on every host"
            )


@contextlib.contextmanager
def together(cluster):
    """A context in which hosts work together; the failure of another one becomes a UserError.

    At its end the hosts wait for each other, so that none ends while another still reads from it.
    """
    try:
        yield
        if cluster is not ALONE:
            context.context().wait_at_barrier(f"mpn-{next(_numbers)}", _PATIENCE_SECONDS * 1000)
    except _LOST as error:
        message = error.message or ""
        if cluster is ALONE or "UserError: " in message or not re.search("ollective|/job:worker|oordination", message):
            raise
        found = re.search(r"/job:worker/(?:replica:0/)?task:(\d+)", message)
        lost = cluster.hosts[int(found[1])] if found and int(found[1]) != cluster.index else "another host"
        raise UserError(
            f"{lost} has failed or cannot be reached: correct what it printed, and start the command on every host "
            "again, with --resume if there is a checkpoint"
        ) from error
