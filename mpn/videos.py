"""Video files <-> (H, W, 3) uint8 RGB frames, one at a time, with PyAV.

PyAV includes FFmpeg. With OpenCV, times, orientation and errors would depend on its version.
"""

import contextlib
import errno
import os
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.sidedata.sidedata import Type
from av.stream import Disposition

from mpn.errors import UserError
from mpn.images import MOST_PIXELS, turned

# Suffixes of videos, in lower case.
VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2", ".avi", ".divx", ".mkv", ".webm", ".flv", ".f4v", ".wmv", ".asf"),
    *(".ogv", ".mpg", ".mpeg", ".m2v", ".vob", ".ts", ".mts", ".m2ts", ".mxf"),
)

# FFmpeg's other formats include playlists, which name other files.
_FORMATS = "mov,matroska,avi,flv,asf,ogg,mpeg,mpegts,mpegvideo,mxf,m4v,h264,hevc"

# Frames per second of a video that gives no rate, or an impossible one.
_USUAL_RATE = Fraction(25)
_LEAST_RATE, _HIGHEST_RATE = 0.1, 1000

# FFmpeg prints nothing, since a UserError names bad files.
av.logging.set_libav_level(av.logging.PANIC)

_ROUNDING = 0.1  # seconds
_WAY_OUT = "copy it again, or convert it to .mp4"

_TICKS = 60000  # per second in written videos; MPEG-4 allows 65,535, and the usual rates divide this
_LONGEST_PAUSE = 600  # most seconds for one frame of a written video; the format has no room for more
_QUALITY = 3 * 118  # quantiser 3, from 2 (best) to 31, in FFmpeg's unit


def is_video(path):
    """Whether a file's suffix is that of a video."""
    return Path(path).suffix.lower() in VIDEO_SUFFIXES


class VideoReader:
    """The frames of a video file, in order and once; a context manager.

    `size` is the (H, W) of the first frame in pixels, `rate` a Fraction, frames per second on average, and `announced`
    the file's own estimate of its number of frames, or None. `decoded` frames were decoded and `lost` packets could not
    be decoded so far. `breaks_off`, whether reading failed before the file's end, is known after the last frame.

    Raises UserError if the file is missing, no video, damaged or too large (MOST_PIXELS), OSError if it cannot be read.
    """

    def __init__(self, path):
        if not os.path.exists(path):
            raise UserError(f"video '{path}' does not exist: check the path")
        open(path, "rb").close()  # the system's own error if it cannot be read
        self.breaks_off, self.lost, self.decoded = False, 0, 0
        with contextlib.ExitStack() as stack:
            try:
                # Without "file:", FFmpeg would take some names for protocols.
                name, options = f"file:{os.path.abspath(path)}", {"format_whitelist": _FORMATS}
                self._container = stack.enter_context(av.open(name, options=options, metadata_errors="replace"))
            except av.FFmpegError as error:
                raise UserError(f"video '{path}' is empty, damaged or not a video: {_WAY_OUT}") from error
            self._stream = stream = _video_stream(self._container)
            if stream is None:
                raise UserError(f"video '{path}' has no pictures that can be decoded: {_WAY_OUT}")
            if stream.width * stream.height > MOST_PIXELS:
                raise UserError(f"video '{path}' has frames of more than {MOST_PIXELS:,} pixels: scale it down")
            stream.thread_type = "AUTO"
            stream.codec_context.options = {"max_pixels": str(MOST_PIXELS)}
            rate = stream.average_rate or stream.guessed_rate or 0
            self.rate = rate if _LEAST_RATE <= rate <= _HIGHEST_RATE else _USUAL_RATE
            seconds = (self._container.duration or 0) / av.time_base
            self.announced = stream.frames or round(seconds * float(self.rate)) or None
            self._frames = self._decode()
            self._first = next(self._frames, None)
            if self._first is None:
                raise UserError(f"video '{path}' has no pictures that can be decoded: {_WAY_OUT}")
            self.size = self._first[0].shape[:2]
            self._files = stack.pop_all()

    def __iter__(self):
        """Yields upright frames, (H, W, 3) uint8 RGB, with increasing times in seconds from the start."""
        first, self._first = self._first, None
        if first:
            yield first
            yield from self._frames

    @property
    def problem(self):
        """What is missing from the video, in words; None if nothing is. Known after the last frame."""
        if self.breaks_off:
            return f"reading failed after {self.decoded} frames, and what was read is kept"
        return f"{self.lost} frames could not be decoded and are left out" if self.lost else None

    def _decode(self):
        """Yields (frame, time), and finds out whether the file breaks off."""
        start = max(0, self._container.start_time or 0) / av.time_base
        time, end, pause, cut = None, 0, 0, {}
        for packet in self._packets():
            if packet.size:
                cut[packet.stream.index] = packet.is_corrupt
            if packet.pts is not None:
                end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            if packet.stream.index != self._stream.index:
                continue
            for frame in self._frames_of(packet):
                before, time = time, None if frame.time is None else max(0, frame.time - start)
                if before is not None and (time is None or time <= before):
                    time = before + float(1 / self.rate)
                time = time or 0.0
                pause = max(pause, time - (before or 0))
                self.decoded += 1
                yield _upright(frame), time
        short = end + pause + _ROUNDING < self._promised()
        self.breaks_off = self.breaks_off or any(cut.values()) or short

    def _promised(self):
        """Seconds that the file must have; 0 if unknown."""
        # Only the length shows that a file was cut between two packets. FFmpeg gives the length that a Matroska file
        # states for the whole file, and that of an AVI file as a number of frames. In other formats it measures what is
        # there, or ignores edits.
        if self._stream.duration is None:
            return (self._container.duration or 0) / av.time_base
        return float(self._stream.frames / self.rate) if self._container.format.name == "avi" else 0

    def _packets(self):
        """Yields the packets of all streams, including those that flush the decoders."""
        try:
            yield from self._container.demux()
        except av.FFmpegError:
            self.breaks_off = True
            last = av.Packet()
            last.stream = self._stream
            yield last

    def _frames_of(self, packet):
        with contextlib.suppress(av.FFmpegError):
            if not packet.is_corrupt:
                return packet.decode()
        self.lost += 1
        return []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._files.close()


