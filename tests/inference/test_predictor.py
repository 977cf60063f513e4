"""Several images and videos, with models that tell images apart."""

import warnings

import av
import numpy as np
import pytest
from brightness import person

from mpn.errors import UserError
from mpn.inference.ensemble import Ensemble
from mpn.inference.exported_model import ExportedModel
from mpn.inference.multiposenet import MultiPoseNet
from mpn.inference.predictor import Predictor
from mpn.inference.refiner import Refined
from mpn.people import SilhouetteMap
from mpn.videos import VideoWriter


class Brightness(Predictor):
    """Finds one person whose box is as wide as the image is bright."""

    def _predict_one(self, image):
        width = float(image.mean())
        silhouettes = SilhouetteMap(np.zeros((2, 2), np.float32), image.shape[:2], (0.1, 0.1))
        return [person((0, 0, width, 20))], silhouettes


class Narrower:
    """A refiner that gives each person a score of a hundredth of the box's width."""

    def refine(self, image, people):
        return [person(found.box, found.box[2] / 100) for found in people]


def grey(value, height=20, width=30):
    return np.full((height, width, 3), value, np.uint8)


def film(path, *values):
    with VideoWriter(path, (48, 64), 10) as video:
        for index, value in enumerate(values):
            video.write(grey(value, 48, 64), index / 10)
    return path


def widths(people):
    return [found.box[2] for found in people]


def test_a_list_gives_the_people_of_each_image():
    images = [grey(10), grey(60, 8, 9), grey(200, 90, 31)]
    for given in (images, tuple(images)):
        assert [widths(people) for people in Brightness().predict(given)] == [[10], [60], [200]]
    pairs = Brightness().predict(images, with_silhouettes=True)
    assert [silhouettes.image_size for _, silhouettes in pairs] == [(20, 30), (8, 9), (90, 31)]
    assert Brightness().predict([]) == []
    assert widths(Brightness().predict(images[1])) == [60]


def test_every_model_takes_lists_and_videos():
    for model in (MultiPoseNet, ExportedModel, Ensemble, Refined):
        assert model.predict is Predictor.predict and model.predict_video is Predictor.predict_video
    two = Refined(Brightness(), Narrower()).predict([grey(10), grey(60)])
    assert [people[0].score for people in two] == pytest.approx([0.1, 0.6])


def test_a_video_gives_its_frames_and_their_people(tmp_path):
    path = film(tmp_path / "film.mp4", 40, 120, 200)
    found = list(Brightness().predict_video(path))
    assert [frame.shape for frame, _ in found] == [(48, 64, 3)] * 3
    for (frame, people), value in zip(found, (40, 120, 200), strict=True):
        assert abs(frame.mean() - value) < 4 and abs(widths(people)[0] - value) < 4
    refined = Refined(Brightness(), Narrower()).predict_video(path)
    assert [round(people[0].score, 1) for _, people in refined] == [0.4, 1.2, 2.0]


def test_frames_are_read_when_they_are_asked_for(tmp_path):
    class Once(Predictor):
        def _predict_one(self, image):
            assert image.mean() < 100, "the second frame was not asked for"
            return [], None

    frames = Once().predict_video(film(tmp_path / "film.mp4", 40, 200))
    assert next(frames)[1] == []
    frames.close()


def test_bad_videos_are_a_sentence_and_cut_ones_a_warning(tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    for name, words in (("gone.mp4", "does not exist"), ("text.mp4", "not a video")):
        with pytest.raises(UserError, match=f"{name}' .*{words}"):
            next(Brightness().predict_video(tmp_path / name))

    with av.open(str(tmp_path / "whole.avi"), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        noise = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
        for _ in range(20):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(noise)))
        container.mux(stream.encode(None))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(list(Brightness().predict_video(tmp_path / "whole.avi"))) == 20
    data = (tmp_path / "whole.avi").read_bytes()
    (tmp_path / "cut.avi").write_bytes(data[: len(data) * 6 // 10])
    with pytest.warns(UserWarning, match=r"cut.avi': reading failed after \d+ frames"):
        assert 5 < len(list(Brightness().predict_video(tmp_path / "cut.avi"))) < 20
