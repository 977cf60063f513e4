"""Video files: frames in and out, one at a time, so that memory does not grow with the film's length."""

import errno
import math
import os
from pathlib import Path

import cv2

import mpn.images  # noqa: F401  keeps OpenCV's log quiet
from mpn.errors import UserError

# Files that count as videos, in lower case.
VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v")

# Frames a second of a video that does not say, or says what no camera does.
_USUAL_RATE = 25.0
_LEAST_RATE, _HIGHEST_RATE = 0.1, 1000.0
_MOST_TICKS = 65535

# What FFmpeg would print about a bad file, the UserError says in one sentence; read when the first file is opened.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")


def is_video(path):
    """Whether a file is taken for a video, by its suffix."""
    return Path(path).suffix.lower() in VIDEO_SUFFIXES


class VideoReader:
    """The frames of a video file, in order and once; a context manager.

    Args:
        path: a file of any kind that OpenCV's FFmpeg decodes.

    Attributes:
        size: (H, W) of the first frame in pixels.
        rate: float, frames a second.
        announced: int, how many frames the file says it has, or None where it does not.

    Raises:
        UserError: the file is missing, empty, not a video, or not one of its frames can be decoded.
    """

    def __init__(self, path):
        if not Path(path).exists():
            raise UserError(f"video '{path}' does not exist: check the path")
        # An absolute path, since FFmpeg would take a relative one with a colon for a protocol.
        self._capture = cv2.VideoCapture(os.path.abspath(path))
        rate, count = (self._capture.get(name) for name in (cv2.CAP_PROP_FPS, cv2.CAP_PROP_FRAME_COUNT))
        self.rate = rate if _LEAST_RATE <= rate <= _HIGHEST_RATE else _USUAL_RATE
        self.announced = int(count) if count >= 1 else None
        self._first = self._read()
        if self._first is None:
            self._capture.release()
            raise UserError(f"video '{path}' is empty, damaged or not a video: copy it again, or convert it to .mp4")
        self.size = self._first.shape[:2]

    def __iter__(self):
        """Yields (H, W, 3) uint8 RGB, turned upright, until the file ends or cannot be decoded any further."""
        frame, self._first = self._first, None
        while frame is not None:
            yield frame
            frame = self._read()

    def _read(self):
        found, frame = self._capture.read()
        return cv2.cvtColor(frame, cv2.COLOR_BGR2RGB) if found else None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._capture.release()


class VideoWriter:
    """A new MP4 file (MPEG-4 Part 2, "mp4v", no sound); a context manager.

    An odd width or height loses its last column or row, since the format has none.

    Args:
        path: the file to make; must end with `.mp4`.
        size: (H, W) of the frames in pixels.
        rate: frames a second, up to 1000; rounded to what the format can say.

    Raises:
        UserError: no video of that size can be written.
        OSError: the file cannot be made, or, on leaving the context, not all frames have arrived in it: OpenCV itself
            does not notice a full disk.
    """

    def __init__(self, path, size, rate):
        # Absolute, as in VideoReader. OpenCV says only that it failed: here the folder's own error comes first.
        self._path, self._size, self._written = os.path.abspath(path), tuple(size), 0
        open(self._path, "wb").close()
        height, width = size
        # MPEG-4 counts at most 65,535 ticks a second, and OpenCV takes a tenth, hundredth or thousandth frame for one.
        rate = round(rate, math.floor(math.log10(_MOST_TICKS / rate)))
        self._writer = cv2.VideoWriter(self._path, cv2.VideoWriter_fourcc(*"mp4v"), rate, (width, height))
        if not self._writer.isOpened():
            os.unlink(self._path)
            raise UserError(f"a video of {width} x {height} pixels cannot be written as .mp4: scale it to 2 to 8192")

    def write(self, frame):
        """Appends an (H, W, 3) uint8 RGB frame; one of another size is scaled, as players do."""
        if frame.shape[:2] != self._size:
            frame = cv2.resize(frame, self._size[::-1], interpolation=cv2.INTER_AREA)
        self._writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        self._written += 1

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self._writer.release()
        if kind is None and self._arrived() != self._written:
            raise OSError(errno.EIO, "the video could not be written to its end", self._path)

    def _arrived(self):
        """How many frames the finished file announces."""
        capture = cv2.VideoCapture(self._path)
        count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        capture.release()
        return count
