"""Exports to other formats: what their engines find is what TensorFlow finds; bad input is a sentence."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import types

import numpy as np
import pytest
import tensorflow as tf
from exports import NEEDS, assert_nearly_same_people, assert_same_people, picture
from runs import assert_one_sentence, exit_of

import demo
import mpn.export
from mpn.errors import UserError
from mpn.evaluation import runtime
from mpn.images import write_image
from mpn.inference import export_folder
from mpn.inference.export_folder import NOTE_FILE, import_extra
from mpn.inference.multiposenet import MultiPoseNet
from mpn.inference.refiner import Refiner
from mpn.inference.views import Augmentation
from mpn.studies import prn_runtime


@pytest.mark.parametrize("format", NEEDS)
def test_finds_the_same_people(export, source, format):
    exported, model = (MultiPoseNet.load(folder, precision="float32") for folder in (export(format), source))
    for height, width in [(90, 130), (130, 90)][: 1 if exported.note.size else 2]:  # one size makes upright ones small
        image = picture(height, width)
        expected, silhouettes = model.predict(image, with_silhouettes=True)
        found, found_silhouettes = exported.predict(image, with_silhouettes=True)
        assert_same_people(found, expected)
        np.testing.assert_allclose(found_silhouettes.values, silhouettes.values, atol=1e-3)
        np.testing.assert_allclose(exported.heatmaps(image), model.heatmaps(image), atol=1e-3)


@pytest.mark.parametrize("format", ["onnx", "openvino"])
@pytest.mark.parametrize("views", [{"scales": (1.0, 1.5)}, {"crops": 2}, {"mirror": True}])
def test_sees_the_same_views(export, source, format, views):
    image, augmentation = picture(), Augmentation(**views)
    model, exported = (
        MultiPoseNet.load(folder, precision="float32", augmentation=augmentation) for folder in (source, export(format))
    )
    np.testing.assert_allclose(exported.heatmaps(image), model.heatmaps(image), atol=1e-3)
    assert_nearly_same_people(exported.predict(image), model.predict(image))


@pytest.mark.parametrize("format", ["onnx", "openvino", "tflite"])
def test_refines_the_same(export, refiner_source, format):
    image, views = picture(), {"mirror": True, "nearer": True}
    boxes = np.float32([[10, 5, 60, 80], [60, 20, 120, 70]])
    found = Refiner.load(export(format, refiner=True), "float32", **views).find(image, boxes)
    expected = Refiner.load(refiner_source, "float32", **views).find(image, boxes)
    sure = expected[..., 2] > 0.3
    assert sure.any()
    np.testing.assert_allclose(found[sure], expected[sure], atol=0.5)


def test_nobody(tmp_path, export):
    """An image without boxes gives nobody, and a silhouette map all the same."""
    model = MultiPoseNet.load(export("onnx"))
    run = model._engine.run

    def without_boxes(graph, **inputs):
        outputs = run(graph, **inputs)
        return outputs | {"classification": 0 * outputs["classification"]} if graph == "network" else outputs

    model._engine.run = without_boxes
    people, silhouettes = model.predict(picture(), with_silhouettes=True)
    assert people == [] and silhouettes.mask().shape == (90, 130)


@pytest.mark.parametrize(("format", "refiner"), [*((name, False) for name in NEEDS), ("onnx", True)])
def test_code_of_the_readme_runs(export, format, refiner, tmp_path, monkeypatch, capsys):
    folder = shutil.copytree(export(format, refiner), tmp_path / "export")
    write_image(folder / "photo.jpg", picture())
    with_mpn, without = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    assert "mpn" not in without
    monkeypatch.chdir(folder)
    for code in (without,) if refiner else (with_mpn, without):
        exec(compile(code, "README.md", "exec"), {})
        assert "[" in capsys.readouterr().out


@pytest.mark.parametrize("format", ["onnx", "openvino", "tflite"])
def test_runs_without_tensorflow(export, format, tmp_path):
    """In a new process: neither the model nor the refinement network imports TensorFlow or Keras."""
    write_image(tmp_path / "photo.png", picture())
    code = f"""
import sys
from mpn.inference.exported_model import ExportedModel
from mpn.images import read_image
from mpn.inference.refiner import refined
assert not {{"scipy", "matplotlib"}} & set(sys.modules)  # slow to import, and not every image needs them
model = refined(ExportedModel({str(export(format))!r}), {str(export(format, refiner=True))!r})
assert model.predict(read_image({str(tmp_path / "photo.png")!r}))
assert not {{"tensorflow", "keras", "keras_retinanet", "scipy.optimize"}} & set(sys.modules), sorted(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=pathlib.Path(mpn.__file__).parents[1])


def test_demo_takes_an_export(export, tmp_path):
    write_image(tmp_path / "photo.png", picture())
    arguments = ["--model", export("onnx"), "--refine", export("onnx", refiner=True), "--threshold", "0"]
    assert demo.main([*map(str, [tmp_path / "photo.png", "--output", tmp_path / "out", *arguments])]) == 0
    assert json.loads((tmp_path / "out" / "photo_poses.json").read_text())["people"]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("tarball",), "invalid choice"),
        (("saved_model", "--overwrite"), "leave them out"),
        (("saved_model", "--storage", "float32"), "leave them out"),
        (("keras", "--size", 64, 64), "for the formats openvino and tflite"),
        (("openvino", "--int8"), "--calibrate FOLDER"),
        (("openvino", "--calibrate", "photos"), "--int8"),
        (("onnx", "--int8", "--calibrate", "photos"), "int8 is for the formats openvino and tflite, not onnx"),
        (("tflite", "--int8", "--calibrate", "photos"), "'photos' is no folder with images"),
        (("saved_model", "--size", 64, 64), "leave it out"),
        (("tflite", "--size", 64, 70), "multiples of 32"),
    ],
)
def test_sentences(source, tmp_path, capsys, monkeypatch, more, words):
    monkeypatch.setattr(export_folder.importlib, "import_module", lambda name: None)  # no extra is used so early
    status, error = exit_of(mpn.export, [source, tmp_path / "target", "--format", *more], capsys)
    assert status in (1, 2) and words in error
    assert not list(tmp_path.iterdir())


