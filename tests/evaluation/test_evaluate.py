"""Metrics, result files and the sources of an evaluation, against pycocotools and the ground truth itself."""

import io
import json
import os
import pathlib
import shutil
import sys
import zipfile

import numpy as np
import pytest
from coco_people import load_ground_truth
from pycocotools.coco import COCO

import evaluate as script
from mpn.cli.script import run
from mpn.config import ModelConfig
from mpn.data.coco import annotation_file, hold_out, load_annotations
from mpn.errors import UserError
from mpn.evaluation import Evaluation, evaluate
from mpn.evaluation.coco import evaluate_boxes, evaluate_keypoints
from mpn.evaluation.results import box_results, keypoint_results, results_file, write_keypoint_results
from mpn.model_directory import save_config
from mpn.people import Person
from mpn.training import KeypointTraining
from mpn.training.splits import training_and_validation

MPN_COCO = os.environ.get("MPN_COCO")
EXAMPLE = pathlib.Path(MPN_COCO or ".").parent / "coco-labels"


def true_people(record, which):
    """The ground truth of an image as predictions."""
    return [
        Person(box, 1.0, np.where(keypoints[:, 2:] > 0, keypoints, 0.5), 1.0)
        for box, keypoints in zip(record.boxes[which], record.keypoints[which], strict=True)
    ]


def assert_ground_truth_is_perfect(path):
    records = load_annotations(path)
    poses, boxes = [], []
    for record in records:
        poses += keypoint_results(record.id, true_people(record, record.labelled))
        boxes += box_results(record.id, true_people(record, ~record.crowd))
    truth = load_ground_truth(path)
    ids = [record.id for record in records]
    keypoints = evaluate_keypoints(truth, poses, ids)
    assert keypoints["AP"] == pytest.approx(1, abs=1e-6), keypoints
    assert evaluate_boxes(truth, boxes, ids)["AP"] == pytest.approx(1, abs=1e-6)
    # The same predictions moved by a tenth of a box are not perfect: the metric does measure.
    for result in poses:
        result["keypoints"] = [value + 15 for value in result["keypoints"]]
    assert evaluate_keypoints(truth, poses, ids)["AP"] < 0.9


def test_ground_truth_as_prediction_is_perfect_on_the_synthetic_set(synthetic_coco):
    assert_ground_truth_is_perfect(annotation_file(synthetic_coco, "val"))


@pytest.mark.skipif(not MPN_COCO, reason="MPN_COCO is not set")
def test_ground_truth_as_prediction_is_perfect_on_photographs():
    assert_ground_truth_is_perfect(annotation_file(MPN_COCO, "val"))


@pytest.mark.skipif(not EXAMPLE.is_dir(), reason="the published example is not beside MPN_COCO")
def test_published_example_is_reproduced():
    truth = load_ground_truth(EXAMPLE / "example_coco_val.json")
    results = json.loads((EXAMPLE / "example_coco_preds.json").read_text())
    metrics = evaluate_keypoints(truth, results, truth.getImgIds())
    expected = {"AP": 0.86089, "AP50": 0.99315, "AP75": 0.91089, "APM": 0.77558, "APL": 0.93725, "AR": 0.875}
    assert {name: round(metrics[name], 5) for name in expected} == expected


def test_no_results_score_zero(synthetic_coco):
    truth = load_ground_truth(annotation_file(synthetic_coco, "val"))
    assert evaluate_keypoints(truth, [], truth.getImgIds())["AP"] == 0
    assert evaluate_boxes(truth, [], truth.getImgIds())["AP"] == 0


def test_results_stay_as_they_are(synthetic_coco):
    path = annotation_file(synthetic_coco, "val")
    record = next(r for r in load_annotations(path) if r.labelled.any())
    results = keypoint_results(record.id, true_people(record, record.labelled))
    before = json.dumps(results)
    evaluate_keypoints(load_ground_truth(path), results, [record.id])
    assert json.dumps(results) == before


def test_no_results_score_zero_even_where_somebody_is_in_the_corner(tmp_path):
    keypoints = [value for _ in range(17) for value in (2, 1, 2)]
    person = {"image_id": 1, "bbox": [0, 0, 20, 20], "keypoints": keypoints}
    (tmp_path / "labels.json").write_text(
        json.dumps({"images": [{"id": 1, "width": 64, "height": 48}], "annotations": [person]})
    )
    truth = load_ground_truth(tmp_path / "labels.json")
    assert evaluate_keypoints(truth, [], [1])["AP"] == 0
    assert evaluate_boxes(truth, [], [1])["AP"] == 0


def person(score=0.5):
    return Person(np.float32([1, 2, 11, 22]), 0.9, np.full((17, 3), 0.5, np.float32) + (3, 4, 0), score)


