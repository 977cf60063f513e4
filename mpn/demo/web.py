"""`demo.py --web`: serves a page on which to drop photographs."""

import dataclasses
import functools
import html
import json
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path

from mpn.demo.inputs import PEOPLE, PICTURE
from mpn.demo.page import EXAMPLES, LAUNCH, build_page
from mpn.demo.results import counted, result_path, write_people
from mpn.demo.run import ABOUT_ONE_FILE, reason
from mpn.demo.settings import PredictionSettings, WebSettings
from mpn.errors import UserError
from mpn.files import read_bytes
from mpn.images import decode_image
from mpn.inference.export_folder import import_extra
from mpn.inference.refiner import Refined
from mpn.videos import is_video

# Photographs, with their options, whose people are remembered: another layer needs no network.
_REMEMBERED = 32


def run_web(model, settings=PredictionSettings(), web=WebSettings()):  # noqa: B008  frozen
    """Serves the page until Ctrl-C, and then returns the exit status 0.

    Photographs and results lie in a temporary folder of this process: each is deleted after about an hour, and all at
    the end.
    `model` is a model directory, or anything with a `predict` like MultiPoseNet's; with `settings.refine`, visitors may
    turn refinement off. Raises UserError if Gradio is not installed, the address cannot be used, or the model cannot be
    loaded.
    """
    _check_address(web)
    with tempfile.TemporaryDirectory(prefix="mpn-web-") as folder:
        os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": folder}  # read by the import
        gradio = import_extra("gradio")
        model, refined = settings.load(model)
        viewer = Viewer(model, refined if settings.refine else None, settings, folder)
        viewer.find(str(EXAMPLES[0]), settings.threshold, bool(settings.refine))  # compiles the graphs
        page = build_page(gradio, viewer.show, settings.threshold, settings.refine)
        page.launch(server_name=web.host, server_port=web.port, **LAUNCH)
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the folder is removed
        print(f"open {page.local_url} in a browser; Ctrl-C ends", file=sys.stderr, flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print("\nending", file=sys.stderr)
        page.close(verbose=False)
    return 0


def _check_address(web):
    family = socket.AF_INET6 if ":" in web.host else socket.AF_INET
    try:
        socket.create_server((web.host, web.port), family=family).close()
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or error
        text = f"no page can be served at {web.host}, port {web.port} ({why}): choose another --port or --host"
        raise UserError(text) from error


class Viewer:
    """Finds the people in photographs for the page, and writes the files that it shows.

    `refined` is None or a Refined; `folder` gets the files.
    """

    def __init__(self, model, refined, settings, folder):
        self._model, self._refined, self._settings, self._folder = model, refined, settings, folder
        self._read = functools.lru_cache(1)(_read)
        self.find = functools.lru_cache(_REMEMBERED)(self._find)

    def show(self, photo, layers, threshold, refine):
        """What the page shows of a photograph.

        `photo` is None or a dict with the "path" of the file, `layers` as in `draw_people`. Returns the path of the
        drawing, a sentence in HTML, the path of the JSON file, and its content; paths and content are None if there
        is no photograph or it cannot be used, and the sentence says why.
        """
        if photo is None:
            return None, "", None, None
        path = Path(photo["path"])
        try:
            people, seconds = self.find(str(path), float(threshold), bool(refine))
            base = Path(tempfile.mkdtemp(dir=self._folder)) / path.stem
            write_people(self._read(str(path)), path.name, base, people, layers=layers)
        except ABOUT_ONE_FILE as error:
            return None, f'<p class="problem">{html.escape(reason(path.name, error))}</p>', None, None
        picture, file = (str(result_path(base, suffix)) for suffix in (PICTURE, PEOPLE))
        return picture, _found(people, seconds), file, json.loads(Path(file).read_text(encoding="utf-8"))

    def _find(self, path, threshold, refine):
        """The people in a file, and the seconds to find them."""
        image = self._read(path)
        start = time.perf_counter()
        model = self._model
        if refine and self._refined:
            model = Refined(model, self._refined.refiner, threshold)
        people = dataclasses.replace(self._settings, threshold=threshold).find_people(model, image)
        return people, time.perf_counter() - start


def _read(path):
    """The photograph in a file; UserErrors name it without its folder."""
    name = Path(path).name
    if is_video(path):
        raise UserError(f"'{name}' is a video, and this page takes photographs: run demo.py on the file")
    return decode_image(read_bytes(path, "image"), name)


def _found(people, seconds):
    if not people:
        return '<p class="found">Nobody found. Lower the least score to see doubtful people too.</p>'
    return f'<p class="found"><b>{counted(people)}</b> in {seconds:.2f} seconds</p>'
