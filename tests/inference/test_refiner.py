"""The refinement network: its crops and coordinates, what it finds, and the options that use it."""

import dataclasses
import json

import keras
import numpy as np
import pytest
from runs import assert_one_sentence, exit_of

import demo
import evaluate
from mpn import MultiPoseNet
from mpn.config import ModelConfig
from mpn.data.augmentation import PatchAugmentation
from mpn.data.patches import patch_map
from mpn.demo.run import run_demo
from mpn.demo.settings import PredictionSettings
from mpn.errors import UserError
from mpn.images import write_image
from mpn.inference import refiner as refiner_module
from mpn.inference.predictor import Predictor
from mpn.inference.refiner import Refined, Refiner
from mpn.inference.views import Augmentation
from mpn.people import Person
from mpn.skeleton import KEYPOINTS, OKS_SIGMAS
from mpn.videos import VideoWriter

pytestmark = pytest.mark.usefixtures("small_backbone")

SIDE, SHARE = 96, 0.75


class BrightSpots:
    """Stands in for Networks: heatmaps are the image's red, in 0-1, times a factor a keypoint, and green."""

    config = ModelConfig(image_size=(SIDE, SIDE), refiner_share=SHARE)

    def __init__(self, factors=1):
        self.factors = factors

    def keypoint_model(self, supervised):
        assert not supervised
        images = keras.Input((None, None, 3))
        red = keras.layers.Conv2D(18, 1, use_bias=False, name="heatmaps")
        outputs = {"heatmaps": red(keras.layers.AveragePooling2D(4)(images))}
        kernel = np.zeros((1, 1, 3, 18), np.float32)
        kernel[0, 0, 0, :17] = self.factors / np.float32(255)
        kernel[0, 0, 1, 17] = 1 / 255
        red.set_weights([kernel])
        return keras.Model(images, outputs)


def spot(image, x, y, sigma, height=255):
    """Draws a Gaussian at continuous pixel coordinates."""
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]] + 0.5
    value = height * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2))
    image[..., 0] = np.maximum(image[..., 0], value.astype(np.uint8))


def person(box, box_score=0.8, confidence=0.5):
    centre = [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2, confidence]
    return Person(np.float32(box), box_score, np.float32([centre] * 17), box_score * confidence)


@pytest.mark.parametrize("nearer", [False, True])
@pytest.mark.parametrize("box", [(40, 30, 100, 190), (300, 220, 420, 280), (10, 10, 34, 42)])
def test_keypoints_come_back_to_the_image(box, nearer):
    """A spot in the box is found where it is: to a quarter of a cell of the crop."""
    image = np.zeros((300, 500, 3), np.uint8)
    scale = SHARE * SIDE / max(box[2] - box[0], box[3] - box[1])
    x, y = box[0] + 0.3 * (box[2] - box[0]), box[1] + 0.6 * (box[3] - box[1])
    spot(image, x, y, 7 / scale)
    found = Refiner(BrightSpots(), "float32", nearer=nearer).find(image, np.float32([box]))
    assert found.shape == (1, 17, 3) and found.dtype == np.float32
    np.testing.assert_allclose(found[0, :, :2] * scale, np.tile([x * scale, y * scale], (17, 1)), atol=1)
    assert (found[..., 2] > 0.8).all()


@pytest.mark.parametrize("mirror", [False, True])
def test_a_mirrored_look_is_averaged_with_the_crop(mirror):
    """A network that finds left sides half as well: mirrored, they take the place of right ones."""
    image = np.zeros((200, 200, 3), np.uint8)
    spot(image, 70, 90, 10)
    left = np.array([name.startswith("left_") for name in KEYPOINTS])
    middle = np.array([name == "nose" for name in KEYPOINTS])
    refiner = Refiner(BrightSpots(np.where(left, 0.5, 1)), "float32", mirror)
    found = refiner.find(image, np.float32([[40, 50, 120, 170]] * 18))  # more than share a batch
    expected = np.select([middle, [mirror] * 17, left], [1, 0.75, 0.5], 1)
    np.testing.assert_allclose(found[..., 2] / found[:, :1, 2], np.tile(expected, (18, 1)), atol=1e-3)
    np.testing.assert_allclose(found[..., :2], np.tile([70, 90], (18, 17, 1)), atol=1)


def test_a_nearer_look_is_averaged_with_the_crop():
    """What it does not show, in the outermost cell of the crop, keeps half of its confidence."""
    for y, sigma, share in ((86, 4, 0.5), (126, 10, 1)):
        image, box = np.zeros((300, 300, 3), np.uint8), (100, 100, 200, 200)
        spot(image, 150, y, sigma)
        once, twice = (Refiner(BrightSpots(), "float32", nearer=n).find(image, np.float32([box])) for n in (0, 1))
        np.testing.assert_allclose(twice[..., 2], share * once[..., 2], rtol=0.05)