def test_results_have_coco_units():
    (pose,) = keypoint_results(7, [person()])
    assert pose["image_id"] == 7 and pose["category_id"] == 1 and len(pose["keypoints"]) == 51
    assert pose["keypoints"][:3] == [3.0, 4.0, 0.5]  # our 3.5 and 4.5 less half a pixel
    (box,) = box_results(7, [person()])
    assert box["bbox"] == [1, 2, 10, 20] and box["score"] == pytest.approx(0.9)


def test_an_image_keeps_its_best_twenty_people():
    results = keypoint_results(1, [person(score=i / 100) for i in range(30)])
    assert [result["score"] for result in results] == [i / 100 for i in range(29, 9, -1)]


def test_files_have_the_servers_names_and_content(tmp_path):
    path = results_file(tmp_path / "new", "test-dev", "mpn")
    results = keypoint_results(1, [person()])
    write_keypoint_results(path, results, zipped=True)
    assert path.name == "person_keypoints_test-dev2017_mpn_results.json"
    assert json.loads(path.read_text()) == results
    with zipfile.ZipFile(path.with_suffix(".zip")) as archive:
        assert archive.namelist() == [path.name]
        assert json.loads(archive.read(path.name)) == results
    with pytest.raises(UserError, match="letters"):
        results_file(tmp_path, "val", "a/b")


def run_script(*arguments):
    with pytest.raises(SystemExit) as stopped:
        run(script.main, [str(argument) for argument in arguments])
    return stopped.value.code


def test_true_keypoints_and_boxes_need_no_network(synthetic_coco, tmp_path):
    save_config(ModelConfig(), tmp_path / "model")
    metrics = {}
    for grouping in ("oracle", "max"):
        file = tmp_path / f"{grouping}.json"
        shared = ["--coco", synthetic_coco, "--model", tmp_path / "model", "--output", tmp_path, "--metrics", file]
        sources = ["--keypoints", "ground-truth", "--boxes", "ground-truth", "--grouping", grouping]
        assert run_script(*shared, *sources) == 0
        metrics[grouping] = json.loads(file.read_text())
    assert metrics["oracle"]["keypoints"]["AP"] == pytest.approx(1, abs=1e-6)
    assert metrics["max"]["keypoints"]["AP"] < 1  # people overlap, and Max cannot tell them apart
    assert metrics["max"]["settings"]["grouping"] == "max"
    assert "boxes" not in metrics["max"]  # true boxes say nothing about the detector
    assert "silhouettes" not in metrics["max"]  # nor do true keypoints need the network
    assert metrics["max"]["settings"]["silhouette_threshold"] is metrics["max"]["settings"]["held_out"] is None


def held_out_evaluation(synthetic_coco, folder, *options):
    """Metrics of true keypoints and boxes of the train split, and the ids of images in the results file."""
    save_config(ModelConfig(), folder / "model")
    sources = ["--keypoints", "ground-truth", "--boxes", "ground-truth", "--grouping", "oracle"]
    shared = ["--coco", synthetic_coco, "--model", folder / "model", "--output", folder, "--split", "train"]
    assert run_script(*shared, *sources, *options, "--metrics", folder / "metrics.json") == 0
    poses = json.loads(results_file(folder, "train", "mpn").read_text())
    return json.loads((folder / "metrics.json").read_text()), {pose["image_id"] for pose in poses}


@pytest.mark.parametrize(
    ("options", "limit", "share"),
    [(["--held-out", 0.25], None, 0.25), (["--held-out", 0.3, "--limit", 20], 20, 0.3)],
)
def test_held_out_images_are_those_that_training_leaves_out(synthetic_coco, tmp_path, capsys, options, limit, share):
    records = load_annotations(annotation_file(synthetic_coco, "train"), limit=limit)
    _, held_out = hold_out(records, share)
    metrics, ids = held_out_evaluation(synthetic_coco, tmp_path, *options)
    assert ids == {record.id for record in held_out if record.labelled.any()} != set()
    settings = metrics["settings"]
    assert (settings["images"], settings["held_out"]) == (len(held_out), share)
    # People of the other images would count as missed.
    assert metrics["keypoints"]["AP"] == pytest.approx(1, abs=1e-6)
    assert f"of train (held out: share {share})" in capsys.readouterr().out


def test_training_and_evaluation_hold_out_the_same_images(synthetic_coco, tmp_path):
    _, held_out = training_and_validation(
        KeypointTraining(coco=synthetic_coco, hold_out=0.25, seed=5), keep=lambda record: record.labelled.any()
    )
    _, ids = held_out_evaluation(synthetic_coco, tmp_path, "--held-out", 0.25)
    assert ids == {record.id for record in held_out}


