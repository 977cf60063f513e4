"""The page of `demo.py --web`: what it writes, and what visitors see in headless Chromium."""

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from brightness import BrightnessModel, person

import demo
from mpn.demo import web
from mpn.demo.drawing import LAYERS, draw_people
from mpn.demo.page import MOST_MEGABYTES
from mpn.demo.run import run_demo
from mpn.demo.settings import PredictionSettings, WebSettings
from mpn.errors import UserError
from mpn.images import read_image, write_image
from mpn.inference.refiner import Refined
from mpn.people import SilhouetteMap

ROOT = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MOST_MILLISECONDS = 120_000  # that a visitor waits


def photograph(path, value=200, height=60, width=80):
    write_image(path, np.full((height, width, 3), value, np.uint8))
    return path


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def viewer(folder, model=None, refined=None):
    return web.Viewer(model or BrightnessModel(), refined, PredictionSettings(), folder)


def asked(path, *more):
    return {"path": str(path)}, *(more or (list(LAYERS), 0.2, False))


def test_the_page_gives_the_files_of_the_demo(tmp_path):
    path = photograph(tmp_path / "a b.png")
    assert run_demo([path], tmp_path / "out", BrightnessModel()) == 0
    picture, sentence, file, content = viewer(tmp_path).show(*asked(path))
    assert Path(picture).read_bytes() == (tmp_path / "out" / "a b_poses.jpg").read_bytes()
    assert Path(file).read_bytes() == (tmp_path / "out" / "a b_poses.json").read_bytes()
    assert content == json.loads(Path(file).read_text()) and "<b>1 person</b>" in sentence
    assert viewer(tmp_path).show(None, list(LAYERS), 0.2, False) == (None, "", None, None)


def test_layers_are_switched_without_the_network(tmp_path):
    path, model = photograph(tmp_path / "a.png"), BrightnessModel()
    seen = viewer(tmp_path, model)
    whole, bare = (seen.show(*asked(path, layers, 0.2, False)) for layers in (list(LAYERS), []))
    assert np.abs(read_image(bare[0]).astype(int) - 200).max() <= 2
    assert np.ptp(read_image(whole[0])) > 50 and whole[0] != bare[0] and bare[3] == whole[3]
    assert model.calls == 1
    seen.show(*asked(path, [], 0.95, False))
    assert model.calls == 2


def test_each_layer_draws_its_own():
    image = np.full((60, 80, 3), 90, np.uint8)
    silhouettes = SilhouetteMap(np.ones((15, 20), np.float32), (60, 80))
    found = dataclasses.replace(person((10, 10, 70, 55)), silhouettes=silhouettes)
    found.keypoints[:] = (40, 30, 0.9)
    drawn = {layer: draw_people(image, [found], layers=[layer]) for layer in LAYERS}
    assert (drawn["silhouettes"][15:50, 15:65] != 90).any() and (drawn["silhouettes"][:8] == 90).all()
    assert (drawn["boxes"][30:50, 20:60] == 90).all() and (drawn["boxes"][30:50, 8:12] != 90).any()
    assert (drawn["poses"][:20] == image[:20]).all() and (drawn["poses"][25:35] != image[25:35]).any()


def test_the_score_and_refinement_are_those_of_the_visitor(tmp_path):
    class Two:
        def predict(self, image, with_silhouettes=False):
            people = [person((0, 0, 9, 9), 0.9), person((0, 0, 5, 5), 0.3)]
            return (people, None) if with_silhouettes else people

    class Lowers:
        def refine(self, image, people):
            return [person(found.box, found.score - 0.05) for found in people]

    seen = viewer(tmp_path, Two(), Refined(Two(), Lowers(), 0.99))
    path = photograph(tmp_path / "a.png")

    def scores(*options):
        return [found["score"] for found in seen.show(*asked(path, [], *options))[3]["people"]]

    assert scores(0.2, False) == [0.9, 0.3] and scores(0.5, False) == [0.9] and scores(0.95, False) == []
    assert scores(0.2, True) == pytest.approx([0.85, 0.25]) and scores(0.28, True) == pytest.approx([0.85])
    assert "Nobody found" in seen.show(*asked(path, [], 0.95, False))[1]