def test_target_exists(source, tmp_path, capsys):
    (tmp_path / "target").mkdir()
    status, error = exit_of(mpn.export, [source, tmp_path / "target", "--format", "saved_model"], capsys)
    assert status == 1 and "exists already" in error
    assert_one_sentence(error)


def test_nothing_half_written(source, tmp_path, monkeypatch):
    """A failure after some graphs were written leaves nothing behind."""
    from mpn.deployment import export as exporter
    from mpn.deployment.writers import WRITERS

    monkeypatch.setitem(WRITERS, "saved_model", lambda graphs, folder: (folder / "network").mkdir())
    monkeypatch.setattr(exporter, "_readme", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        exporter.export_graphs(source, tmp_path / "target", "saved_model")
    assert not list(tmp_path.iterdir())


def test_a_refiner_is_not_calibrated_on_nobody(refiner_source, tmp_path, capsys, monkeypatch):
    write_image(tmp_path / "photo.png", picture())
    monkeypatch.setattr(MultiPoseNet, "load", lambda name: types.SimpleNamespace(predict=lambda image: []))
    arguments = [refiner_source, tmp_path / "target", "--format", "tflite", "--int8", "--calibrate", tmp_path]
    status, error = exit_of(mpn.export, arguments, capsys)
    assert status == 1 and "finds nobody" in error and "error: " in error
    assert os.listdir(tmp_path) == ["photo.png"]


def test_a_damaged_photograph_is_named(source, tmp_path, capsys, monkeypatch):
    """A graph of one operation takes the place of the network, whose conversion takes long."""
    signature = [tf.TensorSpec((1, 96, 160, 3), tf.uint8, name="images")]
    graph = tf.function(lambda images: {"heatmaps": tf.cast(images, tf.float32)}, signature, autograph=False)
    monkeypatch.setattr("mpn.deployment.graphs.model_graphs", lambda networks, size: {"network": graph})
    (tmp_path / "a.jpg").write_bytes(b"no image")
    arguments = [source, tmp_path / "target", "--format", "tflite", "--int8", "--calibrate", tmp_path]
    status, error = exit_of(mpn.export, arguments, capsys)
    assert status == 1 and "a.jpg" in error
    assert os.listdir(tmp_path) == ["a.jpg"]


def test_export_of_another_version(export, tmp_path):
    folder = shutil.copytree(export("saved_model"), tmp_path / "export")
    note = json.loads((folder / NOTE_FILE).read_text())
    changes = [{"version": 99}, {"format": "tarball"}, {"more": 1}, {"size": [64, 65]}, {"size": [64]}, {"size": "ab"}]
    for changed in [*({**note, **change} for change in changes), []]:
        (folder / NOTE_FILE).write_text(json.dumps(changed))
        with pytest.raises(UserError, match="python -m mpn.export"):
            MultiPoseNet.load(folder)


def test_damaged_graph(export, tmp_path):
    folder = shutil.copytree(export("onnx"), tmp_path / "export")
    (folder / "network.onnx").write_bytes(b"no graph")
    with pytest.raises(UserError, match="network.onnx cannot be loaded"):
        MultiPoseNet.load(folder).predict(picture())
    (folder / "network.onnx").unlink()
    with pytest.raises(UserError, match="network.onnx does not exist"):
        MultiPoseNet.load(folder).predict(picture())


@pytest.mark.parametrize(
    "options",
    [{"grouping": "ucr"}, {"grouping": "prn-crop"}, {"nms_threshold": 0.5}, {"window": 3}, {"precision": "bfloat16"}],
)
def test_options_that_an_export_lacks(export, options):
    with pytest.raises(UserError, match="export"):
        MultiPoseNet.load(export("onnx"), **options)


def test_commands_that_need_networks_refuse_exports(export, capsys):
    model = export("saved_model")
    for command, arguments in ((runtime, ["photo.jpg"]), (prn_runtime, [])):
        status, error = exit_of(command, [*arguments, "--model", model], capsys)
        assert status == 1 and "model directory that it was made of" in error
        assert_one_sentence(error)


def test_kinds_are_told_apart(export):
    with pytest.raises(UserError, match="--refine"):
        MultiPoseNet.load(export("onnx", refiner=True))
    with pytest.raises(UserError, match="not a refinement network"):
        Refiner.load(export("saved_model"))


def test_missing_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match="run pip install onnxruntime$"):
        import_extra("onnxruntime")


@pytest.mark.parametrize("refiner", [False, True])
def test_graphs_have_names(export, refiner):
    files = {path.stem for path in export("saved_model", refiner).iterdir() if path.is_dir()}
    assert files == set(export_folder.GRAPHS[refiner])


def test_formats_have_engines():
    from mpn.inference.engines import ENGINES

    assert set(ENGINES) == set(export_folder.FORMATS) == set(NEEDS)
