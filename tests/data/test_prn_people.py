"""A trained PRN and the groupings beside it, on people who stand close together."""

import dataclasses

import keras
import numpy as np
import pytest
from pycocotools import mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mpn.config import ModelConfig
from mpn.data.prn import collect_people, prn_dataset
from mpn.errors import UserError
from mpn.evaluation.results import keypoint_results
from mpn.inference import multiposenet
from mpn.inference.multiposenet import Detections, MultiPoseNet
from mpn.models.networks import Networks
from mpn.people import SilhouetteMap
from mpn.training.losses import prn_cross_entropy
from mpn.training.prn import position_prior

# One half of a person of height 1, x to the person's left: eye, ear, shoulder, elbow, wrist, hip, knee, ankle.
HALF = np.array([[3, 6], [6, 7], [13, 20], [20, 36], [22, 50], [9, 52], [10, 74], [10, 96]]) / 100
STICK = np.concatenate([[[0, 0.08]], np.stack([HALF, HALF * (-1, 1)], axis=1).reshape(-1, 2)])
SIGMAS = np.array([26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89]) / 1000


def stick(rng, x, y, height):
    """(17, 2): a person who stands at x with the head at y, facing us or turned away, limbs as it happens."""
    pose = STICK + rng.normal(0, 0.006, STICK.shape)
    pose[7:11] += rng.normal(0, 0.04, (4, 2))
    pose[13:] += rng.normal(0, 0.02, (4, 2))
    return (x, y) + pose * height * (rng.choice([-1, 1]), 1)


def make_pair(make_record, rng, identity):
    """A record of two people, one a sixth of the height beside the other; neither is always the first."""
    height, x = rng.uniform(100, 130), rng.uniform(60, 80)
    beside = x + rng.uniform(0.14, 0.22) * height
    poses = [stick(rng, x, 20, height), stick(rng, beside, rng.uniform(14, 26), height * rng.uniform(0.93, 1.07))]
    described = [
        {
            "box": [*(poses[i].min(axis=0) - 4), *(poses[i].max(axis=0) + 4)],
            "keypoints": {joint: (*place, 2) for joint, place in enumerate(poses[i])},
        }
        for i in rng.permutation(2)
    ]
    return make_record(*described, height=176, identity=identity)


def detections_of(record, rng, heights=(0.5, 1.0)):
    """Detections of everyone in a record; the peaks of each joint are of random height and in random order."""
    count = len(record.boxes)
    order = rng.permuted(np.tile(np.arange(count), (17, 1)), axis=1)
    peaks = np.take_along_axis(record.keypoints[..., :2].transpose(1, 0, 2), order[..., None], axis=1)
    return Detections(
        record.boxes, np.ones(count, np.float32), peaks, rng.uniform(*heights, (17, count)).astype(np.float32)
    )


@pytest.fixture(scope="module")
def pairs(make_record):
    """Pairs that the network below has not seen."""
    rng = np.random.default_rng(1)
    return [make_pair(make_record, rng, identity) for identity in range(1, 61)]


@pytest.fixture(scope="module")
def trained(make_record):
    """Networks whose PRN was trained for some seconds on such pairs, from labels alone."""
    rng = np.random.default_rng(0)
    people = collect_people([make_pair(make_record, rng, identity) for identity in range(300)])
    keras.utils.set_random_seed(0)
    config = ModelConfig(
        prn_nodes=64, prn_pool=4, prn_residual_gain=True, prn_dropout=0.0, prn_window=11, prn_assignment="optimal"
    )
    networks = Networks(config)
    networks.position_prior = position_prior(people, config.prn_margin)
    data = prn_dataset(people, 32, config.prn_margin, jitter=0.05, mirror=0.5, curriculum=False)
    networks.prn.compile(keras.optimizers.Adam(3e-3), prn_cross_entropy, jit_compile=False)
    networks.prn.fit(data, epochs=1, steps_per_epoch=150, shuffle=False, verbose=0)
    return networks


def similarities(records, groups):
    """COCO's OKS of each person with the person whose box it has, and that with the other of a pair."""
    found = []
    for record, people in zip(records, groups, strict=True):
        assert len(people) == 2
        for person in people:
            squares = np.square(person.keypoints[:, :2] - record.keypoints[..., :2]).sum(axis=-1)
            values = np.exp(-squares / (2 * record.areas[:, None] * (2 * SIGMAS) ** 2)).mean(axis=1)
            own = np.abs(record.boxes - person.box).sum(axis=1).argmin()
            found.append((values[own], values[1 - own]))
    return np.array(found)