def test_bad_files_become_a_sentence_that_shows_no_folder(tmp_path):
    whole = photograph(tmp_path / "whole.jpg").read_bytes()
    for name, data, words in (
        ("cut.jpg", whole[: len(whole) // 2], "is damaged"),
        ("<b>&.jpg", b"no image", "&lt;b&gt;&amp;.jpg&#x27; is damaged or not an image"),
        ("film.mp4", b"\0\0\0\x18ftypmp42", "is a video, and this page takes photographs"),
        ("a.heic", b"\0\0\0\x18ftypheic" + bytes(4) + b"mif1heic", "is a HEIC file"),
        ("empty.png", b"", "is empty"),
    ):
        (tmp_path / name).write_bytes(data)
        picture, sentence, file, content = viewer(tmp_path).show(*asked(tmp_path / name))
        assert picture is file is content is None
        assert sentence.startswith('<p class="problem">') and words in sentence, sentence
        assert str(tmp_path) not in sentence and "<b>" not in sentence


def test_an_address_that_cannot_be_used_is_a_sentence():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"127.0.0.1, port {port} .*in use.*--port"):
            web.run_web(None, web=WebSettings(port=port))
    for settings in (WebSettings(host="256.1.1.1"), WebSettings(port=70000)):
        with pytest.raises(UserError, match="no page can be served"):
            web.run_web(None, web=settings)


def test_without_gradio_the_command_that_installs_it_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(UserError, match="gradio is not installed: run pip install"):
        web.run_web(None, web=WebSettings(port=free_port()))


def test_command_line_reaches_run_web(monkeypatch, capsys):
    calls = []
    monkeypatch.setattr("mpn.demo.web.run_web", lambda *arguments: calls.append(arguments))
    demo.main(["--web"])
    demo.main(["--web", "--model", "m", "--host", "0.0.0.0", "--port", "8000", "--threshold", "0.5"])
    demo.main(["--web", "--no-refine"])
    assert calls == [
        ("small", PredictionSettings(refine="small-refiner"), WebSettings(host="127.0.0.1", port=7860)),
        ("m", PredictionSettings(threshold=0.5), WebSettings(host="0.0.0.0", port=8000)),
        ("small", PredictionSettings(), WebSettings()),
    ]
    for extra in (["a.jpg"], ["--show"], ["--heatmaps"], ["--rle"], ["--camera", "0"], ["--port", "0"]):
        with pytest.raises(SystemExit) as caught:
            demo.main(["--web", *extra])
        assert caught.value.code == 2 and "--" in capsys.readouterr().err
    assert len(calls) == 3


# A model that is slow, and refuses to work for two visitors at once.
SERVER = """
import sys, threading, time
from brightness import BrightnessModel
from mpn.demo.settings import PredictionSettings, WebSettings
from mpn.demo.web import run_web
from mpn.errors import UserError

class Busy(BrightnessModel):
    lock = threading.Lock()

    def predict(self, image):
        if not self.lock.acquire(blocking=False):
            raise UserError("two at once")
        time.sleep(1)
        self.lock.release()
        return super().predict(image)

sys.exit(run_web(Busy(), PredictionSettings(), WebSettings(port=int(sys.argv[1]))))
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Process of the page, and its address."""
    pytest.importorskip("gradio", reason="the extra web is not installed")
    folder = tmp_path_factory.mktemp("server")
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "TMPDIR": str(folder)}
    command = [sys.executable, "-c", SERVER, str(free_port())]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, cwd=folder)
    said = []
    for line in process.stderr:
        said.append(line)
        if line.startswith("open http"):
            break
    assert said and said[-1].startswith("open http"), "".join(said)
    yield process, said[-1].split()[1], folder
    process.kill()


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("there is no Chromium: apt-get install chromium")
    with playwright.sync_playwright() as engine:
        camera = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
        browser = engine.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *camera])
        yield browser
        browser.close()


