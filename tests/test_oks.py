"""Object keypoint similarity by hand and by pycocotools, and the suppression of poses by it."""

import contextlib
import io
import time

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mpn.inference.ensemble import oks_nms
from mpn.oks import SILHOUETTE_SHARE, keypoint_similarities
from mpn.people import Person
from mpn.skeleton import OKS_SIGMAS


def pose(x=100.0, y=100.0, size=80.0, seed=0, confidence=0.9):
    """(17, 3) keypoints scattered over a square around a place."""
    places = np.random.default_rng(seed).uniform(-size / 2, size / 2, (17, 2)) + (x, y)
    return np.concatenate([places, np.full((17, 1), confidence)], axis=1).astype(np.float32)


def person(keypoints, score=0.5, side=80.0):
    middle = keypoints[:, :2].mean(axis=0)
    return Person(np.concatenate([middle - side / 2, middle + side / 2]).astype(np.float32), 0.9, keypoints, score)


def oks(truth, found, areas):
    """(N, M): OKS of N labelled poses, (N, 17, 3), with M others; areas are those of the N."""
    truth, found = np.asarray(truth), np.asarray(found)
    similarities = keypoint_similarities(found[None, ..., :2], truth[:, None, :, :2], np.reshape(areas, (-1, 1)))
    counted = truth[..., 2] > 0
    return np.einsum("nmk,nk->nm", similarities, counted) / np.maximum(counted.sum(axis=1), 1)[:, None]


def displaced(keypoints, similarity, area, joints=slice(None)):
    """The pose with some joints moved so far that each has an OKS of its own of `similarity`."""
    moved = keypoints.copy()
    distances = 2 * OKS_SIGMAS * np.sqrt(-2 * np.log(similarity) * area)
    # In a direction of their own each.
    angles = np.arange(17)
    moved[joints, 0] += (distances * np.cos(angles))[joints]
    moved[joints, 1] += (distances * np.sin(angles))[joints]
    return moved


def test_values_worked_out_by_hand():
    truth = np.zeros((2, 17, 3))
    truth[0, 0] = 10, 20, 2  # a nose alone
    truth[1, [0, 5]] = (10, 20, 1), (30, 40, 2)  # and a shoulder
    found = np.zeros((3, 17, 2))
    found[0, 0], found[0, 5] = (10, 20), (30, 40)
    found[1, 0], found[1, 5] = (13, 24), (30, 40)  # the nose 5 pixels off
    found[2, 0], found[2, 5] = (10, 20), (36, 48)  # the shoulder 10 pixels off
    # d^2 / (2 area (2 sigma)^2) with sigma .026 and .079.
    nose_400, nose_900 = (np.exp(-25 / (2 * area * 0.052**2)) for area in (400, 900))
    shoulder = np.exp(-100 / (2 * 900 * 0.158**2))
    expected = [[1, nose_400, 1], [1, (nose_900 + 1) / 2, (1 + shoulder) / 2]]
    assert (nose_400, nose_900, shoulder) == pytest.approx((9.57e-6, 0.00588, 0.108), rel=0.01)
    np.testing.assert_allclose(oks(truth, found, [400, 900]), expected, rtol=1e-4)


def test_pycocotools_says_the_same():
    rng = np.random.default_rng(1)
    truth = np.stack([pose(*rng.uniform(50, 150, 2), seed=seed) for seed in range(6)]).astype(np.float64)
    truth[..., 2] = rng.integers(0, 3, (6, 17))
    truth[0, :, 2] = 2
    areas = rng.uniform(500, 5000, 6)
    found = np.concatenate([truth + rng.normal(0, spread, truth.shape) for spread in (1, 4, 10)])
    coco = COCO()
    coco.dataset = {
        "info": {},
        "images": [{"id": 1, "width": 300, "height": 300}],
        "categories": [{"id": 1, "name": "person"}],
        "annotations": [
            {
                "id": number + 1,
                "image_id": 1,
                "category_id": 1,
                "iscrowd": 0,
                "area": float(areas[number]),
                "bbox": [0, 0, 100, 100],
                "keypoints": truth[number].ravel().tolist(),
                "num_keypoints": int((truth[number, :, 2] > 0).sum()),
            }
            for number in range(6)
        ],
    }
    results = [
        {"image_id": 1, "category_id": 1, "keypoints": keypoints.ravel().tolist(), "score": 1 - number / 100}
        for number, keypoints in enumerate(found)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(results), "keypoints")
        evaluation.params.imgIds = [1]
        evaluation._prepare()
        expected = evaluation.computeOks(1, 1)  # (detections, ground truths), detections by score
    assert expected.shape == (18, 6) and 0 < np.median(expected) < 0.9
    np.testing.assert_allclose(oks(truth, found, areas), expected.T, atol=1e-5)


def test_the_better_of_two_equal_poses_stays():
    first, second, other = person(pose(), 0.5), person(pose() + (1, 0, 0), 0.8), person(pose(x=300), 0.6)
    assert oks_nms([first, second, other], 0.5) == [second, other]
    assert oks_nms([], 0.5) == []
    equal = [person(pose(), 0.5), person(pose(), 0.5)]
    assert oks_nms(equal, 0.5)[0] is equal[0]


