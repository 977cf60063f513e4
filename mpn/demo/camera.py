"""`demo.py --camera`: people live, in a window."""

import collections
import sys
import time

import cv2

from mpn.cli.arguments import LEAST_POSE_SCORE
from mpn.demo.drawing import draw_people
from mpn.demo.run import load_model, load_refined
from mpn.demo.steady_colours import SteadyColours
from mpn.demo.window import open_window
from mpn.errors import UserError

_TITLE = "people: q to end"
_RATE_OVER = 20  # images whose time is averaged for the rate in the title


def run_camera(number, model, threshold=LEAST_POSE_SCORE, refine=None, open_capture=cv2.VideoCapture, **options):
    """Shows what a camera sees with the people drawn in, until q or Esc is pressed or the window is closed.

    The window's title says how many images a second are shown; nothing is written but a summary on stderr.

    Args:
        number: int, the camera; the first is 0.
        model: model directory, or anything with a `predict` as MultiPoseNet has it.
        threshold: least pose score of a person that is drawn.
        refine: directory of a refinement network that looks at each person again, or None.
        open_capture: function of the number, giving what cv2.VideoCapture gives: `isOpened`, `read`, `release`.
        options: image_size, precision, scales, mirror and crops, as for `mpn.demo.run.run_demo`.

    Returns:
        int, the exit status 0.

    Raises:
        UserError: there is no display, the camera cannot be opened or stops giving images, or the model
            cannot be loaded.
    """
    window = open_window(_TITLE)
    if window is None:
        raise UserError(f"--camera {number} needs a display to show a window on: name a video file to write files")
    capture = open_capture(number)
    try:
        if not capture.isOpened():
            raise UserError(f"camera {number} cannot be opened: check that it is connected, free and permitted")
        model = load_model(model, **options)
        model = load_refined(model, refine, threshold, options.get("precision", "auto"), options.get("mirror", False))
        shown, seconds, lost = _show_live(capture, window, model, threshold)
    finally:
        capture.release()
        window.close()
    if shown:
        print(f"camera {number}: {shown} images, {shown / max(seconds, 1e-9):.1f} images/s", file=sys.stderr)
    if lost:
        after = f"no more images after {shown}: check its cable" if shown else "no images: check"
        raise UserError(f"camera {number} gives {after} and that no other program uses it")
    return 0


def _show_live(capture, window, model, threshold):
    """Shows images until the window is closed or the camera gives none.

    Returns:
        shown: int, the number of images.
        seconds: float, how long it took.
        lost: bool, whether the camera gave none.
    """
    colours = SteadyColours()
    start = time.perf_counter()
    times = collections.deque([start], maxlen=_RATE_OVER + 1)
    shown, found = 0, True
    while window.is_open:
        found, frame = capture.read()
        if not found:
            break
        image = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
        people = [person for person in model.predict(image) if person.score >= threshold]
        times.append(time.perf_counter())
        rate = (len(times) - 1) / max(times[-1] - times[0], 1e-9)
        drawing = draw_people(image, people, colours=colours.of(people))
        window.show(drawing, title=f"{_TITLE}, {rate:.1f} images/s")
        shown += 1
    return shown, time.perf_counter() - start, not found
