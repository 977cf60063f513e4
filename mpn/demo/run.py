"""`demo.py` on files: finds the people in images and videos, draws them and writes JSON."""

import errno
import functools
import sys
from pathlib import Path

import av
import cv2

from mpn.cli.script import in_words
from mpn.demo.inputs import EXAMPLE, find_inputs, read_input, result_names
from mpn.demo.results import annotate_image, annotate_video
from mpn.demo.settings import PredictionSettings
from mpn.demo.window import open_window
from mpn.errors import UserError
from mpn.files import make_writable
from mpn.videos import is_video

# Faults of one file or of its results' names; the next file may be fine.
ABOUT_ONE_FILE = (UserError, OSError, cv2.error, av.FFmpegError, ValueError, MemoryError)
_FULL_DISK = (errno.ENOSPC, errno.EDQUOT)


def run_demo(
    inputs,
    output,
    model,
    settings=PredictionSettings(),  # noqa: B008  frozen
    show=False,
    heatmaps=False,
    rle=False,
    refine_videos=True,
):
    """Finds, draws and writes the people of images and videos, with one line per file on stderr.

    `mpn.demo.results` describes the files. An input that cannot be read, or whose results cannot be written, is named
    and skipped. No input is overwritten.

    `inputs` are as in `find_inputs`; none means a photograph from scikit-image. `model` is a model directory, or
    anything with a `predict` (for `heatmaps` also `heatmaps`) like MultiPoseNet's. `refine_videos` includes videos in
    refinement. The other arguments are options of demo.py.

    Returns the exit status: 0, or 1 if files were skipped. Raises UserError where `find_inputs` does, for videos beside
    `heatmaps`, or if the output is not a folder or the model cannot be loaded; OSError if the output folder cannot be
    written to or the disk is full.
    """
    paths = find_inputs(inputs) if inputs else [EXAMPLE]
    for path in paths if heatmaps else ():
        if is_video(path):
            raise UserError(f"--heatmaps is for images, and '{path}' is a video: leave out one of them")
    output = Path(output)
    names = result_names(paths, output)
    model, refined = settings.load(model)
    try:
        make_writable(output)
    except (FileExistsError, NotADirectoryError) as error:
        raise UserError(f"output '{output}' is not a folder: name a folder for the results") from error
    window = _open_window() if show else None
    find_people, find_in_frame = (
        functools.partial(settings.find_people, chosen) for chosen in (refined, refined if refine_videos else model)
    )
    bad = 0
    for number, (path, name) in enumerate(zip(paths, names, strict=True), start=1):
        title, base, drawing = f"[{number}/{len(paths)}]", output / name, None
        try:
            if is_video(path):
                report = annotate_video(path, base, find_in_frame, rle, window, _printable(f"{title} {path.name}"))
            else:
                find_heatmaps = model.heatmaps if heatmaps else None
                image = read_input(path)
                drawing, report = annotate_image(image, _printable(path.name), base, find_people, find_heatmaps, rle)
        except ABOUT_ONE_FILE as error:
            if isinstance(error, OSError) and error.errno in _FULL_DISK:
                raise
            _say(f"{title} skipped: {reason(path, error)}")
            bad += 1
        else:
            _say(f"{title} {path}: {report}")
            if window and drawing is not None:
                window.show(drawing, wait=True)
    if bad:
        _say(f"{bad} of {len(paths)} files could not be used")
    return 1 if bad else 0


def _printable(text):
    """Replaces bytes of file names that are not text by \\udcNN."""
    return str(text).encode(errors="backslashreplace").decode()


def _say(line):
    print(_printable(line), file=sys.stderr)


def reason(path, error):
    """Why a file cannot be used, for one of ABOUT_ONE_FILE: a sentence that names it."""
    if isinstance(error, UserError):
        return str(error)
    words = "it needs more memory than there is" if isinstance(error, MemoryError) else in_words(error)
    return f"'{path}': {' '.join(words.split())}"


def _open_window():
    """A Window, or None after a sentence on stderr."""
    window = open_window("people: any key for the next image, q to stop showing")
    if window is None:
        _say("there is no display, so nothing is shown; the drawings are still written")
    return window