@contextlib.contextmanager
def visitor(browser, server):
    """The page as a new visitor sees it, which must ask no other server for anything."""
    elsewhere = []
    page = browser.new_context(accept_downloads=True).new_page()
    page.set_default_timeout(MOST_MILLISECONDS)
    page.on("request", lambda request: elsewhere.append(request.url))
    page.goto(server[1])
    page.wait_for_selector("#photo input[type=file]", state="attached")
    yield page
    page.context.close()
    assert [url for url in elsewhere if not url.startswith((server[1], "data:", "blob:"))] == []


def choose(page, path):
    page.set_input_files("#photo input[type=file]", str(path))


def test_a_photograph_gives_a_picture_and_json(browser, server, tmp_path):
    with visitor(browser, server) as page:
        choose(page, photograph(tmp_path / "my photo.png"))
        page.wait_for_selector("#drawing img")
        page.wait_for_selector("#said >> text=1 person")
        size = page.eval_on_selector("#drawing img", "image => image.decode().then(() => image.naturalWidth)")
        assert size == 80
        with page.expect_download() as download:
            page.click("#file")
        content = json.loads(Path(download.value.path()).read_text())
        assert download.value.suggested_filename == "my photo_poses.json"
        assert (content["image"], content["width"], content["height"]) == ("my photo.png", 80, 60)
        assert abs(content["people"][0]["box"][2] - 200 / 255 * 80) < 1
        page.locator("#least input[type=number]").fill("1")  # nobody has so high a score
        page.locator("#least input[type=number]").press("Enter")
        page.locator("#least input[type=number]").blur()
        page.wait_for_selector("#said >> text=Nobody found")


def test_layers_and_examples_react(browser, server):
    with visitor(browser, server) as page:
        page.locator(".gallery-item").first.click()
        page.wait_for_selector("#said >> text=1 person")
        first = page.get_attribute("#drawing img", "src")
        page.click("#layers >> text=Boxes")
        changed = "first => (document.querySelector('#drawing img')?.getAttribute('src') ?? first) !== first"
        page.wait_for_function(changed, arg=first)


def test_the_webcam_takes_a_photograph(browser, server):
    with visitor(browser, server) as page:
        for name in ("Capture from camera", "Click to Access Webcam"):
            page.get_by_role("button", name=name).click()
        page.wait_for_function("document.querySelector('video')?.readyState >= 3")  # the webcam shows a picture
        page.get_by_role("button", name="capture photo").click()
        page.wait_for_selector("#said >> text=1 person")
        page.wait_for_selector("#drawing img")


def test_bad_files_get_a_sentence(browser, server, tmp_path):
    damaged, film, large = tmp_path / "cut.jpg", tmp_path / "film.mp4", tmp_path / "large.jpg"
    damaged.write_bytes(photograph(tmp_path / "whole.jpg").read_bytes()[:300])
    film.write_bytes(b"\0\0\0\x18ftypmp42")
    with open(large, "wb") as file:
        file.truncate(MOST_MEGABYTES * 2**20 + 1)
    with visitor(browser, server) as page:
        choose(page, film)
        page.wait_for_selector("#refused >> text='film.mp4' is a video")
        choose(page, large)
        page.wait_for_selector(f"#refused >> text='large.jpg' has more than {MOST_MEGABYTES} MB")
        choose(page, damaged)
        page.wait_for_selector("#said >> text='cut.jpg' is damaged")
        assert page.is_hidden("#refused p") and not page.is_visible("#drawing img")
        assert page.is_disabled("#file")


def test_two_visitors_wait_for_each_other_and_get_their_own(browser, server, tmp_path):
    with visitor(browser, server) as one, visitor(browser, server) as other:
        choose(one, photograph(tmp_path / "dark.png", value=60))
        choose(other, photograph(tmp_path / "light.png", value=220))
        for page, name, value in ((one, "dark.png", 60), (other, "light.png", 220)):
            page.wait_for_selector("#said >> text=1 person")
            with page.expect_download() as download:
                page.click("#file")
            content = json.loads(Path(download.value.path()).read_text())
            assert content["image"] == name
            assert abs(content["people"][0]["box"][2] - value / 255 * 80) < 1


def test_nothing_is_left_at_the_end(server):
    """The last test: it ends the server."""
    process, _, folder = server
    assert [path.name for path in folder.iterdir() if not path.name.startswith("mpn-web-")] == []
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0, process.stderr.read()
    assert os.listdir(folder) == []
