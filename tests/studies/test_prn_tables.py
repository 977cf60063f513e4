"""The commands that print Table 3 and its companions: what they measure, train and keep."""

import json

import numpy as np
import pytest
from coco_people import load_ground_truth

from mpn.config import ModelConfig
from mpn.data.coco import annotation_file, load_annotations
from mpn.data.imperfect import Imperfections
from mpn.errors import UserError
from mpn.evaluation.tables import markdown
from mpn.inference.multiposenet import MultiPoseNet
from mpn.model_directory import load_config, save_networks
from mpn.models.networks import Networks
from mpn.people import Person
from mpn.studies import grouping_tables, prn_tables
from mpn.training import PrnTraining
from mpn.training.splits import training_and_validation


@pytest.fixture(scope="module")
def labels(synthetic_coco):
    return annotation_file(synthetic_coco, "val")


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables") / "model"
    networks = Networks(ModelConfig(backbone="mobilenet_v2", width=0.35, prn_nodes=8, prn_pool=4))
    networks.position_prior = np.ones((56, 36, 17), np.float32)
    save_networks(networks, folder, ("prn",))
    return folder


def cells(line):
    return line.strip("| ").split(" | ")


def test_markdown():
    table = markdown(["a", "b"], [["x", 0.89449], ["y", 1.0], ["z", -1.0], ["w", 12]])
    assert table.splitlines() == [
        "| a | b |",
        "| --- | --- |",
        "| x | .894 |",
        "| y | 1.000 |",
        "| z | - |",
        "| w | 12 |",
    ]


def test_groupings_lose_with_spoilt_input(labels, model_dir):
    records, truth = load_annotations(labels), load_ground_truth(labels)
    model = MultiPoseNet.load(model_dir, ("prn",), grouping="max")
    perfect = grouping_tables.grouping_metrics(model, records, truth)["AP"]
    assert perfect > 0
    for condition in (
        {"imperfections": Imperfections(displacement=1.0)},
        {"imperfections": Imperfections(dropped=0.5)},
    ):
        assert grouping_tables.grouping_metrics(model, records, truth, **condition)["AP"] < perfect - 0.05
    assert grouping_tables.grouping_metrics(model, records, truth, iou=0.7)["AP"] != perfect


def test_another_pose_score_changes_the_order_alone(labels, model_dir):
    """Whatever the scores, AR at 20 people an image counts the same poses."""
    records, truth = load_annotations(labels), load_ground_truth(labels)
    model = MultiPoseNet.load(model_dir, ("prn",), grouping="max")
    own = grouping_tables.grouping_metrics(model, records, truth)
    same = grouping_tables.grouping_metrics(model, records, truth, rescore=lambda person: person.score)
    assert same == own
    other = grouping_tables.grouping_metrics(model, records, truth, rescore=lambda person: -person.box[0])
    assert other["AR"] == pytest.approx(own["AR"], abs=0.02) and other["AP"] != own["AP"]


def test_pose_scores():
    keypoints = np.zeros((17, 3))
    keypoints[:, 2] = np.linspace(0.2, 1, 17)
    person = Person(np.zeros(4), 0.9, keypoints, 0.7)
    scores = {row.name: row.score(person) for row in prn_tables.TABLES["improvements"] if row.score}
    assert list(scores) == [
        f"score: {name}" for name in ("sum of confidences / 17", "box score alone", "least confidence")
    ]
    assert list(scores.values()) == pytest.approx([0.6, 0.9, 0.2])


def test_the_table_of_groupings(labels, model_dir, capsys):
    grouping_tables.main(["--model", str(model_dir), "--annotations", str(labels), "--limit", "4"])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    groupings, conditions = lines[2:6], lines[8:]
    assert [cells(line)[0] for line in groupings] == list(grouping_tables.GROUPINGS_COMPARED)
    assert [cells(line)[0] for line in conditions] == [name for name, *_ in grouping_tables.CONDITIONS]
    assert cells(lines[6]) == ["input, AP", *grouping_tables.GROUPINGS_COMPARED]
    # The first condition is the first table's.
    assert cells(conditions[0])[1:] == [cells(line)[1] for line in groupings]


