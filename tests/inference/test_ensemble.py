"""Several models as one, and the options of `evaluate.py` that make ensembles and test-time augmentation."""

import json

import numpy as np
import pytest

import evaluate as script
from mpn import MultiPoseNet
from mpn.cli.script import run
from mpn.config import ModelConfig
from mpn.errors import UserError
from mpn.inference.ensemble import OKS_THRESHOLD, Ensemble, average_silhouettes
from mpn.inference.predictor import Predictor
from mpn.inference.views import Augmentation
from mpn.model_directory import save_config
from mpn.people import Person, SilhouetteMap

IMAGE = np.zeros((120, 200, 3), np.uint8)


def person(x, score, y=60.0):
    """Somebody whose keypoints lie on a line of 50 pixels."""
    places = np.stack([np.full(17, x), y + np.linspace(-25, 25, 17), np.full(17, 0.9)], axis=1)
    return Person(np.float32([x - 20, y - 30, x + 20, y + 30]), 0.95, places.astype(np.float32), score)


class FakeModel(Predictor):
    """Finds the same people in every image, a silhouette of one value, and keeps how it was loaded."""

    precision, nms_threshold, square, assignment = "float32", 0.3, False, "greedy"

    def __init__(self, people, silhouette=0.0, size=(120, 200), **options):
        self.people, self.silhouette, self.options = people, silhouette, options
        self.config = ModelConfig(image_size=size)

    def _predict_one(self, image):
        height, width = image.shape[:2]
        values = np.full((height // 4 + 8, width // 4 + 8), self.silhouette, np.float32)
        return self.people, SilhouetteMap(values, (height, width), (0.25, 0.25))


def test_people_of_all_models_without_those_found_twice():
    left, right, again, other = person(50, 0.9), person(150, 0.4), person(151, 0.6), person(100, 0.7)
    ensemble = Ensemble([FakeModel([left, right]), FakeModel([other, again])])
    people = ensemble.predict(IMAGE)
    assert [p.score for p in people] == [0.9, 0.7, 0.6]
    for found, expected in zip(people, (left, other, again), strict=True):
        assert found.keypoints is expected.keypoints and found.box is expected.box


def test_one_model_is_freed_of_its_own_duplicates():
    model = FakeModel([person(50, 0.9), person(51, 0.8), person(100, 0.7)])
    assert [p.score for p in Ensemble([model]).predict(IMAGE)] == [0.9, 0.7]
    assert [p.score for p in Ensemble([model], oks_threshold=1.0).predict(IMAGE)] == [0.9, 0.8, 0.7]


def test_silhouettes_are_the_average_of_all_models():
    ensemble = Ensemble([FakeModel([person(50, 0.9)], 0.9), FakeModel([], 0.3), FakeModel([], 0.0)])
    people, silhouettes = ensemble.predict(IMAGE, with_silhouettes=True)
    assert people[0].silhouettes is silhouettes
    assert silhouettes.mask(threshold=0.39).all() and not silhouettes.mask(threshold=0.41).any()


def test_nobody_is_an_empty_list():
    people, silhouettes = Ensemble([FakeModel([]), FakeModel([])]).predict(IMAGE, with_silhouettes=True)
    assert people == [] and silhouettes.mask().shape == (120, 200)


def test_silhouettes_of_other_grids_keep_their_place():
    """Maps of one smooth silhouette in three networks' inputs, one of them with square padding."""

    def silhouette(x, y):
        return 1 / (1 + np.exp((np.hypot(x - 90, y - 50) - 30) / 8))

    maps = []
    for scale, cells in (((0.2, 0.21), (32, 40)), ((0.31, 0.3), (40, 64)), ((0.25, 0.25), (56, 56))):
        y, x = (np.indices(cells) + 0.5) / np.reshape(scale[::-1], (2, 1, 1))
        maps.append(SilhouetteMap(silhouette(x, y).astype(np.float32), (120, 200), scale))
    average = average_silhouettes(maps)
    assert average.values.shape == (40, 64) and average.scale == (0.31, 0.3) and average.image_size == (120, 200)
    y, x = np.mgrid[:120, :200] + 0.5
    wrong = average.mask() != (silhouette(x, y) > 0.5)
    assert wrong.mean() < 0.002
    inside = np.s_[:36, :62]  # not the padding
    np.testing.assert_allclose(average.values[inside], maps[1].values[inside], atol=0.01)


@pytest.mark.parametrize(("models", "threshold"), [([], 0.5), ([FakeModel([])], 1.5), ([FakeModel([])], float("nan"))])
def test_ensembles_that_cannot_be_are_refused(models, threshold):
    with pytest.raises(UserError):
        Ensemble(models, threshold)


@pytest.fixture
def loaded(monkeypatch):
    """What MultiPoseNet.load is asked for: pairs of a folder and options. The model "b" works at another size."""
    calls = []

    def load(model_dir, **options):
        calls.append((model_dir, options))
        size = (64, 96) if model_dir == "b" else (120, 200)
        return FakeModel([person(60, 0.9), person(61, 0.8)], 0.4, size, **options)

    monkeypatch.setattr(MultiPoseNet, "load", load)
    return calls


def evaluation(synthetic_coco, tmp_path, *options):
    """The metrics that `evaluate.py` writes, and its number of poses an image."""
    file = tmp_path / "metrics.json"
    shared = ["--coco", synthetic_coco, "--limit", 3, "--output", tmp_path, "--metrics", file]
    script.main([str(argument) for argument in (*shared, *options)])
    results = json.loads((tmp_path / "person_keypoints_val2017_mpn_results.json").read_text())
    return json.loads(file.read_text()), len(results) / 3


def test_one_model_is_no_ensemble(synthetic_coco, tmp_path, loaded):
    metrics, poses = evaluation(synthetic_coco, tmp_path, "--model", "a")
    assert poses == 2  # two poses of one person, as the model gives them
    assert [folder for folder, _ in loaded] == ["a"]
    settings = {"models": ["a"], "oks_threshold": None, "scales": [1], "mirror": False, "crops": 1}
    assert {name: metrics["settings"][name] for name in settings} == settings
    assert metrics["settings"]["image_size"] == [120, 200]
    evaluation(synthetic_coco, tmp_path)
    assert loaded[1][0] == "models/multiposenet"
    _, poses = evaluation(synthetic_coco, tmp_path, "--model", "a", "--oks-threshold", 0.5)
    assert poses == 1


def test_several_models_are_an_ensemble(synthetic_coco, tmp_path, loaded):
    options = ["--model", "a", "--model", "b", "--scales", "0.5,1", "--mirror", "--crops", 2]
    metrics, poses = evaluation(synthetic_coco, tmp_path, *options)
    assert poses == 1
    assert [folder for folder, _ in loaded] == ["a", "b"]
    views = {"scales": [0.5, 1], "mirror": True, "crops": 2}
    settings = {"models": ["a", "b"], "oks_threshold": OKS_THRESHOLD, **views}
    assert {name: metrics["settings"][name] for name in settings} == settings
    assert metrics["settings"]["image_size"] == [[120, 200], [64, 96]]
    assert metrics["settings"]["precision"] == "float32"
    for _, asked in loaded:
        assert asked["augmentation"] == Augmentation((0.5, 1), True, 2)
    _, poses = evaluation(synthetic_coco, tmp_path, *options, "--oks-threshold", 1)
    assert poses == 4


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "a", "--model", "b", "--boxes", "ground-truth"], "several --model"),
        (["--model", "a", "--model", "b", "--keypoints", "ground-truth-heatmaps"], "several --model"),
        (["--oks-threshold", "0.5", "--keypoints", "peaks.json"], "--oks-threshold"),
        (["--mirror", "--keypoints", "ground-truth", "--boxes", "ground-truth"], "--mirror"),
        (["--scales", "0.5,1", "--keypoints", "ground-truth", "--boxes", "ground-truth"], "--scales"),
        (["--grouping", "prn-crop", "--keypoints", "ground-truth"], "--keypoints network"),
        (["--scales", "1,15"], "15"),
        (["--scales", "1,1"], "differ"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path, capsys, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        run(script.main, ["--coco", str(tmp_path), *arguments])
    error = capsys.readouterr().err.strip()
    assert stopped.value.code == 1 and words in error and len(error.splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("flag", "value"), [("--scales", "1;2"), ("--scales", "0,1"), ("--oks-threshold", "2"), ("--crops", "0")]
)
def test_wrong_flag_values_are_refused(capsys, flag, value):
    with pytest.raises(SystemExit) as stopped:
        script.main([flag, value])
    assert stopped.value.code == 2 and value in capsys.readouterr().err


def test_true_keypoints_and_boxes_still_need_no_network(synthetic_coco, tmp_path):
    save_config(ModelConfig(), tmp_path / "model")
    sources = ["--keypoints", "ground-truth", "--boxes", "ground-truth", "--grouping", "oracle"]
    metrics, _ = evaluation(synthetic_coco, tmp_path, "--model", tmp_path / "model", *sources)
    assert metrics["keypoints"]["AP"] == pytest.approx(1, abs=1e-6)
