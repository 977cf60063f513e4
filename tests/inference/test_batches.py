"""Several images that go through the network together, and networks in half precision as on a GPU."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tiny_networks import NARROW, sees_something

from mpn import MultiPoseNet
from mpn.inference import multiposenet
from mpn.inference.ensemble import Ensemble
from mpn.inference.refiner import Refined
from mpn.inference.views import Augmentation
from mpn.models.networks import Networks
from mpn.people import Person, SilhouetteMap
from mpn.precision import network_dtype_policy

# Inputs of 96 x 128 and 128 x 96, not in order.
SHAPES = ((96, 128), (128, 96), (192, 250), (48, 64), (120, 90))


def images():
    return [np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8) for seed, shape in enumerate(SHAPES)]


@pytest.fixture(scope="module")
def networks(small_backbone):
    keras.utils.set_random_seed(0)  # with some weights, rounding moves a peak to another cell of the PRN
    return sees_something(Networks(NARROW))


@pytest.fixture(scope="module")
def model(networks):
    return MultiPoseNet(networks, precision="float32")


def assert_close(one, other):
    assert one.boxes.shape == other.boxes.shape and one.peaks.shape == other.peaks.shape
    assert len(one.boxes) > 0 and one.peak_scores.max() > 0
    for field in ("boxes", "peaks"):
        np.testing.assert_allclose(getattr(one, field), getattr(other, field), atol=1e-2)
    for field in ("box_scores", "peak_scores"):
        np.testing.assert_allclose(getattr(one, field), getattr(other, field), atol=1e-4)
    np.testing.assert_allclose(one.silhouettes.values, other.silhouettes.values, atol=1e-4)
    assert one.silhouettes.image_size == other.silhouettes.image_size


def test_detections_of_a_batch_are_those_of_each_image(model, monkeypatch):
    batches, graph = [], model._batch_graph
    monkeypatch.setitem(model.__dict__, "_batch_graph", lambda padded: batches.append(padded.shape) or graph(padded))
    found = model.detect_all(images())
    assert sorted(map(tuple, batches)) == [(2, 128, 96, 3), (3, 96, 128, 3)]
    for detections, image in zip(found, images(), strict=True):
        assert_close(detections, model.detect(image))


@pytest.mark.parametrize("grouping", ["prn", "prn-crop"])
def test_people_of_a_batch_are_those_of_each_image(networks, grouping):
    model = MultiPoseNet(networks, precision="float32", grouping=grouping)
    for (people, silhouettes), image in zip(model.predict_all(images()), images(), strict=True):
        expected = model.predict(image)
        assert len(people) == len(expected) > 0
        for one, other in zip(people, expected, strict=True):
            np.testing.assert_allclose(one.keypoints, other.keypoints, atol=1e-2)
            assert one.score == pytest.approx(other.score, abs=1e-4)
            assert one.silhouettes is silhouettes


def test_images_with_several_views_go_through_the_network_one_by_one(networks, monkeypatch):
    model = MultiPoseNet(networks, precision="float32", augmentation=Augmentation(mirror=True))
    monkeypatch.setattr(model, "detect", lambda image: image.shape)
    assert model.detect_all(images()) == [image.shape for image in images()]


class Fake:
    """Stands in for a MultiPoseNet: finds somebody in the middle of each image, and a silhouette of one value."""

    def __init__(self, score):
        self.score = score

    def predict(self, image, with_silhouettes):
        height, width = image.shape[:2]
        centre = np.float32([[width / 2, height / 2, 0.9]] * 17)
        silhouettes = SilhouetteMap(np.full((24, 32), self.score, np.float32), (height, width), (0.25, 0.25))
        return [Person(np.float32([0, 0, width, height]), 0.9, centre, self.score, silhouettes)], silhouettes

    def predict_all(self, images):
        return [self.predict(image, True) for image in images]


class Shifting:
    """Stands in for a Refiner: moves everybody by one pixel and as far as the image is high."""

    def refine(self, image, people):
        step = np.float32([1, image.shape[0], 0])
        return [Person(p.box, p.box_score, p.keypoints + step, p.score, p.silhouettes) for p in people]


@pytest.mark.parametrize("kind", ["ensemble", "refined"])
def test_models_of_models_take_batches(kind):
    outer = Ensemble([Fake(0.4), Fake(0.6)]) if kind == "ensemble" else Refined(Fake(0.4), Shifting(), least_score=0.1)
    for (people, silhouettes), image in zip(outer.predict_all(images()), images(), strict=True):
        expected, expected_silhouettes = outer.predict(image, with_silhouettes=True)
        assert len(people) == len(expected) == 1
        np.testing.assert_array_equal(people[0].keypoints, expected[0].keypoints)
        np.testing.assert_array_equal(silhouettes.values, expected_silhouettes.values)
        assert people[0].score == (0.6 if kind == "ensemble" else 0.4)


@pytest.mark.parametrize(("capability", "dtype"), [((8, 0), "bfloat16"), ((7, 5), "float16")])
def test_networks_in_half_precision_see_the_same(model, monkeypatch, capability, dtype):
    """The arithmetic of a GPU, on the processor: only the devices that TensorFlow names are made up."""
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: ["GPU:0"])
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda gpu: {"compute_capability": capability})
    with network_dtype_policy("auto"):
        half = Networks(NARROW)
        half.forward.set_weights(model.networks.forward.get_weights())
        half.prn.set_weights(model.networks.prn.get_weights())
    computed = {layer.compute_dtype for layer in half.backbone.layers if layer.weights}
    assert computed == {dtype}
    rounded = MultiPoseNet(half)
    assert rounded.precision == dtype
    ((people, silhouettes),), ((expected, exact),) = (some.predict_all(images()[:1]) for some in (rounded, model))
    differences = np.abs(silhouettes.values - exact.values)
    assert silhouettes.values.dtype == np.float32 and 0 < differences.max() < 0.02 * np.abs(exact.values).max()
    best, as_good = (max(person.box_score for person in some) for some in (people, expected))
    assert best == pytest.approx(as_good, abs=0.05)
    assert all(np.isfinite(person.keypoints).all() for person in people)


def test_boxes_are_grouped_a_limited_number_at_a_time(model, monkeypatch):
    detected = model.detect_all(images())
    counts = [len(found.boxes) for found in detected]
    monkeypatch.setattr(multiposenet, "BOXES_AT_A_TIME", max(counts))
    batches, run = [], model._group_graph

    def group(positions, scores, boxes):
        batches.append(len(boxes))
        return run(positions, scores, boxes)

    model.__dict__["_group_graph"] = group
    try:
        model.group_all(detected)
    finally:
        model.__dict__["_group_graph"] = run
    assert sum(batches) == sum(counts) > max(counts) and max(batches) <= max(counts)
