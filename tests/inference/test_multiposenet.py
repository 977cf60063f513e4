"""From an image to people, with networks that were never trained but are made to see people everywhere."""

import dataclasses
import functools
import json
import zipfile

import numpy as np
import pytest
import tensorflow as tf
from keras_retinanet.layers import FilterDetections
from pycocotools.coco import COCO
from tiny_networks import NARROW, sees_something

import demo
import evaluate
from mpn import MultiPoseNet
from mpn.errors import UserError
from mpn.geometry import box_iou, fit_image
from mpn.heatmaps import find_peaks
from mpn.images import write_image
from mpn.models.networks import Networks
from mpn.models.person import build_anchors, decode_boxes


@pytest.fixture(scope="module")
def networks(small_backbone):
    """Untrained networks whose heads find something in every image."""
    made = Networks(NARROW)
    made.position_prior = np.full((56, 36, 17), 1 / (56 * 36), np.float32)
    return sees_something(made)


@pytest.fixture(scope="module")
def model(networks):
    return MultiPoseNet(networks, precision="float32")


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def without_network(*_):
    raise AssertionError("the network ran again")


def test_silhouettes_come_from_the_same_run(model, monkeypatch):
    image = noise(96, 130, seed=1)
    expected, detected, graph, runs = model.predict(image), model.detect(image), model._predict_graph, []
    monkeypatch.setitem(model.__dict__, "_predict_graph", lambda *inputs: runs.append(1) or graph(*inputs))
    for other in ("_detect_graph", "forward_graph"):
        monkeypatch.setitem(model.__dict__, other, without_network)
    people, silhouettes = model.predict(image, with_silhouettes=True)
    assert len(runs) == 1
    assert [person.score for person in people] == [person.score for person in expected]
    assert people[0].silhouettes is silhouettes
    np.testing.assert_allclose(silhouettes.values, detected.silhouettes.values, atol=1e-4)
    assert silhouettes.mask().shape == (96, 130)


def test_silhouettes_are_measured_whatever_the_boxes(model, synthetic_coco, tmp_path, monkeypatch):
    """The channel belongs to the image: boxes from the ground truth, or none at all, leave its IoU as it is."""
    monkeypatch.setattr(MultiPoseNet, "load", lambda *_, **__: model)
    silhouettes = []
    for boxes in ("network", "ground-truth"):
        file = tmp_path / f"{boxes}.json"
        arguments = ["--coco", synthetic_coco, "--output", tmp_path, "--limit", 4, "--boxes", boxes, "--metrics", file]
        evaluate.main([str(argument) for argument in [*arguments, "--silhouette-threshold", 0.1]])
        metrics = json.loads(file.read_text())
        assert ("boxes" in metrics) == (boxes == "network")
        silhouettes.append(metrics["silhouettes"])
    assert silhouettes[0] == pytest.approx(silhouettes[1], abs=1e-3)
    assert 0 < silhouettes[0]["IoU"] < 1 and 0 < silhouettes[0]["mean_IoU"] < 1


def test_people_have_sound_fields(model):
    image = noise(120, 200)
    people = model.predict(image)
    assert 0 < len(people) <= 100
    assert [p.score for p in people] == sorted((p.score for p in people), reverse=True)
    for person in people:
        x1, y1, x2, y2 = person.box
        assert 0 <= x1 < x2 <= 200 and 0 <= y1 < y2 <= 120
        assert person.keypoints.shape == (17, 3) and np.isfinite(person.keypoints).all()
        assert (0 <= person.keypoints[:, 2]).all() and (person.keypoints[:, 2] <= 1).all()
        assert person.silhouette().shape == (120, 200)
    assert len(people[0].to_json()["keypoints"]) == 17


def test_a_list_of_images_of_any_size(model):
    images = [noise(96, 130), noise(120, 80, seed=1)]
    for people, image in zip(model.predict(images), images, strict=True):
        expected = model.predict(image)
        assert len(people) == len(expected) > 0
        for one, other in zip(people, expected, strict=True):
            np.testing.assert_allclose(one.keypoints, other.keypoints, atol=1e-3)
            assert one.silhouette().shape == image.shape[:2]