def test_without_held_out_all_of_train_counts(synthetic_coco, tmp_path):
    metrics, ids = held_out_evaluation(synthetic_coco, tmp_path)
    assert metrics["settings"]["images"] == 32
    assert metrics["settings"]["held_out"] is None
    records = load_annotations(annotation_file(synthetic_coco, "train"))
    assert ids == {record.id for record in records if record.labelled.any()}


def test_held_out_labels_need_no_folder(synthetic_coco, tmp_path):
    path = annotation_file(synthetic_coco, "train")
    metrics, ids = held_out_evaluation(synthetic_coco, tmp_path, "--held-out", 0.25, "--annotations", path)
    _, held_out = hold_out(load_annotations(path), 0.25)
    assert metrics["settings"]["images"] == len(held_out) == 8
    assert ids == {record.id for record in held_out if record.labelled.any()}


def test_heatmap_codec_loses_next_to_nothing(synthetic_coco, tmp_path):
    save_config(ModelConfig(image_size=(480, 800)), tmp_path / "model")
    file = tmp_path / "metrics.json"
    sources = ["--keypoints", "ground-truth-heatmaps", "--boxes", "ground-truth", "--grouping", "oracle"]
    shared = ["--coco", synthetic_coco, "--model", tmp_path / "model", "--output", tmp_path, "--metrics", file]
    assert run_script(*shared, *sources) == 0
    assert json.loads(file.read_text())["keypoints"]["AP"] > 0.95


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--coco", "nowhere"], "nowhere"),
        (["--split", "test-dev", "--boxes", "ground-truth"], "test-dev"),
        (["--grouping", "oracle"], "oracle"),
        (["--held-out", "0.1"], "--split train"),
        (["--scales", "0.5,9"], "--scales must be"),
        (["--batch", "2", "--mirror"], "--batch is for single views"),
        (["--batch", "2", "--keypoints", "ground-truth", "--boxes", "ground-truth"], "--batch is for the network"),
        (["--held-out", "0", "--split", "test-dev"], "--split train"),
        (["--voc", "VOC2012", "--limit", "3"], "python -m mpn.evaluation.voc"),
        (["--runtime"], "python -m mpn.evaluation.runtime"),
        (["--prn-clusters=clusters.png"], "python -m mpn.studies.prn_clusters"),
        (["--annotations", "labels.json"], "--annotations"),
        (["--annotations", "labels.json", "--keypoints", "ground-truth", "--boxes", "ground-truth"], "labels.json"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path, capsys, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MPN_COCO", raising=False)
    assert run_script(*arguments) == 1
    error = capsys.readouterr().err.strip()
    assert words in error and len(error.splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("flag", "value"),
    [("--grouping", "magic"), ("--held-out", "1.5"), ("--silhouette-threshold", "2")],
)
def test_wrong_flag_values_are_refused(capsys, flag, value):
    assert run_script(flag, value) == 2
    assert value in capsys.readouterr().err


def test_an_evaluation_from_python(synthetic_coco, tmp_path, monkeypatch):
    monkeypatch.setenv("MPN_COCO", str(synthetic_coco))
    save_config(ModelConfig(), tmp_path / "model")
    sources = {"keypoints": "ground-truth", "boxes": "ground-truth", "grouping": "oracle"}
    evaluation = Evaluation(model=tmp_path / "model", output=tmp_path / "out", **sources)
    assert evaluation.coco == str(synthetic_coco) and evaluation.model == (str(tmp_path / "model"),)
    metrics = evaluate(evaluation)
    assert metrics["keypoints"]["AP"] == pytest.approx(1, abs=1e-6)
    assert metrics["settings"].items() >= sources.items()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        f"person_{kind}_val2017_mpn_results.json" for kind in ("boxes", "keypoints")
    ]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"split": "test"}, "split must be one of val, test-dev, train, not 'test'"),
        ({"grouping": "magic"}, "grouping must be one of"),
        ({"nms_threshold": 1.5}, "nms_threshold must be a number from 0 to 1, not 1.5"),
        ({"limit": 0}, "limit must be a whole number of 1 or more, not 0"),
        ({"model": ()}, "model must be a text or a path, or several"),
        ({"scales": ()}, "scales must be a list of numbers"),
        ({"scales": (0.5, 9)}, "^scales must be"),
        ({"held_out": 0.1}, "it needs split train"),
        ({"model": ("a", "b"), "boxes": "ground-truth"}, "several model, or oks_threshold"),
    ],
)
def test_an_evaluation_that_cannot_be_is_refused(fields, words):
    with pytest.raises(UserError, match=words):
        Evaluation(**fields)


def with_truth(labels, folder, *more):
    """Arguments of an evaluation of true keypoints and boxes."""
    save_config(ModelConfig(), folder / "model")
    sources = ("--keypoints", "ground-truth", "--boxes", "ground-truth", "--grouping", "oracle")
    return "--annotations", labels, "--model", folder / "model", "--output", folder / "out", *sources, *more


