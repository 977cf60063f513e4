"""Runs training scripts on several hosts or devices, which are processes of this machine.

`python tests/hosts.py FOLDER ROUNDS` reads JSON: a list of rounds, each a list of jobs that run at the same time. A job
is a dict:
    "name": of its output in FOLDER, NAME.txt
    "commands": stages and their arguments, run one after another
    "host": place among the hosts of its round; none if it trains alone
    "devices": number of logical CPUs, 1 if not given
    "join_seconds": how long it waits for the others
    "resume": the path of a file; if it exists when the round begins, all commands get --resume
    "as_on_gpu": whether --precision sets Keras' policy, as on a GPU
    "kill": seconds after which it is killed, or the path of a file that must exist then; never if not given
It prints a JSON list of rounds: for each job its exit status, and the seconds that it ran on after the last kill.

All jobs are forks of one process that has imported everything, which takes most of the time.
"""

import importlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
import traceback

ROOT = pathlib.Path(__file__).resolve().parents[1]


def run_rounds(folder, rounds, timeout=3000):
    """Runs a list of rounds in a process of its own and returns their results, see above."""
    done = subprocess.run(
        [sys.executable, __file__, str(folder), json.dumps(rounds, default=str)],
        capture_output=True,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
        cwd=folder,
        timeout=timeout,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def output_of(folder, name):
    """What a job has printed."""
    return (pathlib.Path(folder) / f"{name}.txt").read_text()


def last_line(folder, name):
    """The last line that a job has printed."""
    return output_of(folder, name).strip().splitlines()[-1]


def _free_ports(count):
    sockets = [socket.create_server(("localhost", 0)) for _ in range(count)]
    ports = [opened.getsockname()[1] for opened in sockets]
    for opened in sockets:
        opened.close()
    return ports


def _tiny_backbone(*_):
    import keras
    from keras import layers

    from mpn.models.normalization import BatchNormalization

    x = images = keras.Input((None, None, 3), name="image")
    x = layers.Rescaling(1 / 127.5, offset=-1.0, name="normalization")(x)
    features = {}
    # Without biases, which batch normalisation would cancel: Adam turns their rounding errors into steps.
    for level, stride in (("C2", 4), ("C3", 2), ("C4", 2), ("C5", 2)):
        x = layers.Conv2D(8, 3, stride, padding="same", use_bias=False, name=f"{level}_conv")(x)
        x = BatchNormalization(momentum=0.9, name=f"{level}_bn")(x)
        features[level] = x = layers.Activation("relu", name=f"{level}_relu")(x)
    model = keras.Model(images, features, name="tiny")
    model.strides = {"C2": 4, "C3": 8, "C4": 16, "C5": 32}
    return model


def _work(job, ports):
    import keras
    import tensorflow as tf

    from mpn.cli.script import run
    from mpn.training import cluster as clusters
    from mpn.training import distribution

    clusters.JOIN_SECONDS = job.get("join_seconds", clusters.JOIN_SECONDS)
    if "host" in job:
        cluster = {"worker": [f"localhost:{port}" for port in ports]}
        os.environ["TF_CONFIG"] = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": job["host"]}})
    else:
        devices = job.get("devices", 1)
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * devices)
        distribution.training_devices = lambda: [f"CPU:{number}" for number in range(devices)]
    if job.get("as_on_gpu"):
        distribution.set_training_precision = keras.config.set_dtype_policy

    def train(_):
        for stage, *arguments in job["commands"]:
            importlib.import_module(f"train_{stage}").main([str(argument) for argument in arguments])

    run(train)


def _start(job, ports, folder):
    sys.stdout.flush()
    if process := os.fork():
        return process
    file = os.open(pathlib.Path(folder) / f"{job['name']}.txt", os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
    os.dup2(file, 1)
    os.dup2(file, 2)
    status = 1
    try:
        _work(job, ports)
    except SystemExit as end:
        status = end.code
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _is_due(kill, since):
    return pathlib.Path(kill).exists() if isinstance(kill, str) else time.monotonic() - since >= kill


def _run_round(jobs, folder):
    ports = _free_ports(len(jobs))
    for job in jobs:
        if "resume" in job and pathlib.Path(job["resume"]).exists():
            job["commands"] = [[*command, "--resume"] for command in job["commands"]]
    start = killed = time.monotonic()
    running = {_start(job, ports, folder): job for job in jobs}
    statuses, seconds = {}, {}
    while running:
        for process, job in list(running.items()):
            if "kill" in job and job["name"] not in seconds and _is_due(job["kill"], start):
                os.kill(process, signal.SIGKILL)
                killed = time.monotonic()
                seconds[job["name"]] = 0
            ended, status = os.waitpid(process, os.WNOHANG)
            if ended:
                del running[process]
                statuses[job["name"]] = os.waitstatus_to_exitcode(status)
                seconds[job["name"]] = round(time.monotonic() - killed, 1)
        time.sleep(0.02)
    return {job["name"]: [statuses[job["name"]], seconds[job["name"]]] for job in jobs}


if __name__ == "__main__":
    from mpn.cli.script import import_tensorflow

    import_tensorflow()
    import train_keypoints  # noqa: F401
    import train_person  # noqa: F401
    import train_prn  # noqa: F401
    from mpn.models import networks
    from mpn.training import keypoints, person, prn  # noqa: F401

    networks.build_backbone = _tiny_backbone
    print(json.dumps([_run_round(jobs, sys.argv[1]) for jobs in json.loads(sys.argv[2])]))
