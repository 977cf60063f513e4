"""Damaged images and videos, byte by byte: whatever the bytes, reading gives a result or one sentence.

Each file is read in a process of its own that outlives it, so that a crash of the interpreter and a hang are failures
of one file, too.
"""

import concurrent.futures
import io
import math
import multiprocessing
import tempfile
import traceback
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import av
import numpy as np
from PIL import Image

from mpn.errors import UserError
from mpn.images import decode_image
from mpn.videos import VideoReader, VideoWriter

_MOST_SECONDS = 60  # for one file
_MOST_FRAMES = 40
_END_MARKERS = {"JPEG": b"\xff\xd9", "PNG": b"\0\0\0\0IEND\xae\x42\x60\x82"}
_ODD_NUMBERS = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def run(count, seed):
    """Reads `count` damaged files, of which one in three is a video.

    Returns:
        list of str, one failure each: anything but a UserError or a sound result.
    """
    images, videos = list(_images()), list(_videos())
    failures = []
    with tempfile.TemporaryDirectory() as folder:
        pool = _Process()
        for index in range(count):
            rng = np.random.default_rng((seed, index))
            sources, check = (videos, _read_video) if index % 3 == 2 else (images, _read_image)
            kind, whole = sources[rng.integers(len(sources))]
            failure = pool.call(check, _damaged(whole, kind, rng), folder)
            if failure:
                failures.append(f"{kind}, index {index}: {failure}")
        pool.close()
    return failures


class _Process:
    """One process that is replaced when it crashes or hangs."""

    def __init__(self):
        self._pool = concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))

    def call(self, function, *arguments):
        """What the function returns, or a str where it never does."""
        try:
            return self._pool.submit(function, *arguments).result(_MOST_SECONDS)
        except (BrokenProcessPool, concurrent.futures.TimeoutError) as error:
            for process in self._pool._processes.values():
                process.kill()
            self.close()
            self.__init__()
            return f"crash or hang: {error!r}"

    def close(self):
        self._pool.shutdown()


def _read_image(data, folder):
    """None, or why reading the image is a failure."""
    try:
        image = decode_image(data, "image")
    except UserError:
        return None
    except BaseException:
        return traceback.format_exc()
    sound = image.ndim == 3 and image.shape[2] == 3 and image.dtype == np.uint8 and image.size
    return None if sound else f"{image.shape} {image.dtype}"


def _read_video(data, folder):
    """None, or why reading the video and writing it again is a failure."""
    path = Path(folder) / "video"
    path.write_bytes(data)
    last = -math.inf
    try:
        with VideoReader(path) as video, VideoWriter(Path(folder) / "copy.mp4", video.size, video.rate) as copy:
            for count, (frame, time) in enumerate(video):
                assert frame.ndim == 3 and frame.shape[2] == 3 and frame.dtype == np.uint8 and frame.size
                assert last < time < math.inf, (last, time)
                last = time
                copy.write(frame, time)
                if count > _MOST_FRAMES:
                    break
    except UserError:
        return None
    except BaseException:
        return traceback.format_exc()
    return None


def _damaged(data, kind, rng):
    """The bytes with one to three changes, and some with an end marker behind them."""
    data = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        start = int(rng.integers(len(data) if rng.random() < 0.6 else min(len(data), 300)))
        length = int(min(2 ** rng.uniform(0, 11), len(data) / 2))
        piece = data[start : start + length]
        change = rng.integers(7)
        if change == 0:
            for place in rng.integers(len(data), size=rng.integers(1, 20)):
                data[place] ^= 1 << rng.integers(8)
        elif change == 1:
            data[start : start + length] = bytes(len(piece))
        elif change == 2:
            data[start : start + length] = rng.integers(0, 256, len(piece), np.uint8).tobytes()
        elif change == 3:
            size = int(rng.choice([1, 2, 4]))
            number = int(rng.choice(_ODD_NUMBERS)) % 256**size
            data[start : start + size] = number.to_bytes(size, "big" if rng.random() < 0.5 else "little")
        elif change == 4:
            del data[max(1, start) :]
        elif change == 5:
            data[start:start] = piece
        elif len(data) > length:
            del data[start : start + length]
    if rng.random() < 0.5:
        data += _END_MARKERS.get(kind, b"")
    return bytes(data)


def _picture(index=0):
    """(48, 64, 3) uint8 RGB, a slope with noise that differs from index to index."""
    y, x = np.mgrid[:48, :64]
    slope = np.stack([4 * x, 5 * y, 20 * index + x + y], axis=-1)
    return (slope + np.random.default_rng(index).integers(0, 30, slope.shape)).astype(np.uint8)


def _images():
    """Yields (kind, bytes) of whole images."""
    picture = Image.fromarray(_picture())
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a camera"
    variants = [("JPEG", "RGB", {"exif": exif}), ("JPEG", "RGB", {"progressive": True}), ("JPEG", "CMYK", {})]
    variants += [("PNG", mode, {}) for mode in ("RGB", "RGBA", "P", "LA", "I;16")] + [("PNG", "RGB", {"exif": exif})]
    variants += [("TIFF", "RGB", {"compression": kind}) for kind in ("raw", "tiff_lzw", "jpeg", "tiff_adobe_deflate")]
    variants += [("WEBP", "RGBA", {"lossless": lossless, "exif": exif}) for lossless in (True, False)]
    variants += [(kind, "RGB", {}) for kind in ("GIF", "BMP", "AVIF", "JPEG2000", "PPM", "MPO")]
    for kind, mode, options in variants:
        file = io.BytesIO()
        picture.convert("L" if mode == "I;16" else mode).convert(mode).save(file, kind, **options)
        yield kind, file.getvalue()


def _videos():
    """Yields (kind, bytes) of whole videos."""
    for kind, codec in (
        ("mp4", "mpeg4"),
        ("mov", "mjpeg"),
        ("avi", "mpeg4"),
        ("avi", "mjpeg"),
        ("matroska", "mpeg4"),
        ("mpegts", "mpeg2video"),
        ("mpeg", "mpeg1video"),
        ("flv", "flv"),
        ("asf", "wmv2"),
    ):
        file = io.BytesIO()
        with av.open(file, "w", format=kind) as container:
            stream = container.add_stream(codec, rate=25)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p" if codec == "mjpeg" else "yuv420p"
            for index in range(8):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(_picture(index))))
            container.mux(stream.encode(None))
        yield kind, file.getvalue()
