"""`evaluate.py` with peaks and boxes from files and from the ground truth."""

import json

import numpy as np
import pytest
from entries import box, peak, written

import evaluate as script
from mpn.cli.script import run
from mpn.config import ModelConfig
from mpn.data.coco import annotation_file, load_annotations
from mpn.evaluation.sources import EMPTY, with_true_keypoints
from mpn.model_directory import save_config, save_networks
from mpn.models.networks import Networks
from mpn.skeleton import KEYPOINTS


def evaluated(tmp_path, *arguments):
    """Metrics of a run of evaluate.py that must succeed."""
    save_config(ModelConfig(), tmp_path / "model")
    file = tmp_path / "metrics.json"
    shared = ("--model", tmp_path / "model", "--output", tmp_path / "results", "--metrics", file)
    with pytest.raises(SystemExit) as stopped:
        run(script.main, [str(argument) for argument in (*shared, *arguments)])
    assert stopped.value.code == 0
    return json.loads(file.read_text())


def annotations_of(coco):
    """The labelled people of the validation images, as the file has them."""
    content = json.loads((coco / "annotations" / "person_keypoints_val2017.json").read_text())
    return [a for a in content["annotations"] if not a["iscrowd"] and any(a["keypoints"][2::3])]


def peaks_file(coco, path):
    """The labelled keypoints as a file of peaks, just as COCO counts them."""
    return written(
        path,
        [
            peak(image_id=annotation["image_id"], joint=name, x=x, y=y, score=1)
            for annotation in reversed(annotations_of(coco))
            for name, x, y, v in zip(KEYPOINTS, *(annotation["keypoints"][i::3] for i in range(3)), strict=True)
            if v > 0
        ],
    )


def boxes_file(coco, path):
    """The boxes of the labelled people as a file of detections."""
    return written(path, [box(image_id=a["image_id"], bbox=a["bbox"], score=1) for a in annotations_of(coco)])


def test_true_keypoints_from_a_file_are_perfect_for_the_oracle(synthetic_coco, tmp_path):
    file = peaks_file(synthetic_coco, tmp_path / "peaks.json")
    sources = ("--boxes", "ground-truth", "--grouping", "oracle", "--coco", synthetic_coco)
    metrics = evaluated(tmp_path, "--keypoints", file, *sources)
    assert metrics["keypoints"]["AP"] == pytest.approx(1, abs=1e-6)
    assert metrics["keypoints"] == evaluated(tmp_path, "--keypoints", "ground-truth", *sources)["keypoints"]
    assert metrics["settings"]["keypoints"] == file


def test_max_on_files_equals_max_on_the_ground_truth(synthetic_coco, tmp_path):
    path = annotation_file(synthetic_coco, "val")
    entries = []
    for record in load_annotations(path):
        # In the ground truth's own order: Max takes the first of peaks that are equally high.
        found = with_true_keypoints(EMPTY, record)
        for joint, number in zip(*np.nonzero(found.peak_scores), strict=True):
            x, y = (found.peaks[joint, number] - 0.5).tolist()
            entries.append(peak(image_id=record.id, joint=int(joint), x=x, y=y, score=1.0))
    files = (
        *("--keypoints", written(tmp_path / "peaks.json", entries)),
        *("--boxes", boxes_file(synthetic_coco, tmp_path / "boxes.json")),
    )
    expected = evaluated(
        *(tmp_path, "--coco", synthetic_coco, "--grouping", "max"),
        *("--keypoints", "ground-truth", "--boxes", "ground-truth"),
    )
    for where in (("--coco", synthetic_coco), ("--annotations", path)):
        metrics = evaluated(tmp_path, *where, *files, "--grouping", "max")
        assert metrics["keypoints"] == expected["keypoints"]
        assert metrics["keypoints"]["AP"] > 0.1
        assert metrics["boxes"]["AP"] > 0.5  # boxes of a file are evaluated, true ones are not
    assert "boxes" not in expected


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--keypoints", "groundtruth", "--boxes", "ground-truth"), "--keypoints must be"),
        (("--keypoints", "ground-truth", "--boxes", "missing.json"), "--boxes must be"),
        (("--keypoints", "ground-truth", "--boxes", "wrong.json"), "entry 0 of wrong.json"),
        (("--keypoints", "wrong.json", "--boxes", "ground-truth"), "entry 0 of wrong.json"),
        (("--keypoints", "ground-truth", "--boxes", "wrong.json", "--grouping", "oracle"), "oracle"),
        (("--keypoints", "wrong.json", "--boxes", "ground-truth", "--split", "test-dev"), "test-dev"),
    ],
)
def test_unknown_sources_are_one_clear_sentence(synthetic_coco, tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "wrong.json", [{"image_id": 1}])
    save_config(ModelConfig(), tmp_path / "model")
    shared = ("--coco", synthetic_coco, "--model", tmp_path / "model", "--grouping", "max")
    with pytest.raises(SystemExit) as stopped:
        run(script.main, [str(argument) for argument in (*shared, *arguments)])
    assert stopped.value.code == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and words in error
    assert not list(tmp_path.rglob("*results.json"))


def test_stage_1_is_measured_before_the_others_exist(small_backbone, tiny_coco, tmp_path):
    """True boxes take the person subnet's place, whose weights are not there yet; Max needs no PRN."""
    narrow = {"keypoint_channels": 8, "keypoint_head_channels": 8, "person_channels": 8, "person_head_channels": 8}
    config = ModelConfig(backbone="mobilenet_v2", width=0.35, image_size=(64, 96), **narrow)
    save_networks(Networks(config), tmp_path / "model", ("keypoints",))
    file = tmp_path / "metrics.json"
    places = ("--coco", tiny_coco, "--model", tmp_path / "model", "--output", tmp_path / "results", "--metrics", file)
    script.main([str(word) for word in (*places, "--boxes", "ground-truth", "--grouping", "max")])
    metrics = json.loads(file.read_text())
    assert metrics["silhouettes"]["IoU"] >= 0
    assert metrics["settings"]["keypoints"] == "network"