def test_what_is_dropped_drops_nobody():
    """Greedy: the middle pose goes to the best, and the third, which only the middle resembles, stays."""
    area = 80**2 * SILHOUETTE_SHARE
    middle = pose()
    best, third = displaced(middle, 0.6, area), middle.copy()
    third[:, :2] -= best[:, :2] - middle[:, :2]  # as far to the other side: e^(-4 d^2) = 0.6^4
    people = [person(third, 0.3), person(middle, 0.6), person(best, 0.9)]
    # Boxes are around the keypoints' mean, but all of one size.
    values = oks(*[np.stack([p.keypoints for p in people])] * 2, [area] * 3)
    np.testing.assert_allclose(values, [[1, 0.6, 0.6**4], [0.6, 1, 0.6], [0.6**4, 0.6, 1]], atol=1e-4)
    assert oks_nms(people, 0.5) == [people[2], people[0]]
    assert oks_nms(people, 0.61) == [people[2], people[1], people[0]]
    assert oks_nms(people, 0.12) == [people[2]]


def test_guesses_do_not_count():
    part, whole = pose(), pose()
    part[6:, 2] = 0.05  # six joints found, and the others guessed elsewhere
    part[6:, :2] += 60
    assert len(oks_nms([person(part, 0.9), person(whole, 0.5)], 0.9)) == 1
    assert len(oks_nms([person(part, 0.5), person(whole, 0.9)], 0.9)) == 1
    whole[8:, :2] -= 60  # two joints more than that are elsewhere in one of both: they do not count either
    assert len(oks_nms([person(part, 0.9), person(whole, 0.5)], 0.9)) == 1
    part[6, 2] = 0.06  # but one of them, found, does
    assert len(oks_nms([person(part, 0.9), person(whole, 0.5)], 0.9)) == 2
    # Where no joint was found twice, all count.
    part, whole = pose(), pose()
    part[6:, 2], whole[:6, 2] = 0.05, 0.05
    assert len(oks_nms([person(part, 0.9), person(whole, 0.5)], 0.9)) == 1
    whole[6:8, :2] += 60
    assert len(oks_nms([person(part, 0.9), person(whole, 0.5)], 0.9)) == 2


def test_the_area_is_that_of_the_better_box():
    keypoints = pose()
    for side, similarity in ((80, 0.55), (160, 0.55**0.25), (40, 0.55**4)):
        people = [
            person(keypoints, 0.9, side),
            person(displaced(keypoints, 0.55, 80**2 * SILHOUETTE_SHARE), 0.5, 80),
        ]
        assert len(oks_nms(people, similarity - 0.01)) == 1
        assert len(oks_nms(people, similarity + 0.01)) == 2


@pytest.mark.parametrize("shift", [(6, 0), (-6, 0), (0, 6), (0, -6)])
def test_poses_need_not_overlap(shift):
    """All joints within a pixel, in a large box: six pixels apart is near, in whichever direction."""
    area = 80**2 * SILHOUETTE_SHARE
    dot = pose(size=1.0)
    moved = dot + (*shift, 0)
    similarity = np.exp(-36 / (2 * area * (2 * OKS_SIGMAS) ** 2)).mean()
    assert 0.3 < similarity < 0.9
    assert len(oks_nms([person(dot, 0.9), person(moved, 0.5)], similarity - 0.001)) == 1
    assert len(oks_nms([person(dot, 0.9), person(moved, 0.5)], similarity + 0.001)) == 2


def test_many_are_handled_as_few():
    """Against the definition."""
    rng = np.random.default_rng(2)
    base = [pose(*rng.uniform(0, 400, 2), seed=seed) for seed in range(40)]
    people = [
        person(base[rng.integers(40)] + rng.normal(0, 2, (17, 3)) * (1, 1, 0), rng.random(), rng.uniform(60, 100))
        for _ in range(200)
    ]
    for threshold in (0.05, 0.4, 0.7, 1.0):
        expected = []
        for one in sorted(people, key=lambda p: -p.score):
            areas = [(p.box[2] - p.box[0]) ** 2 * SILHOUETTE_SHARE for p in expected]
            if not expected or oks([p.keypoints for p in expected], [one.keypoints], areas).max() <= threshold:
                expected.append(one)
        assert oks_nms(people, threshold) == expected
        assert (len(expected) == 200) == (threshold == 1) and len(expected) > 20, len(expected)


def test_a_thousand_candidates_take_milliseconds():
    rng = np.random.default_rng(3)
    places = rng.uniform(0, 640, (50, 2))
    people = [person(pose(*places[i % 50] + rng.normal(0, 1, 2), seed=i % 50), rng.random()) for i in range(1000)]
    seconds = []
    for _ in range(5):
        start = time.process_time()
        kept = oks_nms(people, 0.7)
        seconds.append(time.process_time() - start)
    assert 50 <= len(kept) < 100
    assert min(seconds) < 0.2  # about 0.004 in truth
