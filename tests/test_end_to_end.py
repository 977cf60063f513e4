"""The whole chain from pictures to metrics: targets, losses, decoding, grouping and coordinates at once."""

import json
import os
import pathlib
import runpy
import shlex
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
MPN_COCO = os.environ.get("MPN_COCO")


def run_python(*arguments):
    result = subprocess.run([sys.executable, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, f"{arguments}\n{result.stdout[-3000:]}\n{result.stderr[-3000:]}"
    return result


def quickstart(folder, path):
    """Runs the recipe with the programs of a folder before all others."""
    environment = {**os.environ, "PATH": f"{path}:{os.environ['PATH']}"}
    command = ["bash", "docs/recipes/quickstart.sh", str(folder)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def run_here(words, monkeypatch):
    """Runs a Python command in this process, which has TensorFlow at hand."""
    as_module = words[0] == "-m"
    monkeypatch.setattr(sys, "argv", words[as_module:])
    with pytest.raises(SystemExit) as end:
        runpy.run_module(words[1], run_name="__main__") if as_module else runpy.run_path(words[0], run_name="__main__")
    assert end.value.code == 0, words


def test_quick_start_leaves_other_files_alone(tmp_path):
    (tmp_path / "mine.txt").touch()
    result = quickstart(tmp_path, pathlib.Path(sys.executable).parent)
    assert (
        result.returncode == 1
        and result.stderr == f"error: {tmp_path} is not empty: remove it, or name another folder\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_quick_start_learns_its_pictures(tmp_path, monkeypatch):
    """A light backbone learns two synthetic pictures by heart."""
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/bash\nprintf "%q " "$@" >> {tmp_path}/commands\necho >> {tmp_path}/commands\n')
    python.chmod(0o755)
    result = quickstart(tmp_path / "new", python.parent)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    commands = [shlex.split(line) for line in (tmp_path / "commands").read_text().splitlines()]
    assert len(commands) == 6
    monkeypatch.chdir(ROOT)
    for words in commands:
        run_here(words, monkeypatch)
    metrics = json.loads((tmp_path / "new" / "results" / "metrics.json").read_text())
    assert metrics["settings"]["images"] == 2
    assert metrics["keypoints"]["AP"] > 0.4, metrics
    assert metrics["boxes"]["AP"] > 0.3, metrics
    assert len(list((tmp_path / "new" / "results").glob("*_poses.jpg"))) == 2


@pytest.mark.slow
@pytest.mark.skipif(not MPN_COCO, reason="MPN_COCO is not set")
def test_resnet50_learns_eight_photographs(tmp_path):
    """ResNet-50 from random weights learns eight photographs with several people each; an hour with AMX."""
    coco, model, metrics = tmp_path / "coco", tmp_path / "model", tmp_path / "metrics.json"
    write_subset(pathlib.Path(MPN_COCO), coco, images=8)
    shared = ["--coco", coco, "--model", model, "--precision", "mixed_bfloat16", "--hold-out", 0]
    shared += ["--steps-per-epoch", 20, "--batch-size", 8, "--schedule", "cosine"]
    stage_1 = "--framing image --rotation 0 --scale 1 1 --mirror 0 --image-size 480 --inference-size 480 480".split()
    stage_1 += ["--backbone-weights", "none", "--learning-rate", 4e-4, "--epochs", 22]
    run_python("train_keypoints.py", *shared, *stage_1)
    stage_2 = ["--image-size", 480, 480, "--mirror", 0, "--learning-rate", 1e-3, "--epochs", 11]
    run_python("train_person.py", *shared, *stage_2)
    stage_3 = ["--loss", "cross-entropy", "--learning-rate", 3e-4, "--epochs", 8, "--box-jitter", 0.05]
    run_python("train_prn.py", *shared, *stage_3, "--batch-size", 32)
    run_python("evaluate.py", "--coco", coco, "--model", model, "--split", "train", "--metrics", metrics, *AS_TRAINED)
    figures = json.loads(metrics.read_text())
    assert figures["keypoints"]["AP"] >= 0.9, figures
    assert figures["boxes"]["AP"] >= 0.85, figures


# Boxes in the group photograph overlap by an IoU of up to 0.43: the paper's NMS at 0.3 drops people, and 0.5 leaves
# found boxes too little room. What was learned by heart was learned in square patches.
AS_TRAINED = ("--nms-threshold", 0.6, "--square")


def write_subset(source, folder, images):
    """A COCO folder of the first images of val2017 with two labelled people or more and no crowd region."""
    content = json.loads((source / "annotations" / "person_keypoints_val2017.json").read_text())
    people = {image["id"]: [] for image in content["images"]}
    for annotation in content["annotations"]:
        people[annotation["image_id"]].append(annotation)

    def suits(image):
        found = people[image["id"]]
        return sum(a["num_keypoints"] > 0 for a in found) >= 2 and not any(a["iscrowd"] for a in found)

    content["images"] = [image for image in content["images"] if suits(image)][:images]
    content["annotations"] = [a for image in content["images"] for a in people[image["id"]]]
    (folder / "annotations").mkdir(parents=True)
    (folder / "annotations" / "person_keypoints_train2017.json").write_text(json.dumps(content))
    (folder / "train2017").symlink_to(source / "val2017")