def average_precision(records, groups):
    """COCO's AP of keypoints, by pycocotools alone."""
    truth = COCO()
    truth.dataset = {"images": [{"id": r.id} for r in records], "categories": [{"id": 1}], "annotations": []}
    for record in records:
        for i, (x1, y1, x2, y2) in enumerate(record.boxes.tolist()):
            truth.dataset["annotations"].append(
                {
                    **{"id": 2 * record.id + i, "image_id": record.id, "category_id": 1, "iscrowd": 0},
                    **{"bbox": [x1, y1, x2 - x1, y2 - y1], "area": float(record.areas[i]), "num_keypoints": 17},
                    "keypoints": (record.keypoints[i] - (0.5, 0.5, 0)).ravel().tolist(),
                }
            )
    truth.dataset["info"] = {}
    truth.createIndex()
    results = [pose for r, people in zip(records, groups, strict=True) for pose in keypoint_results(r.id, people)]
    evaluation = COCOeval(truth, truth.loadRes(results), "keypoints")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation.stats[0]


def test_a_trained_prn_separates_overlapping_people_where_max_fails(trained, pairs):
    corners = [np.concatenate([r.boxes[:, :2], r.boxes[:, 2:] - r.boxes[:, :2]], axis=1).astype(float) for r in pairs]
    overlaps = [mask.iou(boxes[:1], boxes[1:], [0])[0, 0] for boxes in corners]
    assert np.mean(overlaps) > 0.4 and min(overlaps) > 0.25

    def grouped(networks, grouping):
        rng = np.random.default_rng(2)
        model = MultiPoseNet(networks, grouping=grouping, precision="float32")
        return model.group_all([detections_of(record, rng) for record in pairs])

    prn, highest_peaks = grouped(trained, "prn"), grouped(trained, "max")
    own, other = similarities(pairs, prn).T
    assert own.mean() > 0.97 and (own > 0.9).mean() > 0.95 and other.mean() < 0.6
    assert similarities(pairs, highest_peaks)[:, 0].mean() < 0.75
    assert average_precision(pairs, prn) > 0.9 > 0.5 > average_precision(pairs, highest_peaks)
    # It is the training that tells them apart, not that a peak goes to one person only.
    untrained = Networks(trained.config)
    for layer in untrained.prn.layers:
        if isinstance(layer, keras.layers.Dense):
            layer.set_weights([np.zeros_like(weights) for weights in layer.get_weights()])
    assert similarities(pairs, grouped(untrained, "prn"))[:, 0].mean() < 0.9


def test_training_moves_the_gain(trained):
    (gain,) = trained.prn.get_layer("residual_gain").get_weights()
    assert gain.shape == (17,) and (np.abs(gain - 5) > 0.05).all() and len(set(gain.tolist())) > 1


# Grouping

GROUPINGS = ["prn", "prn-argmax", "ucr", "max", "geometric"]


def crowd(rng, people, false_peaks=3, missing=0.15):
    """Detections of people side by side: boxes that are not exact, missing and false peaks, all of other heights.

    Heights go in steps of at least 1 / 2000, so that no two candidates are equal.
    """
    poses = np.stack([stick(rng, 60 + 22 * i, rng.uniform(15, 25), 110) for i in range(people)])
    boxes = np.concatenate([poses.min(axis=1) - 4, poses.max(axis=1) + 4], axis=1)
    peaks = np.concatenate([poses.transpose(1, 0, 2), rng.uniform(20, 160, (17, false_peaks, 2))], axis=1)
    scores = (rng.permutation(peaks[..., 0].size) / peaks[..., 0].size * 0.7 + 0.3).reshape(peaks.shape[:2])
    scores[rng.random(scores.shape) < missing] = 0
    return Detections(
        (boxes + rng.uniform(-4, 4, boxes.shape)).astype(np.float32),
        np.linspace(0.9, 0.5, people, dtype=np.float32),
        peaks.astype(np.float32),
        scores.astype(np.float32),
        SilhouetteMap(np.zeros((4, 4), np.float32), (16, 16)),
    )


