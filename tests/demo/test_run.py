import json
import os
import sys
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask
from skimage import data

from mpn.demo.inputs import find_inputs, result_names
from mpn.demo.run import run_demo
from mpn.demo.settings import PredictionSettings
from mpn.errors import UserError
from mpn.images import read_image, write_image
from mpn.people import Person, SilhouetteMap

ROOT = Path(__file__).parents[2]


class FakeModel:
    """Finds in each image people of the scores it is given, and keeps the images."""

    def __init__(self, *scores, silhouettes=None):
        self.scores = scores
        self.silhouettes = silhouettes
        self.images = []

    def predict(self, image):
        self.images.append(image)
        height, width = image.shape[:2]
        keypoints = np.full((17, 3), (width / 2, height / 2, 0.9), np.float32)
        box = np.array([1, 2, width - 1, height - 2], np.float32)
        return [Person(box, 0.9, keypoints, score, self.silhouettes) for score in self.scores]

    def heatmaps(self, image):
        return np.full((image.shape[0] // 4, image.shape[1] // 4, 18), 0.5, np.float32)


def save(path, height=40, width=60, value=128):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, np.full((height, width, 3), value, np.uint8))
    return path


def results(folder):
    return sorted(os.listdir(folder))


def test_people_are_drawn_and_written(tmp_path, capsys):
    path, output = save(tmp_path / "in" / "a.png"), tmp_path / "out" / "deep"
    model = FakeModel(0.9, 0.5, 0.2)
    assert run_demo([path], output, model, PredictionSettings(threshold=0.5)) == 0
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


def test_heic_files_of_a_folder_are_named(tmp_path, capsys):
    save(tmp_path / "in" / "a.jpg")
    (tmp_path / "in" / "b.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(4) + b"mif1heic")
    assert run_demo([tmp_path / "in"], tmp_path / "out", FakeModel(0.9)) == 1
    assert "b.HEIC' is a HEIC file" in capsys.readouterr().err


def test_names_that_are_no_text_are_no_trouble(tmp_path, capsys):
    folder = tmp_path / "in"
    odd = os.fsdecode(b"caf\xe9")
    try:
        save(folder / f"{odd}.jpg")
    except (OSError, UnicodeEncodeError):
        pytest.skip("this file system has no such names")
    save(folder / "b.jpg")
    assert run_demo([folder], tmp_path / "out", FakeModel(0.9)) == 0
    names = ["b_poses.jpg", "b_poses.json", f"{odd}_poses.jpg", f"{odd}_poses.json"]
    assert results(tmp_path / "out") == sorted(names)
    content = json.loads((tmp_path / "out" / f"{odd}_poses.json").read_text(encoding="utf-8"))
    assert content["image"] == "caf\\udce9.jpg"


class FailingModel(FakeModel):
    """Fails in its own way on images that are so many pixels high."""

    def predict(self, image):
        if image.shape[0] == 41:
            return cv2.resize(image, (0, 0))
        if image.shape[0] == 42:
            raise MemoryError
        if image.shape[0] == 43:
            raise av.FFmpegError(1, "no such codec")
        if image.shape[0] == 44:
            raise ValueError("no such pixels")
        return super().predict(image)


def test_whatever_goes_wrong_with_one_file_is_said_and_the_others_are_done(tmp_path, capsys):
    folder, output = tmp_path / "in", tmp_path / "out"
    longest = "n" * 250 + ".png"
    for name, height in (
        ("a.png", 40),
        ("cv.png", 41),
        ("memory.png", 42),
        ("av.png", 43),
        ("value.png", 44),
        ("folder.png", 40),
        (longest, 40),
        ("z.png", 40),
    ):
        save(folder / name[-40:], height).rename(folder / name)
    (output / "folder_poses.jpg").mkdir(parents=True)
    too_long = tmp_path / ("m" * 300 + ".jpg")
    assert run_demo([folder, too_long], output, FailingModel(0.9)) == 1
    assert results(output) == ["a_poses.jpg", "a_poses.json", "folder_poses.jpg", "z_poses.jpg", "z_poses.json"]
    lines = capsys.readouterr().err.splitlines()
    skipped = [line for line in lines if "skipped" in line]
    for name, words in (
        ("cv.png", "resize"),
        ("memory.png", "memory"),
        ("av.png", "no such codec"),
        ("value.png", "no such pixels"),
        ("folder.png", "folder_poses.jpg"),
        (longest, "too long"),
        (too_long.name, "too long"),
    ):
        assert sum(name in line and words in line for line in skipped) == 1, name
    assert len(lines) == 10 and lines[-1].startswith("7 of 9 files")


def test_an_output_that_takes_no_files_is_an_error_before_anything_is_done(tmp_path, monkeypatch):
    def read_only(*args, **options):
        raise PermissionError(13, "Permission denied", str(tmp_path / "out"))

    monkeypatch.setattr("mpn.files.tempfile.TemporaryFile", read_only)
    model = FakeModel(0.9)
    with pytest.raises(PermissionError):
        run_demo([save(tmp_path / "a.png")], tmp_path / "out", model)
    assert not model.images


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
    assert [path.name for path in find_inputs([tmp_path])] == ["a.png", "b.JPG", "old.png"]
    again = find_inputs([tmp_path / "old.png", tmp_path, tmp_path / "sub" / ".." / "a.png"])
    assert [path.name for path in again] == ["old.png", "a.png", "b.JPG"]
    with pytest.raises(UserError, match="an input is empty"):
        find_inputs([tmp_path, ""])


def test_folder_without_images_and_nothing_at_all(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(UserError, match="no images"):
        run_demo([tmp_path], tmp_path / "out", FakeModel())
    with pytest.raises(UserError, match="gone.jpg"):
        run_demo([tmp_path / "gone.jpg"], tmp_path / "out", FakeModel())
    assert results(tmp_path) == ["notes.txt"]


def test_a_pattern_means_the_images_and_videos_that_match(tmp_path, monkeypatch):
    for name in ("b.jpg", "a.jpg", "c.png", "deep/down/d.jpg", ".hidden.jpg", "a_poses.jpg", "e_poses.jpg"):
        save(tmp_path / name)
    for name in ("film.mp4", "film.txt", "a_poses.json"):
        (tmp_path / name).write_text("x")
    (tmp_path / "folder.jpg").mkdir()

    def names(*inputs):
        return [str(path.relative_to(tmp_path)) for path in find_inputs(inputs)]

    assert names(f"{tmp_path}/*.jpg") == ["a.jpg", "b.jpg", "e_poses.jpg"]
    assert names(f"{tmp_path}/*") == ["a.jpg", "b.jpg", "c.png", "e_poses.jpg", "film.mp4"]
    assert names(f"{tmp_path}/[b-c].*", tmp_path / "b.jpg") == ["b.jpg", "c.png"]
    assert names(f"{tmp_path}/**/?.jpg") == ["a.jpg", "b.jpg", "deep/down/d.jpg"]
    monkeypatch.chdir(tmp_path)
    assert [str(path) for path in find_inputs(["*.png"])] == ["c.png"]


def test_a_file_with_a_pattern_for_a_name_is_itself(tmp_path):
    odd, other = save(tmp_path / "[a].jpg"), save(tmp_path / "a.jpg")
    assert find_inputs([str(odd)]) == [odd]
    assert find_inputs([f"{tmp_path}/[[]a].jpg", f"{tmp_path}/?.jpg"]) == [odd, other]


def test_a_pattern_that_matches_nothing_is_an_error_before_anything_is_done(tmp_path):
    good = save(tmp_path / "a.jpg")
    (tmp_path / "b.txt").write_text("x")
    for pattern in ("*.tif", "*.txt", "gone/*"):
        with pytest.raises(UserError, match=f"'{tmp_path}/{pattern}'".replace("*", r"\*")):
            run_demo([good, f"{tmp_path}/{pattern}"], tmp_path / "out", FakeModel(0.9))
    assert not (tmp_path / "out").exists()


def test_without_input_it_runs_on_the_astronaut(tmp_path, capsys):
    model = FakeModel(0.9)
    assert run_demo([], tmp_path / "out", model) == 0
    assert (model.images[0] == data.astronaut()).all()
    assert results(tmp_path / "out") == ["astronaut_poses.jpg", "astronaut_poses.json"]
    drawing = read_image(tmp_path / "out" / "astronaut_poses.jpg")
    assert drawing.shape == (512, 512, 3) and np.abs(drawing.astype(int) - data.astronaut()).mean() < 10
    assert "astronaut" in capsys.readouterr().err


def test_silhouettes_are_written_as_run_lengths(tmp_path):
    values = np.zeros((10, 15), np.float32)
    values[3:8, 4:9] = 1
    model = FakeModel(0.9, 0.8, silhouettes=SilhouetteMap(values, (40, 60)))
    path = save(tmp_path / "a.png")
    assert run_demo([path], tmp_path / "out", model, rle=True) == 0
    expected = model.predict(read_image(path))[0].silhouette()
    for person in json.loads((tmp_path / "out" / "a_poses.json").read_text())["people"]:
        assert person["silhouette"]["size"] == [40, 60] and isinstance(person["silhouette"]["counts"], str)
        mask = coco_mask.decode(person["silhouette"])
        assert (mask == expected).all() and mask.any() and not mask.all()
        assert mask.sum() == person["silhouette_area"]
    run_demo([path], tmp_path / "plain", model)
    assert "silhouette" not in json.loads((tmp_path / "plain" / "a_poses.json").read_text())["people"][0]
    run_demo([path], tmp_path / "none", FakeModel(0.9), rle=True)
    person = json.loads((tmp_path / "none" / "a_poses.json").read_text())["people"][0]
    assert person["silhouette"] is None and person["silhouette_area"] is None


def test_every_field_of_the_json_is_documented():
    keypoints = np.zeros((17, 3), np.float32)
    person = Person(np.zeros(4, np.float32), 0.9, keypoints, 0.8, SilhouetteMap(np.ones((2, 2), np.float32), (8, 8)))
    fields = person.to_json(rle=True)
    for name in (*fields, *fields["silhouette"], *fields["keypoints"][0]):
        assert name in Person.to_json.__doc__
    assert json.loads(json.dumps(fields)) == fields


def test_heatmaps_are_drawn_for_images(tmp_path):
    paths = [save(tmp_path / "a.jpg"), save(tmp_path / "b.png")]
    assert run_demo(paths, tmp_path / "out", FakeModel(0.9), heatmaps=True) == 0
    names = [f"{stem}_{kind}" for stem in "ab" for kind in ("heatmaps.jpg", "poses.jpg", "poses.json")]
    assert results(tmp_path / "out") == names
    assert min(read_image(tmp_path / "out" / "a_heatmaps.jpg").shape[:2]) > 500
    assert [path.name for path in find_inputs([tmp_path, tmp_path / "out" / "a_poses.jpg"])][:2] == ["a.jpg", "b.png"]
    with pytest.raises(UserError, match="no images"):
        find_inputs([tmp_path / "out"])


def test_heatmaps_of_a_video_are_refused_before_anything_is_done(tmp_path):
    (tmp_path / "film.MP4").write_text("x")
    with pytest.raises(UserError, match="film.MP4"):
        run_demo([save(tmp_path / "a.jpg"), tmp_path / "film.MP4"], tmp_path / "out", "no model", heatmaps=True)
    assert not (tmp_path / "out").exists()


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
    assert [path.read_bytes() for path in inputs] == before and link.is_symlink()
    for name in ("a-2_poses", "a_poses_poses", "b-2_poses"):
        assert (tmp_path / f"{name}.jpg").exists() and (tmp_path / f"{name}.json").exists()


def test_a_second_run_takes_no_results_for_inputs(tmp_path):
    save(tmp_path / "a.jpg")
    for _ in range(2):
        assert run_demo([tmp_path], tmp_path, FakeModel(0.9)) == 0
        assert results(tmp_path) == ["a.jpg", "a_poses.jpg", "a_poses.json"]


def test_a_name_may_be_as_long_as_the_file_system_admits(tmp_path):
    path = tmp_path / ("n" * 245 + "_poses.jpg")  # whose .json could not exist
    save(tmp_path / "a.jpg").rename(path)
    assert find_inputs([tmp_path]) == [path]


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