def test_everybody_is_found_however_many_there_are():
    image = np.zeros((80, 2000, 3), np.uint8)
    boxes = np.float32([[50 * i + 5, 10, 50 * i + 45, 70] for i in range(35)])
    for i in range(35):
        spot(image, 50 * i + 15 + i % 20, 40, 4)
    found = Refiner(BrightSpots(), "float32").find(image, boxes)
    np.testing.assert_allclose(found[:, 0, 0], [50 * i + 15 + i % 20 for i in range(35)], atol=1)


def test_refined_people_are_in_order_of_their_new_scores():
    image = np.zeros((200, 800, 3), np.uint8)
    spot(image, 60, 100, 10, height=100)
    spot(image, 260, 100, 10, height=250)
    first, second = person((20, 40, 100, 160), 0.9), person((220, 40, 300, 160), 0.8)
    nobody = person((620, 40, 690, 160), 0.7, confidence=0.04)
    people = Refiner(BrightSpots(), "float32").refine(image, [first, second, nobody])
    assert [p.box_score for p in people] == [0.8, 0.9, 0.7]
    for found, x in zip(people[:2], (260, 60), strict=True):
        np.testing.assert_allclose(found.keypoints[:, :2], np.tile([x, 100], (17, 1)), atol=1)
        squares = np.square(found.keypoints[:, :2] - (x, 100)).sum(axis=1)
        agreement = np.exp(-squares / (2 * 0.52 * 80 * 120 * (2 * OKS_SIGMAS) ** 2)).mean()
        expected = found.box_score * found.keypoints[:, 2].mean() * (1 + agreement) / 2
        assert found.score == pytest.approx(expected, abs=1e-6)
    assert people[2].score == 0
    np.testing.assert_array_equal(people[2].keypoints, nobody.keypoints)
    assert Refiner(BrightSpots(), "float32").refine(image, []) == []


def test_a_pose_that_the_first_one_contradicts_loses_half_its_score():
    image = np.zeros((200, 200, 3), np.uint8)
    spot(image, 60, 100, 10)
    alike = person((20, 40, 100, 160))
    elsewhere = dataclasses.replace(alike, keypoints=np.float32([[5, 15, 0.5]] * 17))
    guessed = dataclasses.replace(alike, keypoints=np.float32([[60, 100, 0.05]] * 17))
    refiner = Refiner(BrightSpots(), "float32")
    whole, *half = (refiner.refine(image, [one])[0].score for one in (alike, elsewhere, guessed))
    np.testing.assert_allclose(half, whole / 2, rtol=0.02)


def test_the_best_people_are_looked_at_and_the_others_stay(monkeypatch):
    monkeypatch.setattr(refiner_module, "MOST_PEOPLE", 2)
    image = np.zeros((200, 800, 3), np.uint8)
    for x in (60, 260, 660):
        spot(image, x, 100, 10)
    people = [person((x - 40, 40, x + 40, 160), score) for x, score in ((60, 0.9), (260, 0.8), (660, 0.7))]
    found = Refiner(BrightSpots(), "float32").refine(image, people)
    assert [one.box_score for one in found] == [0.9, 0.8, 0.7]
    assert found[2] is people[2] and found[1].score > people[1].score


def test_nobody_is_looked_at_again_whose_pose_scores_too_little():
    """The model finds two people; the refinement network sees the one whose pose scores enough, half of the box."""

    class FindsTwo:
        def predict(self, image, with_silhouettes):
            return [person((20, 40, 100, 160), 0.6), person((220, 40, 300, 160), 0.3)], None

    image = np.zeros((200, 400, 3), np.uint8)
    for x in (60, 260):
        spot(image, x, 100, 10)
    for least_score, boxes in ((0, [0.6, 0.3]), (0.15, [0.6, 0.3]), (0.16, [0.6]), (0.31, [])):
        found = Refined(FindsTwo(), Refiner(BrightSpots(), "float32"), least_score).predict(image)
        assert [one.box_score for one in found] == boxes


@pytest.mark.parametrize("box", [(40, 30, 100, 130), (40, 30, 52, 44)])  # the second is enlarged no more than training
def test_crops_are_those_of_training(make_record, box):
    record = make_record({"box": box, "keypoints": {i: (45, 35, 2) for i in range(5)}})
    augmentation = PatchAugmentation(refiner_share=SHARE).without_jitter()
    trained = patch_map(record, SIDE, augmentation, 0, np.random.default_rng(0))
    np.testing.assert_allclose(Refiner(BrightSpots())._crop(record.boxes[0]), trained, atol=1e-5)


def test_other_models_are_no_refinement_networks(stage_1, tmp_path):
    with pytest.raises(UserError, match=r"train_keypoints.py --refiner") as error:
        Refiner.load(stage_1)
    assert str(stage_1) in str(error.value)
    with pytest.raises(UserError, match="missing"):
        Refiner.load(tmp_path / "missing")


