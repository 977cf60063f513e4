"""What container files say about frames: their times, their orientation, and whether all of them are there."""

import io
import json
import struct
import tempfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from brightness import BrightnessModel
from PIL import Image

from mpn import images
from mpn import videos as video
from mpn.demo.run import run_demo
from mpn.errors import UserError
from mpn.videos import VideoReader

FOUR = [[(250, 40, 40), (40, 250, 40)], [(40, 40, 250), (230, 230, 230)]]  # red, green; blue, white

# The pictures that players show of FOUR, by the columns (a, b) and (c, d) of the display matrix.
SHOWN = {
    (1, 0, 0, 1): lambda stored: stored,
    (-1, 0, 0, 1): np.fliplr,
    (-1, 0, 0, -1): lambda stored: np.rot90(stored, 2),
    (1, 0, 0, -1): np.flipud,
    (0, 1, -1, 0): lambda stored: np.rot90(stored, -1),  # clockwise, as telephones that are held upright have it
    (0, -1, 1, 0): lambda stored: np.rot90(stored, 1),
    (0, 1, 1, 0): lambda stored: stored.swapaxes(0, 1),
    (0, -1, -1, 0): lambda stored: np.rot90(stored.swapaxes(0, 1), 2),
}


def make_film(kind, codec, ticks, frame=None, sound=False, **options):
    """Bytes of a film with a frame at each of `ticks`, in 1/30 s, that gets lighter; `frame` replaces the picture."""
    file = tempfile.NamedTemporaryFile()
    with file, av.open(file.name, "w", format=kind, options=options) as container:
        stream = container.add_stream(codec, rate=30)
        stream.height, stream.width = (48, 64) if frame is None else frame.shape[:2]
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        track = container.add_stream("mp2", rate=44100) if sound else None
        noise = np.random.default_rng(0).integers(0, 20, (48, 64, 3))
        for index, tick in enumerate(ticks):
            picture = (noise + 9 * index).astype(np.uint8) if frame is None else frame
            picture = av.VideoFrame.from_ndarray(picture)
            picture.pts, picture.time_base = tick, Fraction(1, 30)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
        if sound:
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 1152), np.int16), "s16", "mono")
            silence.sample_rate = 44100
            for index in range(sound):
                silence.pts = 1152 * index
                container.mux(track.encode(silence))
            container.mux(track.encode(None))
        container.close()
        return Path(file.name).read_bytes()


def read(path, data):
    """Times and frames of a film, and its reader."""
    path.write_bytes(data)
    with VideoReader(path) as film:
        frames, times = zip(*film, strict=True)
    return np.array(times), frames, film


@pytest.mark.parametrize("kind, codec", [("mp4", "mpeg4"), ("matroska", "mpeg4"), ("mpegts", "mpeg2video")])
def test_time_is_the_frames_own(tmp_path, kind, codec):
    ticks = [0, 1, 2, 3, 30, 31, 90, 150]
    times, frames, film = read(tmp_path / "film.mp4", make_film(kind, codec, ticks))
    np.testing.assert_allclose(times, np.array(ticks) / 30, atol=0.001)
    assert len(frames) == 8 and not film.breaks_off and not film.lost
    run_demo([tmp_path / "film.mp4"], tmp_path / "out", BrightnessModel())
    lines = [json.loads(line) for line in (tmp_path / "out" / "film_poses.jsonl").read_text().splitlines()]
    np.testing.assert_allclose([line["time"] for line in lines], times, atol=1e-4)
    with av.open(str(tmp_path / "out" / "film_poses.mp4")) as written:  # and the drawn film is as long
        drawn = [frame.time for frame in written.decode(video=0)]
    np.testing.assert_allclose(drawn, times, atol=0.001)


def test_times_of_a_format_that_counts_frames(tmp_path):
    times, *_ = read(tmp_path / "film.avi", make_film("avi", "mpeg4", range(6)))
    np.testing.assert_allclose(times, np.arange(6) / 30, atol=0.001)


def test_times_increase_whatever_the_file_says(tmp_path):
    ticks = iter([0, 512, 512, 100, None, 5120])

    class Odd(VideoReader):
        def _frames_of(self, packet):
            frames = super()._frames_of(packet)
            for frame in frames:
                frame.pts = next(ticks)
            return frames

    (tmp_path / "film.mp4").write_bytes(make_film("mp4", "mpeg4", range(6)))
    with Odd(tmp_path / "film.mp4") as film:
        times = [time for _, time in film]
    assert len(times) == 6 and times[1] == pytest.approx(1 / 30) and (np.diff(times) > 0).all()


@pytest.mark.parametrize("matrix", SHOWN)
def test_orientation_is_that_of_the_display_matrix(tmp_path, matrix):
    stored = np.kron(np.array(FOUR, np.uint8), np.ones((32, 48, 1), np.uint8))
    data = make_film("mp4", "mpeg4", range(2), stored)
    a, b, c, d = matrix
    upright = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    place = data.index(upright, data.index(b"tkhd"))
    turned = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    _, frames, film = read(tmp_path / "film.mp4", data[:place] + turned + data[place + 36 :])
    expected = SHOWN[matrix](stored)
    assert film.size == expected.shape[:2] == frames[1].shape[:2] and frames[1].flags.c_contiguous
    assert np.abs(frames[1].astype(int) - expected).mean() < 12