def run_table(*arguments, only=()):
    """Runs the command, for some rows of its tables alone."""
    with pytest.MonkeyPatch.context() as patch:
        for name, rows in prn_tables.TABLES.items():
            patch.setitem(prn_tables.TABLES, name, [row for row in rows if not only or row.name in only])
        prn_tables.main([str(argument) for argument in arguments])


def test_rows_are_trained_measured_and_kept(labels, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(prn_tables, "_train", prn_tables._train_here)  # a process takes seconds to import TensorFlow
    shared = ["improvements", "--annotations", labels, "--output", tmp_path / "out", "--steps", 2]
    shared += ["--batch-size", 4, "--nodes", 8, "--hold-out", 0.25]
    names = ["best", "margin 21 %", "greedy assignment"]  # in the table's own order
    run_table(*shared, only=names)
    rows = [cells(line) for line in capsys.readouterr().out.splitlines() if line.startswith("| ")][-3:]
    assert [row[0] for row in rows] == names
    best, margin = tmp_path / "out" / "best", tmp_path / "out" / "margin-21--"
    assert load_config(best).prn_margin == 0.5 and load_config(margin).prn_margin == 0.21
    # The options at the end hold for every row.
    assert load_config(best).prn_nodes == load_config(margin).prn_nodes == 8
    assert not (tmp_path / "out" / "greedy-assignment" / "prn.weights.h5").exists()
    before = (best / "prn.weights.h5").stat().st_mtime_ns
    (best / "held-out-metrics.json").unlink()
    run_table(*shared, only=["best"])
    assert (best / "prn.weights.h5").stat().st_mtime_ns == before
    assert cells(capsys.readouterr().out.splitlines()[-1])[:3] == rows[0][:3]


def test_held_out_images_are_those_that_training_left_out(labels, tmp_path):
    run_table(
        *("designs", "--annotations", labels, "--output", tmp_path, "--steps", 1, "--batch-size", 4),
        *("--nodes", 8, "--hold-out", 0.25),
        only=["1 layer, 1024 nodes, dropout, residual"],
    )
    metrics = json.loads((tmp_path / "1-layer--1024-nodes--dropout--residual" / "held-out-metrics.json").read_text())
    assert 0 <= metrics["AP"] <= 1
    settings = PrnTraining(annotations=labels, hold_out=0.25)
    training, validation = training_and_validation(settings, lambda record: record.labelled.any(), images=False)
    records, _ = prn_tables.held_out_labels(settings)
    assert [record.id for record in records] == [record.id for record in validation]
    assert not {record.id for record in records} & {record.id for record in training}


def test_what_cannot_be_done_is_named(labels, tmp_path):
    shared = ["improvements", "--annotations", labels, "--output", tmp_path]
    with pytest.raises(UserError, match="train that row first"):
        run_table(*shared, only=["greedy assignment"])
    for words in (["--hold-out", 0], ["--epochs", 3], ["--steps-per-epoch=4"], ["--resume"]):
        with pytest.raises(UserError, match=str(words[0]).partition("=")[0]):
            run_table(*shared, *words)
    assert not list(tmp_path.iterdir())


def test_rows_made_with_other_options_are_not_mixed_in(labels, tmp_path, monkeypatch):
    figures = dict.fromkeys((*prn_tables._METRICS, "spoilt AP", "parameters"), 0.5)
    monkeypatch.setattr(prn_tables, "_train", lambda *_: None)
    monkeypatch.setattr(prn_tables, "measure", lambda *_: figures)
    shared = ["improvements", "--annotations", labels, "--output", tmp_path, "--batch-size", 4, "--nodes", 8]
    shared += ["--hold-out", 0.25]
    run_table(*shared, "--steps", 1, only=["best"])
    with pytest.raises(UserError, match="best/held-out-metrics.json was made with other options"):
        run_table(*shared, "--steps", 2, only=["best"])