@pytest.fixture
def labels(synthetic_coco, tmp_path):
    """Content of the synthetic set's val labels, and a function that writes it changed and gives the file's name."""
    content = json.loads(annotation_file(synthetic_coco, "val").read_text())

    def write():
        (tmp_path / "labels.json").write_text(json.dumps(content))
        return tmp_path / "labels.json"

    return content, write


def test_result_files_have_the_ids_of_the_annotations(labels, tmp_path):
    content, write = labels
    moved = 2**64
    content["categories"][0]["id"] = 5
    for item in content["images"]:
        item["id"] += moved
    for item in content["annotations"]:
        item |= {"image_id": item["image_id"] + moved, "category_id": 5, "id": 0}
    assert run_script(*with_truth(write(), tmp_path, "--metrics", tmp_path / "metrics.json")) == 0
    assert json.loads((tmp_path / "metrics.json").read_text())["keypoints"]["AP"] == pytest.approx(1, abs=1e-6)
    for name in ("keypoints", "boxes"):
        results = json.loads((tmp_path / "out" / f"person_{name}_val2017_mpn_results.json").read_text())
        assert {result["category_id"] for result in results} == {5}
        assert {result["image_id"] for result in results} <= {item["id"] for item in content["images"]}


def test_boxes_of_a_file_have_the_category_of_the_annotations(labels, tmp_path):
    content, write = labels
    content["categories"][0]["id"] = 5
    boxes = []
    for item in content["annotations"]:
        item["category_id"] = 5
        boxes.append({"image_id": item["image_id"], "category_id": 5, "bbox": item["bbox"], "score": 1})
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    more = ("--boxes", tmp_path / "boxes.json", "--grouping", "max", "--metrics", tmp_path / "metrics.json")
    assert run_script(*with_truth(write(), tmp_path, *more)) == 0
    assert json.loads((tmp_path / "metrics.json").read_text())["boxes"]["AP"] > 0.5


def test_nobody_labelled_is_an_error(labels, tmp_path, capsys):
    content, write = labels
    for item in content["annotations"]:
        item["keypoints"] = None
    assert run_script(*with_truth(write(), tmp_path)) == 1
    assert "nobody in the 16 images taken of" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_metrics_that_name_a_folder_fail_before_the_work(labels, tmp_path, capsys):
    (tmp_path / "metrics").mkdir()
    assert run_script(*with_truth(labels[1](), tmp_path, "--metrics", tmp_path / "metrics")) == 1
    assert "metrics' is a folder" in capsys.readouterr().err
    assert not any((tmp_path / "out").iterdir())


class BrokenPipe(io.StringIO):
    def write(self, text):
        raise BrokenPipeError


def test_printing_needs_no_letters_and_comes_after_the_metrics(labels, tmp_path, monkeypatch):
    stdout = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    monkeypatch.setattr(sys, "stdout", stdout)
    arguments = with_truth(labels[1](), tmp_path, "--output", tmp_path / "結果", "--metrics", tmp_path / "metrics.json")
    assert run_script(*arguments) == 0
    stdout.flush()
    assert rb"\u7d50\u679c" in stdout.buffer.getvalue()
    (tmp_path / "metrics.json").unlink()
    monkeypatch.setattr(sys, "stdout", BrokenPipe())
    assert run_script(*arguments) == 1
    assert (tmp_path / "metrics.json").exists()


def test_missing_images_end_an_evaluation_before_it_begins(synthetic_coco, tmp_path, capsys):
    folder = shutil.copytree(synthetic_coco, tmp_path / "coco")
    sorted((folder / "val2017").iterdir())[-1].unlink()
    assert run_script("--coco", folder, "--model", tmp_path / "none", "--output", tmp_path / "out") == 1
    assert "1 of 16 images are not there" in capsys.readouterr().err


def test_stages_out_of_order(synthetic_coco, tmp_path, capsys):
    save_config(ModelConfig(), tmp_path / "model")
    assert run_script("--coco", synthetic_coco, "--model", tmp_path / "model") == 1
    assert "train_keypoints.py" in capsys.readouterr().err
    assert run_script("--coco", synthetic_coco, "--model", tmp_path / "none") == 1
    assert "train_keypoints.py" in capsys.readouterr().err


def test_results_load_in_pycocotools(synthetic_coco, tmp_path):
    path = annotation_file(synthetic_coco, "val")
    record = next(r for r in load_annotations(path) if r.labelled.any())
    file = results_file(tmp_path, "val", "mpn")
    write_keypoint_results(file, keypoint_results(record.id, true_people(record, record.labelled)))
    loaded = COCO(str(path)).loadRes(str(file))
    assert len(loaded.getAnnIds()) == record.labelled.sum()