def test_what_is_no_image_is_refused():
    for image in (np.zeros((50, 50), np.uint8), np.zeros((50, 50, 3))):
        with pytest.raises(ValueError, match="uint8 RGB"):
            Refiner(BrightSpots()).find(image, np.zeros((0, 4)))


@pytest.fixture
def whole_model(monkeypatch, refiner):
    """Makes `MultiPoseNet.load` give a model that finds one person in every image; gives what it loads from."""

    class FindsOne(Predictor):
        precision, nms_threshold, square, assignment = "float32", 0.3, False, "greedy"
        config = ModelConfig(image_size=(64, 96))

        def _predict_one(self, image):
            from mpn.people import SilhouetteMap

            return [person((10, 10, 60, 80))], SilhouetteMap(np.zeros((24, 32)), image.shape[:2])

    given = {}

    def load(model_dir, **options):
        given.update(options, model_dir=model_dir)
        return FindsOne()

    monkeypatch.setattr(MultiPoseNet, "load", load)
    return given


@pytest.mark.parametrize("views", [(), ("--mirror",), ("--scales", "0.5,1")])
def test_evaluate_refines(whole_model, refiner, tiny_coco, tmp_path, monkeypatch, views):
    moved = np.tile(np.float32([20, 30, 0.5]), (1, 17, 1))

    def find(self, image, boxes):
        assert (self.mirror, self.nearer) == ("--mirror" in views, "--scales" in views)
        return moved

    monkeypatch.setattr(Refiner, "find", find)
    output = tmp_path / "out"
    arguments = ["--coco", tiny_coco, "--model", "mine", "--refine", refiner, "--output", output, *views]
    evaluate.main([str(word) for word in [*arguments, "--metrics", tmp_path / "m.json"]])
    results = json.loads((output / "person_keypoints_val2017_mpn_results.json").read_text())
    assert results and all(result["keypoints"][:2] == [19.5, 29.5] for result in results)
    assert json.loads((tmp_path / "m.json").read_text())["settings"]["refine"] == str(refiner)


def test_demo_refines(whole_model, refiner, tmp_path, monkeypatch):
    moved = np.tile(np.float32([20, 30, 0.5]), (1, 17, 1))
    monkeypatch.setattr(Refiner, "find", lambda self, image, boxes: moved)
    loaded = []
    load = Refiner.load
    monkeypatch.setattr(Refiner, "load", lambda *given: loaded.append(given) or load(*given))
    arguments = ["--model", "mine", "--refine", str(refiner), "--output", str(tmp_path), "--precision", "float32"]
    views = ["--scales", "0.5,1", "--mirror", "--crops", "2", "--image-size", "64", "96"]
    assert demo.main([*arguments, *views]) == 0
    assert loaded == [(str(refiner), "float32", True, True)]
    assert whole_model == {
        "model_dir": "mine",
        "image_size": (64, 96),
        "precision": "float32",
        "augmentation": Augmentation((0.5, 1.0), True, 2),
    }
    (people,) = (json.loads(path.read_text())["people"] for path in tmp_path.glob("*.json"))
    assert [(p["x"], p["y"]) for p in people[0]["keypoints"]] == [(20, 30)] * 17


def test_true_boxes_are_not_refined(tiny_coco, capsys):
    arguments = ["--coco", tiny_coco, "--refine", "small-refiner", "--boxes", "ground-truth"]
    code, error = exit_of(evaluate, arguments, capsys)
    assert code == 1 and "--boxes must be network" in error
    assert_one_sentence(error)


def test_a_refined_model_is_like_the_model():
    model = type("Model", (), {"precision": "float32", "oks_threshold": 0.5})()
    refined = Refined(model, None)
    assert refined.precision == "float32" and refined.oks_threshold == 0.5
    with pytest.raises(AttributeError):
        _ = refined.nothing_of_the_kind


@pytest.mark.parametrize("refine_videos", [False, True])
def test_videos_are_refined_where_they_should_be(whole_model, refiner, tmp_path, monkeypatch, refine_videos):
    moved = np.tile(np.float32([20, 30, 0.5]), (1, 17, 1))
    monkeypatch.setattr(Refiner, "find", lambda self, image, boxes: moved)
    image = np.zeros((96, 128, 3), np.uint8)
    write_image(tmp_path / "photo.png", image)
    with VideoWriter(tmp_path / "film.mp4", image.shape[:2], 25) as film:
        film.write(image, 0)
    settings = PredictionSettings(refine=str(refiner), precision="float32")
    assert run_demo([tmp_path], tmp_path / "out", "mine", settings, refine_videos=refine_videos) == 0
    photograph = json.loads((tmp_path / "out" / "photo_poses.json").read_text())
    frame = json.loads((tmp_path / "out" / "film_poses.jsonl").read_text())
    assert [of["people"][0]["keypoints"][0]["x"] for of in (photograph, frame)] == [20, 20 if refine_videos else 35]
