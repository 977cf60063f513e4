"""Videos in and out, checked with OpenCV's own decoder on films whose frames can be told apart."""

import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest
from brightness import BrightnessModel, person

from mpn.demo.drawing import SteadyColours
from mpn.demo.inputs import find_inputs, result_names
from mpn.demo.run import run_demo
from mpn.demo.settings import PredictionSettings
from mpn.errors import UserError
from mpn.images import write_image
from mpn.videos import VIDEO_SUFFIXES, VideoReader, VideoWriter, is_video

ROOT = Path(__file__).parents[2]


def brightness(index, count):
    return 40 + 180 * index / count


def save_video(path, count=30, rate=25.0, size=(48, 64), codec="mp4v"):
    """Frame i of `count` has an even grey, darker for earlier frames. size is (H, W)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), rate, size[::-1])
    assert writer.isOpened()
    for index in range(count):
        writer.write(np.full((*size, 3), round(brightness(index, count)), np.uint8))
    writer.release()
    return path


def decode(path):
    """All frames of a video, BGR, and its announced number, rate and (H, W)."""
    capture = cv2.VideoCapture(str(path))
    announced = [capture.get(name) for name in (cv2.CAP_PROP_FRAME_COUNT, cv2.CAP_PROP_FPS)]
    size = int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)), int(capture.get(cv2.CAP_PROP_FRAME_WIDTH))
    frames = []
    while (read := capture.read())[0]:
        frames.append(read[1])
    return frames, *announced, size


def read_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def results(folder):
    return sorted(os.listdir(folder))


def test_four_seconds_of_video(tmp_path, capsys):
    path, output, model = save_video(tmp_path / "in" / "clip.mp4", 100), tmp_path / "out", BrightnessModel()
    assert run_demo([path], output, model) == 0
    assert results(output) == ["clip_poses.jsonl", "clip_poses.mp4"] and model.calls == 100
    frames, announced, rate, size = decode(output / "clip_poses.mp4")
    assert (len(frames), announced, rate, size) == (100, 100, 25, (48, 64))
    lines = read_lines(output / "clip_poses.jsonl")
    assert [line["frame"] for line in lines] == list(range(100))
    np.testing.assert_allclose([line["time"] for line in lines], np.arange(100) / 25)
    assert all(list(line) == ["frame", "time", "people"] for line in lines)
    for index, (frame, line) in enumerate(zip(frames, lines, strict=True)):
        expected = brightness(index, 100)
        assert abs(frame[40:].mean() - expected) < 8  # below the drawn box
        assert abs(line["people"][0]["box"][2] - expected / 255 * 64) < 2
        assert np.ptp(frame[:24], axis=2).max() > 60  # the box is drawn, and grey has no colour
    seen = [frame[40:].mean() for frame in frames]
    written = [line["people"][0]["box"][2] for line in lines]
    assert np.corrcoef([np.arange(100), seen, written]).min() > 0.999  # in order, none twice
    errors = capsys.readouterr().err
    assert "100 frames" in errors and "image/s" in errors and "/100" in errors and "failed" not in errors


@pytest.mark.parametrize(
    "name, codec", [("a.avi", "MJPG"), ("a.mov", "mp4v"), ("a.mkv", "mp4v"), ("a.webm", "VP80"), ("A.M4V", "mp4v")]
)
def test_every_kind_of_video(tmp_path, name, codec):
    if name == "A.M4V":  # FFmpeg writes no such file, but it is an .mp4
        path = save_video(tmp_path / "a.mp4", 12, 30).rename(tmp_path / name)
    else:
        path = save_video(tmp_path / name, 12, 30, codec=codec)
    assert is_video(path) and find_inputs([tmp_path]) == [path]
    assert run_demo([tmp_path], tmp_path / "out", BrightnessModel()) == 0
    frames, _, rate, size = decode(tmp_path / "out" / f"{path.stem}_poses.mp4")
    assert (len(frames), size) == (12, (48, 64)) and abs(rate - 30) < 0.1  # Matroska counts in milliseconds
    assert path.suffix.lower() in VIDEO_SUFFIXES


@pytest.mark.parametrize("rate", [5, 15.5, 30000 / 1001, 60, 120])
def test_the_rate_is_kept(tmp_path, rate):
    path = save_video(tmp_path / "a.mp4", 9, rate)
    run_demo([path], tmp_path / "out", BrightnessModel())
    frames, announced, kept, _ = decode(tmp_path / "out" / "a_poses.mp4")
    assert len(frames) == announced == 9 and abs(kept - rate) < 0.01
    times = [line["time"] for line in read_lines(tmp_path / "out" / "a_poses.jsonl")]
    np.testing.assert_allclose(times, np.arange(9) / rate, atol=1e-3)


@pytest.mark.parametrize("rate", [0.1, 23.976023976, 65.537, 66.666667, 119.877, 240.001, 1000])
def test_films_of_any_rate_keep_their_length(tmp_path, rate):
    with VideoWriter(tmp_path / "a.mp4", (48, 64), rate) as film:
        for index in range(7):
            film.write(np.full((48, 64, 3), 90, np.uint8), index / rate)
    count, announced_rate = decode(tmp_path / "a.mp4")[1:3]
    assert count == 7 and abs(7 / announced_rate - 7 / rate) < 1e-4


def test_where_no_film_can_be_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with VideoWriter("clip:1.mp4", (48, 64), 25) as film:  # a protocol to FFmpeg
        film.write(np.zeros((48, 64, 3), np.uint8), 0)
    assert len(decode(tmp_path / "clip:1.mp4")[0]) == 1
    with pytest.raises(FileNotFoundError, match="missing"):
        VideoWriter(tmp_path / "missing" / "a.mp4", (48, 64), 25)


def test_a_rate_that_no_camera_has_becomes_a_usual_one(tmp_path):
    path = save_video(tmp_path / "a.mp4", 5, 9000)
    assert decode(path)[2] == 9000
    with VideoReader(path) as video:
        assert video.rate == 25 and video.announced == 5


def test_colours_are_not_exchanged(tmp_path):
    writer = cv2.VideoWriter(str(tmp_path / "a.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 25, (64, 48))
    writer.write(np.full((48, 64, 3), (0, 0, 255), np.uint8))  # BGR: red
    writer.release()
    with VideoReader(tmp_path / "a.mp4") as video:
        ((frame, time),) = video
    assert time == 0
    assert np.abs(frame.astype(int) - (255, 0, 0)).max() < 30
    with VideoWriter(tmp_path / "b.mp4", (48, 64), 25) as film:
        film.write(frame, 0)
    assert np.abs(decode(tmp_path / "b.mp4")[0][0].astype(int) - (0, 0, 255)).max() < 40


def test_memory_does_not_grow_with_the_video(tmp_path):
    size = (240, 320)
    peaks = []
    for count in (10, 10, 120):  # once to warm up
        path = save_video(tmp_path / f"{count}.mp4", count, size=size)
        tracemalloc.start()
        run_demo([path], tmp_path / "out", BrightnessModel())
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    frame = size[0] * size[1] * 3
    assert peaks[1] > 2 * frame  # frames are seen by this measure at all
    assert peaks[2] - peaks[1] < 2 * frame


def test_bad_videos_are_named_and_skipped(tmp_path, capfd):
    whole = save_video(tmp_path / "whole.mp4").read_bytes()
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "half.mp4").write_bytes(whole[: len(whole) // 2])  # without the index at its end
    (folder / "empty.avi").touch()
    (folder / "text.mkv").write_text("no video")
    write_image(folder / "picture.png", np.full((30, 40, 3), 99, np.uint8))
    save_video(folder / "without.avi", 0, codec="MJPG")
    assert run_demo([folder, tmp_path / "gone.webm"], tmp_path / "out", BrightnessModel()) == 1
    assert results(tmp_path / "out") == ["picture_poses.jpg", "picture_poses.json"]
    lines = capfd.readouterr().err.splitlines()
    for name in ("half.mp4", "empty.avi", "text.mkv", "without.avi", "gone.webm"):
        assert sum("skipped" in line and name in line for line in lines) == 1
    assert len(lines) == 7 and lines[-1].startswith("5 of 6 files")  # and nothing of FFmpeg's own


def test_a_video_that_breaks_off_keeps_what_was_read(tmp_path, capfd):
    whole = save_video(tmp_path / "whole.avi", 40, codec="MJPG").read_bytes()
    path = tmp_path / "half.avi"
    path.write_bytes(whole[: len(whole) * 6 // 10])
    readable, announced, *_ = decode(path)
    assert 5 < len(readable) < announced == 40
    assert run_demo([path], tmp_path / "out", BrightnessModel()) == 0
    assert len(decode(tmp_path / "out" / "half_poses.mp4")[0]) == len(readable)
    assert len(read_lines(tmp_path / "out" / "half_poses.jsonl")) == len(readable)
    assert f"half.avi: {len(readable)} frames" in (errors := capfd.readouterr().err)
    assert f"reading failed after {len(readable)} frames" in errors


def test_a_run_that_is_interrupted_leaves_earlier_results_alone(tmp_path):
    class Interrupted(BrightnessModel):
        def predict(self, image):
            if self.calls == 5:
                raise KeyboardInterrupt
            return super().predict(image)

    path, output = save_video(tmp_path / "a.mp4", 10), tmp_path / "out"
    output.mkdir()
    for name in ("a_poses.mp4", "a_poses.jsonl"):
        (output / name).write_text("earlier")
    with pytest.raises(KeyboardInterrupt):
        run_demo([path], output, Interrupted())
    assert results(output) == ["a_poses.jsonl", "a_poses.mp4"]
    assert {(output / name).read_text() for name in results(output)} == {"earlier"}


@pytest.mark.skipif(sys.platform == "win32", reason="no limits on file sizes")
def test_a_full_disk_is_noticed(tmp_path):
    writer = cv2.VideoWriter(str(tmp_path / "a.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 25, (128, 96))
    for _ in range(50):
        writer.write(np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8))
    writer.release()
    assert (tmp_path / "a.mp4").stat().st_size > 30_000
    code = (
        "import resource, sys; sys.path[:0] = ['tests']\n"
        "from mpn.demo.run import run_demo\n"
        "from mpn.demo.settings import PredictionSettings\n"
        "from brightness import BrightnessModel\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "print(run_demo([sys.argv[1]], sys.argv[2], BrightnessModel(), PredictionSettings(threshold=0.95)))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a.mp4"), str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.strip() == "1", done.stderr
    assert f"skipped: '{tmp_path}/a.mp4': cannot read or write '{tmp_path}/out/a_poses.mp4'" in done.stderr
    assert "a_poses.mp4" not in results(tmp_path / "out") and not any(".tmp" in n for n in results(tmp_path / "out"))


def test_films_and_photographs_of_one_name_get_results_of_their_own(tmp_path):
    inputs = [save_video(tmp_path / "a.mp4", 4), tmp_path / "a.jpg", save_video(tmp_path / "b" / "A.avi", 5)]
    write_image(inputs[1], np.full((30, 40, 3), 99, np.uint8))
    output = tmp_path / "out"
    assert result_names(inputs, output) == ["a_mp4", "a_jpg", "A_avi"]
    assert run_demo(inputs, output, BrightnessModel()) == 0
    expected = ["A_avi_poses.jsonl", "A_avi_poses.mp4", "a_jpg_poses.jpg", "a_jpg_poses.json", "a_mp4_poses.jsonl"]
    assert results(output) == [*expected, "a_mp4_poses.mp4"]
    assert len(read_lines(output / "a_mp4_poses.jsonl")) == 4 and len(read_lines(output / "A_avi_poses.jsonl")) == 5


def test_a_video_among_the_inputs_is_never_overwritten(tmp_path):
    inputs = [save_video(tmp_path / "a.mp4", 4), save_video(tmp_path / "a_poses.mp4", 5)]
    before = [path.read_bytes() for path in inputs]
    assert run_demo(inputs, tmp_path, BrightnessModel()) == 0
    assert [path.read_bytes() for path in inputs] == before
    assert len(decode(tmp_path / "a-2_poses.mp4")[0]) == 4 and len(decode(tmp_path / "a_poses_poses.mp4")[0]) == 5


def test_a_second_run_takes_no_results_for_inputs(tmp_path):
    save_video(tmp_path / "a.mp4", 3)
    for inputs in ([tmp_path], [tmp_path], [f"{tmp_path}/*"]):
        assert run_demo(inputs, tmp_path, BrightnessModel()) == 0
        assert results(tmp_path) == ["a.mp4", "a_poses.jsonl", "a_poses.mp4"]


def test_people_below_the_threshold_are_left_out_and_rle_is_passed_on(tmp_path):
    class Model:
        def predict(self, image):
            return [person((2, 2, 30, 40), 0.8), person((5, 5, 20, 20), 0.4)]

    path = save_video(tmp_path / "a.mp4", 2)
    run_demo([path], tmp_path / "out", Model(), PredictionSettings(threshold=0.5), rle=True)
    for line in read_lines(tmp_path / "out" / "a_poses.jsonl"):
        assert [found["score"] for found in line["people"]] == [0.8] and line["people"][0]["silhouette"] is None


def test_suffixes_of_cameras_and_old_players_are_those_of_videos():
    for suffix in (".mp4", ".MOV", ".MTS", ".m2ts", ".ts", ".3gp", ".wmv", ".flv", ".mpg", ".vob", ".ogv", ".mxf"):
        assert is_video(f"a{suffix}"), suffix
    assert not is_video("a.jpg") and not is_video("mp4")


def test_frames_of_changing_size_all_arrive(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", (48, 64), 25) as film:
        for time, size in enumerate(((48, 64), (96, 128), (24, 32))):
            film.write(np.full((*size, 3), 90, np.uint8), time)
    frames, *_, size = decode(tmp_path / "a.mp4")
    assert len(frames) == 3 and size == (48, 64) and np.abs(frames[2].astype(int) - 90).max() < 5


def test_odd_sizes_lose_one_line(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", (49, 67), 25) as film:
        film.write(np.full((49, 67, 3), 90, np.uint8), 0)
    assert decode(tmp_path / "a.mp4")[3] == (48, 66)


def test_a_size_that_cannot_be_written_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match="9000 x 16"):
        VideoWriter(tmp_path / "a.mp4", (16, 9000), 25)
    assert not list(tmp_path.iterdir())


def test_people_keep_their_colours():
    colours = SteadyColours()
    left, right, middle = person((0, 0, 20, 40)), person((60, 0, 80, 40)), person((30, 0, 50, 40))
    assert colours.of([left, right]) == [0, 1]
    assert colours.of([person((62, 0, 82, 40)), person((2, 0, 22, 40))]) == [1, 0]  # another one is best now
    assert colours.of([middle, right, left]) == [2, 1, 0]
    assert colours.of([right]) == [1]
    assert sorted(colours.of([left, right, middle])) == [0, 1, 2] and colours.of([right]) == [1]
    assert colours.of([]) == [] and colours.of([right]) == [0]


def test_colours_in_a_film_do_not_flicker(tmp_path):
    class Model:
        calls = 0

        def predict(self, image):
            self.calls += 1
            people = [person((4, 4, 60, 90)), person((68, 4, 124, 90))]
            return people if self.calls % 2 else people[::-1]

    path = save_video(tmp_path / "a.mp4", 6, size=(96, 128))
    run_demo([path], tmp_path / "out", Model())
    frames = np.array(decode(tmp_path / "out" / "a_poses.mp4")[0], float)
    # The background is grey and gets lighter, so look at red against blue.
    warmth = [(frames[:, 30:80, x, 2] - frames[:, 30:80, x, 0]).mean(axis=1) for x in (4, 68)]
    assert all(np.ptp(side) < 30 for side in warmth)
    assert abs(warmth[0] - warmth[1]).min() > 60


def test_show_plays_the_film_until_the_window_is_closed(tmp_path, monkeypatch):
    class Window:
        def __init__(self):
            self.shown = []

        def show(self, drawing, wait=False):
            self.shown.append((drawing.shape, wait))

    window = Window()
    monkeypatch.setattr("mpn.demo.run.open_window", lambda title: window)
    write_image(tmp_path / "b.png", np.full((30, 40, 3), 99, np.uint8))
    run_demo([save_video(tmp_path / "a.mp4", 3), tmp_path / "b.png"], tmp_path / "out", BrightnessModel(), show=True)
    assert window.shown == [((48, 64, 3), False)] * 3 + [((30, 40, 3), True)]
