"""Live from a camera, with a camera and a screen that are not there."""

import cv2
import numpy as np
import pytest

from mpn.demo import camera, window
from mpn.demo.settings import PredictionSettings
from mpn.errors import UserError
from mpn.people import Person


class FakeCamera:
    """Gives so many BGR images, each of one colour, and then none."""

    def __init__(self, images, opened=True):
        self.left, self.opened, self.released = images, opened, False

    def isOpened(self):
        return self.opened

    def read(self):
        if not self.left:
            return False, None
        self.left -= 1
        return True, np.full((48, 64, 3), (200, 100, 10), np.uint8)

    def release(self):
        self.released = True


class FakeWindow:
    """Keeps what it is shown, and is closed by the user after so many pictures."""

    def __init__(self, closes_after=1000):
        self.drawings, self.titles, self.is_open, self.closes_after = [], [], True, closes_after

    def show(self, drawing, wait=False, title=None):
        assert not wait
        self.drawings.append(drawing)
        self.titles.append(title)
        self.is_open = len(self.drawings) < self.closes_after

    def close(self):
        self.is_open = False


class Model:
    def __init__(self):
        self.images = []

    def predict(self, image):
        self.images.append(image)
        keypoints = np.zeros((17, 3), np.float32)
        return [Person(np.array(box, np.float32), 0.9, keypoints, score) for box, score in BOXES]


BOXES = (((4, 4, 30, 40), 0.9), ((40, 4, 60, 40), 0.1))


def run(monkeypatch, fake_camera, fake_window, model=None, **options):
    numbers = []
    monkeypatch.setattr(camera, "open_window", lambda title: fake_window)

    def open_capture(number):
        numbers.append(number)
        return fake_camera

    status = camera.run_camera(3, model or Model(), open_capture=open_capture, **options)
    assert numbers == [3]
    return status


def test_every_image_is_shown_with_its_people(monkeypatch, capsys):
    source, screen, model = FakeCamera(99), FakeWindow(closes_after=7), Model()
    assert run(monkeypatch, source, screen, model) == 0
    assert len(screen.drawings) == len(model.images) == 7
    assert (model.images[0] == (10, 100, 200)).all()  # RGB
    drawn = (screen.drawings[0] != (10, 100, 200)).any(axis=2)
    assert drawn[20, 4] and not drawn[20, 40]  # the second is below the threshold
    assert all("images/s" in title for title in screen.titles)
    assert source.released and not screen.is_open
    assert "camera 3: 7 images" in capsys.readouterr().err


def test_closing_the_window_ends_it(monkeypatch):
    source, screen = FakeCamera(100), FakeWindow(closes_after=4)
    assert run(monkeypatch, source, screen, settings=PredictionSettings(threshold=0)) == 0
    assert len(screen.drawings) == 4 and source.left == 96 and source.released
    assert (screen.drawings[0] != (10, 100, 200)).any(axis=2)[20, 40]


def test_the_rate_is_that_of_the_last_images(monkeypatch):
    clock = iter(np.concatenate([[0], np.arange(1, 11) * 1.0, 10 + np.arange(1, 41) * 0.1, [99]]).tolist())
    monkeypatch.setattr(camera.time, "perf_counter", lambda: next(clock))
    screen = FakeWindow()
    screen.closes_after = 50
    run(monkeypatch, FakeCamera(99), screen)
    assert " 1.0 images/s" in screen.titles[5] and " 10.0 images/s" in screen.titles[-1]


def test_a_camera_that_cannot_be_opened_or_gives_nothing(monkeypatch):
    for source in (FakeCamera(3, opened=False), FakeCamera(0)):
        screen = FakeWindow()
        with pytest.raises(UserError, match="camera 3"):
            run(monkeypatch, source, screen)
        assert source.released and not screen.is_open and not screen.drawings


def test_a_camera_that_is_unplugged_is_an_error(monkeypatch, capsys):
    source, screen = FakeCamera(5), FakeWindow()
    with pytest.raises(UserError, match="camera 3 gives no more images after 5"):
        run(monkeypatch, source, screen)
    assert source.released and not screen.is_open and len(screen.drawings) == 5
    assert "5 images" in capsys.readouterr().err


def test_the_camera_is_given_back_after_an_error(monkeypatch):
    class Broken(Model):
        def predict(self, image):
            raise KeyboardInterrupt

    source, screen = FakeCamera(3), FakeWindow()
    with pytest.raises(KeyboardInterrupt):
        run(monkeypatch, source, screen, Broken())
    assert source.released and not screen.is_open


def test_without_display_it_is_one_sentence(monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(window.sys, "platform", "linux")
    with pytest.raises(UserError, match="display"):
        camera.run_camera(0, "no model", open_capture=lambda number: pytest.fail("opened without a display"))


def test_a_camera_that_is_not_there(monkeypatch, capfd):
    monkeypatch.setattr(camera, "open_window", lambda title: FakeWindow())
    with pytest.raises(UserError, match="camera 97"):
        camera.run_camera(97, Model())
    assert capfd.readouterr().err == ""  # OpenCV's own words, were they not silenced


@pytest.fixture
def screen(monkeypatch):
    """A stand-in for OpenCV's windows: a dict with `keys` to be pressed, and what was shown."""
    state = {"keys": [], "shown": [], "titles": [], "visible": True, "waits": 0}

    def wait_key(_):
        state["waits"] += 1
        assert state["waits"] < 100, "waits for ever"
        return state["keys"].pop(0) if state["keys"] else -1

    monkeypatch.setattr(cv2, "namedWindow", lambda *_: None)
    monkeypatch.setattr(cv2, "imshow", lambda _, picture: state["shown"].append(picture))
    monkeypatch.setattr(cv2, "setWindowTitle", lambda _, title: state["titles"].append(title))
    monkeypatch.setattr(cv2, "waitKey", wait_key)
    monkeypatch.setattr(cv2, "getWindowProperty", lambda *_: 1.0 if state["visible"] else -1.0)
    monkeypatch.setattr(cv2, "destroyAllWindows", lambda: state.update(visible=False))
    return state


RED = np.full((4, 4, 3), (255, 0, 0), np.uint8)


@pytest.mark.parametrize("key", [ord("q"), 27, 27 | 0x100000])
def test_q_and_escape_close_the_window(screen, key):
    opened = window.Window("title")
    screen["keys"] = [-1, -1, -1, key]
    opened.show(RED)
    assert opened.is_open and screen["shown"][0][0, 0].tolist() == [0, 0, 255]
    opened.show(RED, wait=True, title="two")
    assert not opened.is_open and not screen["visible"] and screen["titles"] == ["two"]
    opened.show(RED)
    assert len(screen["shown"]) == 2


def test_any_other_key_goes_on_and_a_film_waits_for_none(screen):
    opened = window.Window("title")
    screen["keys"] = [-1, -1, ord("x")]
    opened.show(RED, wait=True)
    assert opened.is_open and screen["waits"] == 3
    opened.show(RED)
    assert opened.is_open and screen["waits"] == 4


def test_a_window_that_the_user_closed_ends_the_waiting(screen):
    for wait in (True, False):
        screen["visible"] = True
        opened = window.Window("title")
        screen["visible"] = False
        opened.show(RED, wait=wait)
        assert not opened.is_open