def test_predict_is_detect_then_group(model):
    image = noise(96, 130, seed=1)
    whole, halves = model.predict(image), model.group(model.detect(image))
    assert len(whole) == len(halves) > 0
    for a, b in zip(whole, halves, strict=True):
        np.testing.assert_allclose(a.box, b.box, atol=1e-3)
        np.testing.assert_allclose(a.keypoints, b.keypoints, atol=2e-2)


def test_crops_of_heatmaps_group_in_one_graph_as_in_two_halves(networks):
    image = noise(96, 130, seed=1)
    model = MultiPoseNet(networks, precision="float32", grouping="prn-crop")
    detections = model.detect(image)
    whole, halves = model.predict(image), model.group_all([detections, detections])
    assert len(whole) == len(halves[0]) == len(halves[1]) > 0
    for a, b, c in zip(whole, *halves, strict=True):
        np.testing.assert_allclose(a.keypoints, b.keypoints, atol=2e-2)
        np.testing.assert_allclose(b.keypoints, c.keypoints, atol=2e-2)
    with pytest.raises(UserError, match="keypoints must come from the network"):
        model.group(dataclasses.replace(detections, heatmaps=None))


def test_detections_are_those_of_the_separate_networks(model, networks):
    """The single graph against the person detector and keras-retinanet's NMS on the same input."""
    image = noise(96, 128, seed=2)
    found = model.detect(image)
    outputs = networks.person_detector(image[None].astype(np.float32))
    every = decode_boxes(outputs["regression"], 96, 128)
    boxes, scores, _ = FilterDetections(nms_threshold=0.3, max_detections=100)([every, outputs["classification"]])
    count = int((np.asarray(scores[0]) > 0).sum())
    assert count == len(found.boxes)
    votes = np.asarray(outputs["classification"][0, :, 0])
    overlaps = box_iou(np.asarray(boxes[0])[:count, None], np.asarray(every[0]))
    weights = (overlaps - 0.6).clip(0) * votes * (votes > 0.05)
    voted = weights @ np.asarray(every[0]) / weights.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found.boxes, voted, atol=1e-2)
    np.testing.assert_allclose(found.box_scores, np.asarray(scores[0])[:count], atol=1e-4)


def test_peaks_are_those_of_the_heatmaps_without_empty_places(networks, monkeypatch):
    many = functools.partial(find_peaks, max_peaks=400)  # more than there are peaks
    monkeypatch.setattr("mpn.inference.multiposenet.find_peaks", many)
    image, model = noise(96, 128, seed=2), MultiPoseNet(networks, precision="float32")
    found = model.detect(image)
    positions, scores = (np.asarray(value)[0] for value in many(model.heatmaps(image)[None, ..., :17]))
    most = (scores > 0).sum(axis=1).max()
    assert found.peaks.shape == (17, most, 2) and 0 < most < scores.shape[1]
    np.testing.assert_allclose(found.peaks, positions[:, :most] * 4, atol=1e-2)
    np.testing.assert_allclose(found.peak_scores, scores[:, :most], atol=1e-4)


def test_no_peak_anywhere_leaves_one_empty_place(networks, monkeypatch):
    monkeypatch.setattr("mpn.inference.multiposenet.find_peaks", lambda heatmaps: find_peaks(heatmaps, threshold=1e9))
    found = MultiPoseNet(networks, precision="float32").detect(noise(64, 64))
    assert found.peaks.shape == (17, 1, 2) and not found.peak_scores.any()


def test_coordinates_do_not_depend_on_the_size_of_the_image(model):
    """An image that is scaled down to the very input of another gives the same people, in its own pixels."""
    large = noise(240, 320, seed=3)
    small, scale = fit_image(large, NARROW.image_size)
    a, b = model.detect(large), model.detect(small)
    assert len(a.boxes) == len(b.boxes) > 0
    np.testing.assert_allclose(a.boxes * np.tile(scale, 2), b.boxes, atol=1e-2)
    np.testing.assert_allclose(a.peaks * scale, b.peaks, atol=1e-2)


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (200, 3), (33, 31)])
def test_odd_sizes_work(model, shape):
    for person in model.predict(noise(*shape)):
        assert np.isfinite(person.keypoints).all()