def assert_same_people(some, others):
    assert len(some) == len(others)
    for one, other in zip(some, others, strict=True):
        np.testing.assert_array_equal(one.box, other.box)
        assert one.box_score == other.box_score and one.silhouettes is other.silhouettes
        np.testing.assert_allclose(one.keypoints, other.keypoints, rtol=1e-4, atol=1e-4)
        assert one.score == pytest.approx(other.score, rel=1e-4, abs=1e-6)


def by_box(people):
    return sorted(people, key=lambda person: tuple(person.box))


@pytest.mark.parametrize("assignment", ["greedy", "optimal"])
def test_no_peak_is_given_twice(trained, assignment):
    model = MultiPoseNet(trained, precision="float32", assignment=assignment)
    given = contested = 0
    for seed in range(8):
        detections = crowd(np.random.default_rng(seed), 6)
        people = model.group(detections)
        assert len(people) == 6
        for joint in range(17):
            peaks = detections.peaks[joint][detections.peak_scores[joint] > 0]
            contested += len(peaks) < 6
            taken = [tuple(p.keypoints[joint, :2]) for p in people if p.keypoints[joint, 2] > 0.05]
            assert len(set(taken)) == len(taken)
            assert set(taken) <= set(map(tuple, peaks))
            given += len(taken)
    assert given > 0.5 * 8 * 6 * 17 and contested > 0


def test_geometric_gives_no_peak_twice_and_max_does(trained):
    detections = crowd(np.random.default_rng(0), 6, missing=0.0)
    doubles = {}
    for grouping in ("geometric", "ucr", "max"):
        people = MultiPoseNet(trained, grouping=grouping, precision="float32").group(detections)
        places = [[tuple(p.keypoints[joint, :2]) for p in people if p.keypoints[joint, 2] > 0] for joint in range(17)]
        doubles[grouping] = sum(len(taken) - len(set(taken)) for taken in places)
    assert doubles["geometric"] == 0 and doubles["max"] > 17 and doubles["ucr"] > 0


@pytest.mark.parametrize("assignment", ["greedy", "optimal"])
@pytest.mark.parametrize("grouping", GROUPINGS)
def test_people_do_not_depend_on_the_order_of_boxes_or_peaks(trained, grouping, assignment):
    model = MultiPoseNet(trained, grouping=grouping, precision="float32", assignment=assignment)
    for seed in range(3):
        rng = np.random.default_rng(seed)
        detections = crowd(rng, 5)
        expected = model.group(detections)
        assert [p.score for p in expected] == sorted((p.score for p in expected), reverse=True)
        for _ in range(3):
            boxes = rng.permutation(5)
            peaks = rng.permuted(np.tile(np.arange(8), (17, 1)), axis=1)  # each joint's in an order of its own
            shuffled = dataclasses.replace(
                detections,
                boxes=detections.boxes[boxes],
                box_scores=detections.box_scores[boxes],
                peaks=np.take_along_axis(detections.peaks, peaks[..., None], axis=1),
                peak_scores=np.take_along_axis(detections.peak_scores, peaks, axis=1),
            )
            assert_same_people(by_box(model.group(shuffled)), by_box(expected))


def several():
    """Detections with many, few and no people and peaks."""
    sizes = [(0, 0), (3, 4), (2, 0), (1, 1), (0, 5), (6, 20), (1, 0), (4, 3)]
    found = []
    for seed, (people, false_peaks) in enumerate(sizes):
        detections = crowd(np.random.default_rng(seed), max(people, 1), false_peaks)
        boxes = slice(0, people)
        peaks = slice(0, 0) if false_peaks == 0 else slice(None)
        found.append(
            dataclasses.replace(
                detections,
                boxes=detections.boxes[boxes],
                box_scores=detections.box_scores[boxes],
                peaks=detections.peaks[:, peaks],
                peak_scores=detections.peak_scores[:, peaks],
            )
        )
    return found


@pytest.mark.parametrize("at_a_time", [256, 5, 1])
@pytest.mark.parametrize("grouping", GROUPINGS)
def test_images_together_are_as_each_on_its_own(trained, grouping, at_a_time, monkeypatch):
    monkeypatch.setattr(multiposenet, "BOXES_AT_A_TIME", at_a_time)
    model = MultiPoseNet(trained, grouping=grouping, precision="float32")
    images = several()
    together = model.group_all(images)
    assert [len(people) for people in together] == [0, 3, 2, 1, 0, 6, 1, 4]
    for people, detections in zip(together, images, strict=True):
        assert_same_people(people, model.group(detections))
        assert all(person.silhouettes is detections.silhouettes for person in people)
    for people in (together[2], together[6]):  # without peaks there is nothing but guesses
        assert all((person.keypoints[:, 2] <= 0.05).all() or grouping == "prn-argmax" for person in people)