class VideoWriter:
    """A new MP4 file (MPEG-4 Part 2, "mp4v", no sound); a context manager.

    `size` is (H, W) in pixels; the format has no odd sizes, so an odd width or height loses its last column or row.
    `rate` is the average frames per second that the file states. Raises UserError if no video of that size can be
    written, and OSError, perhaps only on leaving the context, if the file cannot be written.
    """

    def __init__(self, path, size, rate=_USUAL_RATE):
        self._path, self._size, self._ticks = str(path), tuple(size), None
        height, width = size
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(open(path, "wb"))
            self._container = stack.enter_context(av.open(file, "w", format="mp4"))
            self._stream = self._container.add_stream("mpeg4", rate=Fraction(rate).limit_denominator(1001))
            self._stream.width, self._stream.height = width - width % 2, height - height % 2
            self._stream.pix_fmt = "yuv420p"
            encoder = self._stream.codec_context
            encoder.time_base = Fraction(1, _TICKS)
            encoder.options = {"flags": "+qscale", "global_quality": str(_QUALITY)}
            try:
                encoder.open()
            except (av.FFmpegError, ValueError) as error:
                os.unlink(path)
                text = f"a video of {width} x {height} pixels cannot be written as .mp4: scale it to 2 to 8191"
                raise UserError(text) from error
            self._files = stack.pop_all()

    def write(self, frame, time):
        """Appends an (H, W, 3) uint8 RGB frame, scaled if needed, shown from `time` on; seconds, increasing."""
        if frame.shape[:2] != self._size:
            frame = cv2.resize(frame, self._size[::-1], interpolation=cv2.INTER_AREA)
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame[: self._stream.height, : self._stream.width]))
        ticks = round(time * _TICKS)
        if self._ticks is not None:
            ticks = min(max(ticks, self._ticks + 1), self._ticks + _LONGEST_PAUSE * _TICKS)
        picture.pts = self._ticks = ticks
        picture.time_base = Fraction(1, _TICKS)
        with self._named_errors():
            self._container.mux(self._stream.encode(picture))

    @contextlib.contextmanager
    def _named_errors(self):
        """Adds the file's name to errors of writing."""
        try:
            yield
        except av.FFmpegError as error:
            raise OSError(errno.EIO, f"the video could not be written ({error.strerror})", self._path) from error
        except OSError as error:
            error.filename = error.filename or self._path
            raise

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        try:
            if kind is None:
                with self._named_errors():
                    self._container.mux(self._stream.encode(None))
                    self._container.close()
        finally:
            with contextlib.suppress(av.FFmpegError):  # FFmpeg's second error for a full disk
                self._files.close()


def _video_stream(container):
    """The main stream that FFmpeg can decode, or None; the cover picture of a sound file does not count."""
    streams = [s for s in container.streams.video if s.codec_context and Disposition.attached_pic not in s.disposition]
    return max(streams, key=lambda stream: (Disposition.default in stream.disposition, -stream.index), default=None)


def _upright(frame):
    """Pixels, uint8 RGB, of an av.VideoFrame; its display matrix mirrors and rotates them to the nearest 90 degrees."""
    pixels = frame.to_ndarray(format="rgb24")
    try:
        matrix = frame.side_data[Type.DISPLAYMATRIX]
    except KeyError:
        return pixels
    except ValueError:  # PyAV does not know another kind of data beside it
        return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90)))
    # A step to the right on the stored picture is (a, b) on the shown one, and a step down is (c, d).
    a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        return turned(pixels, True, b < 0, c < 0)
    return turned(pixels, False, d < 0, a < 0)
