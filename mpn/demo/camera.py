"""`demo.py --camera`: people live, in a window."""

import collections
import sys
import time

import cv2

from mpn.demo.drawing import SteadyColours, draw_people
from mpn.demo.settings import PredictionSettings
from mpn.demo.window import open_window
from mpn.errors import UserError

_TITLE = "people: q to end"
_RATE_OVER = 20  # images over which the title's rate is averaged


def run_camera(number, model, settings=PredictionSettings(), open_capture=cv2.VideoCapture):  # noqa: B008  frozen
    """Shows a camera's images with people drawn in, until the user presses q or Esc or closes the window.

    The window's title shows the rate; a summary goes to stderr. `model` is a model directory, or anything with a
    `predict` like MultiPoseNet's. Returns the exit status 0. Raises UserError if there is no display, or if the camera
    cannot be opened or stops giving images.
    """
    window = open_window(_TITLE)
    if window is None:
        raise UserError(f"--camera {number} needs a display to show a window on: name a video file to write files")
    capture = open_capture(number)
    try:
        if not capture.isOpened():
            raise UserError(f"camera {number} cannot be opened: check that it is connected, free and permitted")
        _, model = settings.load(model)
        shown, seconds, lost = _show_live(capture, window, model, settings)
    finally:
        capture.release()
        window.close()
    if shown:
        print(f"camera {number}: {shown} images, {shown / max(seconds, 1e-9):.1f} images/s", file=sys.stderr)
    if lost:
        what = f"no more images after {shown}: check its cable and" if shown else "no images: check"
        raise UserError(f"camera {number} gives {what} that no other program uses it")
    return 0


def _show_live(capture, window, model, settings):
    """Returns the number of images, the seconds, and whether the camera stopped before the window closed."""
    colours = SteadyColours()
    start = time.perf_counter()
    times = collections.deque([start], maxlen=_RATE_OVER + 1)
    shown, found = 0, True
    while window.is_open:
        found, frame = capture.read()
        if not found:
            break
        image = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
        people = settings.find_people(model, image)
        times.append(time.perf_counter())
        rate = (len(times) - 1) / max(times[-1] - times[0], 1e-9)
        drawing = draw_people(image, people, colours=colours.of(people))
        window.show(drawing, title=f"{_TITLE}, {rate:.1f} images/s")
        shown += 1
    return shown, time.perf_counter() - start, not found