def test_images_share_batches_of_so_many_boxes(trained, monkeypatch):
    monkeypatch.setattr(multiposenet, "BOXES_AT_A_TIME", 5)
    model = MultiPoseNet(trained, grouping="max", precision="float32")
    graph, sizes = model._group_graph, []
    model.__dict__["_group_graph"] = lambda *inputs: sizes.append(len(inputs[2])) or graph(*inputs)
    model.group_all(several())
    assert sizes == [5, 1, 6, 5]  # of 0, 3, 2 | 1, 0 | 6 | 1, 4 boxes


@pytest.mark.parametrize("grouping", GROUPINGS)
def test_nobody_and_nothing(trained, grouping):
    model = MultiPoseNet(trained, grouping=grouping, precision="float32")
    assert model.group_all([]) == []
    detections = several()
    assert model.group(detections[0]) == model.group(detections[4]) == []
    assert model.group_all([detections[0], detections[4], detections[0]]) == [[], [], []]


@pytest.mark.parametrize("grouping", ["prn", "ucr", "max", "geometric"])
def test_someone_alone_has_all_the_peaks(trained, make_record, grouping):
    rng = np.random.default_rng(3)
    pose = stick(rng, 70, 20, 110)
    box = np.concatenate([pose.min(axis=0) - 4, pose.max(axis=0) + 4])
    record = make_record({"box": box, "keypoints": {k: (*place, 2) for k, place in enumerate(pose)}})
    detections = detections_of(record, rng)
    (person,) = MultiPoseNet(trained, grouping=grouping, precision="float32").group(detections)
    np.testing.assert_array_equal(person.box, record.boxes[0])
    np.testing.assert_array_equal(person.keypoints[:, :2], record.keypoints[0, :, :2])
    assert (person.keypoints[:, 2] <= detections.peak_scores[:, 0] + 1e-5).all()
    assert person.score == pytest.approx(person.keypoints[:, 2].mean(), rel=1e-4)


@pytest.mark.parametrize("grouping", GROUPINGS)
def test_a_box_without_area_gives_numbers(trained, grouping):
    detections = crowd(np.random.default_rng(0), 3)
    boxes = detections.boxes.copy()
    boxes[1] = boxes[1, [0, 1, 0, 3]]
    boxes[2, 2:] = boxes[2, :2]
    detections.peaks[3, 0], detections.peaks[4, 1] = boxes[1, :2], boxes[2, :2]  # 0 / 0 shares of the box
    detections.peak_scores[3:5] = 0.8
    people = MultiPoseNet(trained, grouping=grouping, precision="float32").group(
        dataclasses.replace(detections, boxes=boxes)
    )
    assert len(people) == 3
    for person in people:
        assert np.isfinite(person.keypoints).all() and 0 <= person.score <= 1


def test_the_window_reaches_the_grouping(trained):
    """In a window that covers the grid a peak collects everything, and its confidence is its height."""
    detections = crowd(np.random.default_rng(0), 1, false_peaks=0, missing=0)
    assert MultiPoseNet(trained).config.prn_window == 11
    (whole,) = MultiPoseNet(trained, precision="float32", window=113).group(detections)
    np.testing.assert_allclose(whole.keypoints[:, 2], detections.peak_scores[:, 0], rtol=1e-3)
    (cell,) = MultiPoseNet(trained, precision="float32", window=1).group(detections)
    assert (cell.keypoints[:, 2] < 0.8 * detections.peak_scores[:, 0]).all()
    assert cell.keypoints[:, 2].max() > 0


def test_the_assignment_reaches_the_grouping(trained):
    greedy = MultiPoseNet(trained, assignment="greedy")
    assert (greedy.assignment, MultiPoseNet(trained).assignment) == ("greedy", "optimal")
    assert trained.config.prn_assignment == "optimal"
    for grouping, expected in (("max", "independent"), ("ucr", "independent"), ("geometric", "optimal")):
        assert MultiPoseNet(trained, grouping=grouping, assignment="greedy").assignment == expected
    with pytest.raises(UserError, match="prn_assignment"):
        MultiPoseNet(trained, assignment="magic")
    with pytest.raises(UserError, match="prn_window"):
        MultiPoseNet(trained, window=4)
