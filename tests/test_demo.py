import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import demo
from mpn.errors import UserError
from mpn.images import read_image, write_image
from mpn.inference.demo import find_images, result_names, run_demo
from mpn.people import Person

ROOT = Path(__file__).parents[1]


class FakeModel:
    """Finds in each image the people it is given, and keeps the images."""

    def __init__(self, *scores):
        self.scores = scores
        self.images = []

    def predict(self, image):
        self.images.append(image)
        height, width = image.shape[:2]
        keypoints = np.full((17, 3), (width / 2, height / 2, 0.9), np.float32)
        box = np.array([1, 2, width - 1, height - 2], np.float32)
        return [Person(box, 0.9, keypoints, score) for score in self.scores]


def save(path, height=40, width=60, value=128):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, np.full((height, width, 3), value, np.uint8))
    return path


def results(folder):
    return sorted(os.listdir(folder))


def test_people_are_drawn_and_written(tmp_path, capsys):
    path, output = save(tmp_path / "in" / "a.png"), tmp_path / "out" / "deep"
    model = FakeModel(0.9, 0.5, 0.2)
    assert run_demo([path], output, model, threshold=0.5) == 0
    assert results(output) == ["a_poses.jpg", "a_poses.json"]
    assert (model.images[0] == read_image(path)).all()
    content = json.loads((output / "a_poses.json").read_text())
    assert (content["image"], content["width"], content["height"]) == ("a.png", 60, 40)
    assert [person["score"] for person in content["people"]] == [0.9, 0.5]
    assert content["people"][0]["box"] == [1, 2, 59, 38]
    drawing = read_image(output / "a_poses.jpg")
    assert drawing.shape == (40, 60, 3) and np.ptp(drawing) > 50
    assert "[1/1]" in capsys.readouterr().err


def test_no_people_is_a_result(tmp_path, capsys):
    output = tmp_path / "out"
    assert run_demo([save(tmp_path / "a.jpg")], output, FakeModel(0.1)) == 0
    assert json.loads((output / "a_poses.json").read_text())["people"] == []
    assert np.abs(read_image(output / "a_poses.jpg").astype(int) - 128).max() <= 3
    assert "0 people" in capsys.readouterr().err


def test_bad_files_are_named_and_skipped(tmp_path, capsys):
    folder, output = tmp_path / "in", tmp_path / "out"
    for name in ("a.jpg", "c.jpg"):
        save(folder / name)
    (folder / "b.jpg").write_text("no image")
    (folder / "d.png").write_bytes((save(tmp_path / "whole.png")).read_bytes()[:-20])
    assert run_demo([folder, tmp_path / "gone.jpg"], output, FakeModel(0.9)) == 1
    assert results(output) == ["a_poses.jpg", "a_poses.json", "c_poses.jpg", "c_poses.json"]
    lines = capsys.readouterr().err.splitlines()
    for number, name in ((2, "b.jpg"), (4, "d.png"), (5, "gone.jpg")):
        assert any(line.startswith(f"[{number}/5] skipped") and name in line for line in lines)
    assert lines[-1].startswith("3 of 5 files")


def test_an_image_that_the_model_refuses_is_skipped(tmp_path):
    class Refusing(FakeModel):
        def predict(self, image):
            if image.shape[0] == 1:
                raise UserError("too small")
            return super().predict(image)

    inputs = [save(tmp_path / "a.png", height=1), save(tmp_path / "b.png")]
    assert run_demo(inputs, tmp_path / "out", Refusing(0.9)) == 1
    assert results(tmp_path / "out") == ["b_poses.jpg", "b_poses.json"]


def test_a_folder_means_its_images(tmp_path):
    for name in ("b.JPG", "a.png", "sub/z.jpg", ".hidden.jpg", "old.png"):
        save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "dir.jpg").mkdir()
    assert [path.name for path in find_images([tmp_path])] == ["a.png", "b.JPG", "old.png"]
    again = find_images([tmp_path / "old.png", tmp_path, tmp_path / "sub" / ".." / "a.png"])
    assert [path.name for path in again] == ["old.png", "a.png", "b.JPG"]