def test_a_file_that_announces_more_frames_than_it_shows_does_not_break_off(tmp_path, capsys):
    data = make_film("mp4", "mpeg4", range(20))
    place = data.index(b"elst") + 12
    timescale = int.from_bytes(data[(at := data.index(b"mvhd") + 16) : at + 4], "big")
    shorter = data[:place] + struct.pack(">I", timescale * 6 // 30) + data[place + 4 :]
    times, frames, film = read(tmp_path / "trimmed.mp4", shorter)
    assert len(frames) == 6 < film.announced and not film.breaks_off
    assert run_demo([tmp_path / "trimmed.mp4"], tmp_path / "out", BrightnessModel()) == 0
    assert "6 frames" in (said := capsys.readouterr().err) and "failed" not in said and "lost" not in said


@pytest.mark.parametrize("sound", [0, 60])
@pytest.mark.parametrize(
    "kind, codec, options",
    [
        ("mp4", "mpeg4", {"movflags": "faststart"}),
        ("mp4", "mpeg4", {"movflags": "frag_keyframe+empty_moov"}),
        ("matroska", "mpeg4", {}),
        ("avi", "mjpeg", {}),
        ("flv", "flv", {}),
    ],
)
def test_a_file_that_is_cut_breaks_off(tmp_path, capsys, kind, codec, options, sound):
    sound = 0 if kind == "flv" else sound
    whole = make_film(kind, codec, range(40), sound=sound, **options)
    _, frames, film = read(tmp_path / "whole.mp4", whole)
    assert len(frames) == 40 and not film.breaks_off
    times, frames, film = read(tmp_path / "cut.mp4", whole[: len(whole) * 6 // 10])
    assert 5 < len(frames) < 40 and film.breaks_off
    assert run_demo([tmp_path / "cut.mp4"], tmp_path / "out", BrightnessModel()) == 0
    assert f"reading failed after {len(frames)} frames" in capsys.readouterr().err


def test_what_cannot_be_decoded_is_left_out_and_counted(tmp_path, capsys):
    data = bytearray(make_film("avi", "mjpeg", range(12)))
    chunks = [place for place in range(data.index(b"movi"), data.index(b"idx1")) if data[place : place + 4] == b"00dc"]
    for chunk in chunks[3:5]:
        length = int.from_bytes(data[chunk + 4 : chunk + 8], "little")
        data[chunk + 8 : chunk + 8 + length] = bytes(length)
    _, frames, film = read(tmp_path / "film.avi", bytes(data))
    assert (len(frames), film.lost, film.breaks_off) == (10, 2, False)
    assert run_demo([tmp_path / "film.avi"], tmp_path / "out", BrightnessModel()) == 0
    assert "2 frames could not be decoded and are left out" in capsys.readouterr().err


def test_sound_without_pictures_is_one_sentence(tmp_path):
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        track = container.add_stream("mp2", rate=44100)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1152), np.int16), "s16", "mono")
        silence.sample_rate, silence.pts = 44100, 0
        container.mux(track.encode(silence))
        container.mux(track.encode(None))
    with pytest.raises(UserError, match="film.mkv' has no pictures"):
        read(tmp_path / "film.mkv", file.getvalue())


def test_a_list_of_other_files_is_no_video(tmp_path):
    (tmp_path / "secret.mp4").write_bytes(make_film("mp4", "mpeg4", range(3)))
    for text in (f"ffconcat version 1.0\nfile '{tmp_path}/secret.mp4'\n", "#EXTM3U\n#EXTINF:3,\nsecret.mp4\n"):
        with pytest.raises(UserError, match="not a video"):
            read(tmp_path / "list.mp4", text.encode())
    picture = io.BytesIO()
    Image.new("RGB", (20, 10)).save(picture, "JPEG")
    with pytest.raises(UserError, match="not a video"):
        read(tmp_path / "picture.mp4", picture.getvalue())


def test_frames_of_too_many_pixels_are_refused(tmp_path, monkeypatch):
    assert video.MOST_PIXELS == images.MOST_PIXELS
    monkeypatch.setattr(video, "MOST_PIXELS", 48 * 64 - 1)
    with pytest.raises(UserError, match="more than 3,071 pixels"):
        read(tmp_path / "film.mp4", make_film("mp4", "mpeg4", range(3)))


def test_frames_that_grow_within_a_film_have_the_same_limit(tmp_path, monkeypatch):
    large = np.full((96, 128, 3), 90, np.uint8)
    data = b"".join(make_film("mpegts", "mpeg2video", range(6), frame) for frame in (None, large))
    sizes = {frame.shape[:2] for frame in read(tmp_path / "film.ts", data)[1]}
    assert sizes == {(48, 64), (96, 128)}
    monkeypatch.setattr(video, "MOST_PIXELS", 48 * 64)
    _, frames, film = read(tmp_path / "film.ts", data)
    assert {frame.shape[:2] for frame in frames} == {(48, 64)} and film.lost


@pytest.mark.parametrize("name", ["a:b.mp4", "http:film.mp4", "film.mp4\udce9.mp4", "-i.mp4", "%03d.mp4", "film|x.mp4"])
def test_names_that_mean_something_else_elsewhere(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    try:
        (tmp_path / name).write_bytes(make_film("mp4", "mpeg4", range(3)))
    except (OSError, UnicodeEncodeError):
        pytest.skip("this file system has no such names")
    with VideoReader(name) as film:
        assert len(list(film)) == 3