@pytest.mark.parametrize("grouping", ["prn", "prn-crop", "prn-argmax", "ucr", "max"])
def test_nobody_is_an_empty_list(networks, grouping):
    class Nobody(MultiPoseNet):
        def _forward(self, images):
            """Peaks, and no anchor that may be a person."""
            height, width = tf.unstack(tf.shape(images)[1:3])
            anchors = tf.shape(build_anchors(height, width))[0]
            heatmaps = tf.random.uniform((1, height // 4, width // 4, 18))
            return {
                "heatmaps": heatmaps,
                "regression": tf.zeros((1, anchors, 4)),
                "classification": tf.zeros((1, anchors, 1)),
            }

    nobody = Nobody(networks, precision="float32", grouping=grouping)
    assert nobody.predict(noise(64, 64)) == []
    people, silhouettes = nobody.predict(noise(64, 80), with_silhouettes=True)
    assert people == [] and silhouettes.mask().shape == (64, 80)


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8), None]
)
def test_other_arrays_are_refused(model, image):
    with pytest.raises(ValueError, match="uint8 RGB"):
        model.predict(image)
    with pytest.raises(ValueError, match=r"not \(4, 6, 3\) float32"):
        model.predict(np.zeros((4, 6, 3), np.float32))


def test_heatmaps_leave_the_graph_when_asked_for(model):
    assert model.heatmaps(noise(96, 128)).shape == (24, 32, 18)
    assert model.heatmaps(noise(116, 145)).shape == (24, 30, 18)  # 145 x float32(120 / 145) is a little over 120


def test_save_and_load_predict_the_same(model, tmp_path):
    model.save(tmp_path / "model")
    loaded = MultiPoseNet.load(tmp_path / "model", precision="float32")
    image = noise(96, 128, seed=4)
    for a, b in zip(model.predict(image), loaded.predict(image), strict=True):
        np.testing.assert_allclose(a.keypoints, b.keypoints, atol=1e-4)
    write_image(tmp_path / "noise.png", image)
    places = [tmp_path / "noise.png", "--model", tmp_path / "model", "--output", tmp_path / "out"]
    assert demo.main([str(place) for place in places]) == 0
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_dev_results_are_what_the_server_takes(model, synthetic_coco, tmp_path):
    """From image_info_test-dev2017.json alone to a JSON and its zip that pycocotools accepts for those images."""
    model.save(tmp_path / "model")
    coco = tmp_path / "coco"
    (coco / "annotations").mkdir(parents=True)
    (coco / "test2017").symlink_to(synthetic_coco / "test2017")
    info = json.loads((synthetic_coco / "annotations" / "image_info_test-dev2017.json").read_text())
    (coco / "annotations" / "image_info_test-dev2017.json").write_text(json.dumps(info))
    arguments = ["--coco", coco, "--model", tmp_path / "model", "--split", "test-dev", "--output", tmp_path / "out"]
    metrics = tmp_path / "metrics.json"
    evaluate.main([str(argument) for argument in [*arguments, "--name", "mine", "--metrics", metrics]])
    assert list(json.loads(metrics.read_text())) == ["settings"]
    path = tmp_path / "out" / "person_keypoints_test-dev2017_mine_results.json"
    truth = COCO()
    truth.dataset = {**info, "annotations": [], "info": {}}
    truth.createIndex()
    results = truth.loadRes(str(path))
    assert set(results.getImgIds()) <= {image["id"] for image in info["images"]} and results.getAnnIds()
    with zipfile.ZipFile(path.with_suffix(".zip")) as archive:
        assert json.loads(archive.read(path.name)) == json.loads(path.read_text())


def test_bfloat16_finds_the_same_people(model, networks):
    image = noise(96, 128, seed=5)
    exact, rounded = model.detect(image), MultiPoseNet(networks, precision="bfloat16").detect(image)
    assert rounded.box_scores[:5] == pytest.approx(exact.box_scores[:5], abs=0.05)


def test_unknown_choices_are_named(networks):
    with pytest.raises(UserError, match="'int4'"):
        MultiPoseNet(networks, precision="int4")
    with pytest.raises(UserError, match="'magic'"):
        MultiPoseNet(networks, grouping="magic")
    with pytest.raises(UserError, match="prn_assignment must be one of greedy, optimal, not 'random'"):
        MultiPoseNet(networks, assignment="random")
    with pytest.raises(UserError, match="image_size"):
        MultiPoseNet(networks, image_size=(8, 8))