def test_folder_without_images_and_nothing_at_all(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(UserError, match="no images"):
        run_demo([tmp_path], tmp_path / "out", FakeModel())
    with pytest.raises(UserError, match="gone.jpg"):
        run_demo([tmp_path / "gone.jpg"], tmp_path / "out", FakeModel())
    assert results(tmp_path) == ["notes.txt"]


def test_output_that_is_a_file(tmp_path):
    path = save(tmp_path / "a.png")
    for output in (path, path / "deep"):
        with pytest.raises(UserError, match="not a folder"):
            run_demo([path], output, FakeModel())


def test_files_of_one_stem_get_results_of_their_own(tmp_path):
    inputs = ["x/a.jpg", "x/a.png", "y/a.jpg", "y/A.png", "y/b.jpg", "y/a_png.jpg"]
    inputs = [save(tmp_path / name, width=20 + 10 * i) for i, name in enumerate(inputs)]
    output = tmp_path / "out"
    names = result_names(inputs, output)
    assert names == ["a_jpg", "a_png", "a_jpg-2", "A_png-2", "b", "a_png-3"]
    assert run_demo(inputs, output, FakeModel(0.9)) == 0
    widths = [json.loads((output / f"{name}_poses.json").read_text())["width"] for name in names]
    assert widths == [20, 30, 40, 50, 60, 70]


def test_inputs_are_never_overwritten(tmp_path):
    inputs = [save(tmp_path / "a.jpg"), save(tmp_path / "a_poses.jpg", value=7)]
    link = tmp_path / "in" / "link.jpg"
    link.parent.mkdir()
    target = save(tmp_path / "b_poses.jpg")
    link.symlink_to(target)
    inputs += [link, save(tmp_path / "in" / "b.jpg")]
    before = [path.read_bytes() for path in inputs]
    assert run_demo(inputs, tmp_path, FakeModel(0.9)) == 0
    assert [path.read_bytes() for path in inputs] == before
    for name in ("a-2_poses", "a_poses_poses", "b-2_poses"):
        assert (tmp_path / f"{name}.jpg").exists() and (tmp_path / f"{name}.json").exists()


def test_a_second_run_takes_no_results_for_inputs(tmp_path):
    save(tmp_path / "a.jpg")
    for _ in range(2):
        assert run_demo([tmp_path], tmp_path, FakeModel(0.9)) == 0
        assert results(tmp_path) == ["a.jpg", "a_poses.jpg", "a_poses.json"]


@pytest.mark.parametrize("fails_at", [1, 2])
def test_nothing_half_written_is_left(tmp_path, monkeypatch, fails_at):
    path, output = save(tmp_path / "a.jpg"), tmp_path / "out"
    calls, fsync = [], os.fsync

    def full_disk(descriptor):
        calls.append(descriptor)
        if len(calls) == fails_at:
            raise OSError(28, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError) as caught:
        run_demo([path], output, FakeModel(0.9))
    assert caught.value.filename == str(output / ("a_poses.jpg" if fails_at == 1 else "a_poses.json"))
    assert results(output) == ["a_poses.jpg"][: fails_at - 1]


def test_show_without_display_says_so_and_goes_on(tmp_path, monkeypatch, capsys):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    assert run_demo([save(tmp_path / "a.jpg")], tmp_path / "out", FakeModel(0.9), show=True) == 0
    assert "no display" in capsys.readouterr().err
    assert results(tmp_path / "out") == ["a_poses.jpg", "a_poses.json"]


def test_show_with_a_dead_display_does_not_end_the_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DISPLAY", ":987")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert run_demo([save(tmp_path / "a.jpg")], tmp_path / "out", FakeModel(0.9), show=True) == 0
    assert "no display" in capsys.readouterr().err


def test_command_line_reaches_run_demo(monkeypatch):
    calls = []
    monkeypatch.setattr("mpn.inference.demo.run_demo", lambda *args, **options: calls.append((args, options)))
    required = ["a.jpg", "b", "--model", "m", "--output", "o"]
    demo.main(required)
    demo.main([*required, "--image-size", "800", "--threshold", "0.5", "--show", "--precision", "float32"])
    demo.main([*required, "--image-size", "320", "640"])
    (args, first), (_, second), (_, third) = calls
    assert args == (["a.jpg", "b"], "o", "m")
    assert first == {"threshold": 0.3, "show": False, "image_size": None, "precision": "auto"}
    assert second == {"threshold": 0.5, "show": True, "image_size": (800, 1333), "precision": "float32"}
    assert third["image_size"] == (320, 640)


@pytest.mark.parametrize(
    "options",
    [
        ["--threshold", "1.5"],
        ["--threshold", "nan"],
        ["--image-size", "0"],
        ["--image-size", "800", "600"],
        ["--image-size", "1", "2", "3"],
        ["--image-size", "640", "b.jpg"],
        ["--precision", "float8"],
    ],
)
def test_impossible_options_are_refused(options, capsys):
    with pytest.raises(SystemExit) as caught:
        demo.main(["a.jpg", "--model", "m", "--output", "o", *options])
    assert caught.value.code == 2 and options[0] in capsys.readouterr().err


def test_help_and_option_errors_import_nothing_slow():
    code = (
        "import sys, demo\n"
        "try: demo.main(['--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit(int(any(name in sys.modules for name in ('cv2', 'keras', 'tensorflow'))))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.DEVNULL).returncode == 0
