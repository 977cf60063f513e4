"""Errors of keypoints, people not found and detections of nobody, all known by construction."""

import os

import numpy as np
import pytest
from coco_people import AREA, annotation, detection, ground_truth, labels, load_ground_truth, moved

from mpn.data.coco import annotation_file, load_annotations
from mpn.evaluation.errors.pose_errors import (
    ERRORS,
    GOOD,
    INVERSION,
    JITTER,
    MISS,
    NOT_LABELLED,
    SWAP,
    count_overlapping,
    diagnose,
    keypoint_errors,
)
from mpn.oks import keypoint_similarities
from mpn.skeleton import KEYPOINTS, OKS_SIGMAS

MPN_COCO = os.environ.get("MPN_COCO")
ELBOWS, WRISTS, KNEES, ANKLES = (7, 8), (9, 10), (13, 14), (15, 16)


@pytest.fixture
def pair():
    """(2, 17, 3): two people who stand far apart."""
    return np.stack([labels(), labels(x=1000)])


def errors_of(found, pair, areas=(AREA, AREA), person=0):
    return keypoint_errors(found[:, :2], pair, np.array(areas), person)


def only(**wrong):
    """Errors that are good but for the joints named."""
    return [wrong.get(name, GOOD) for name in KEYPOINTS]


@pytest.mark.parametrize(
    ("similarity", "error"),
    [(0.99, GOOD), (0.86, GOOD), (0.84, JITTER), (0.51, JITTER), (0.49, MISS), (0.01, MISS)],
)
@pytest.mark.parametrize("joint", [0, 9, 12])
def test_near_the_own_place(pair, joint, similarity, error):
    found = labels()
    found[joint, :2] = moved(found[joint], joint, similarity)
    assert errors_of(found, pair).tolist() == only(**{KEYPOINTS[joint]: error})


def test_the_other_side_of_the_same_person_is_an_inversion(pair):
    found = labels()
    found[list(WRISTS)] = found[list(WRISTS[::-1])]
    found[ELBOWS[0], :2] = moved(labels()[ELBOWS[1]], ELBOWS[1], 0.55)
    expected = only(left_wrist=INVERSION, right_wrist=INVERSION, left_elbow=INVERSION)
    assert errors_of(found, pair).tolist() == expected


def test_another_person_is_a_swap_on_either_side(pair):
    found = labels()
    found[KNEES[0]] = pair[1, KNEES[0]]
    found[ANKLES[0]] = pair[1, ANKLES[1]]
    found[0, :2] = moved(pair[1, 0], 0, 0.55)
    assert errors_of(found, pair).tolist() == only(left_knee=SWAP, left_ankle=SWAP, nose=SWAP)
    # Seen from the other person, whom nothing of this is near, all but these are theirs to swap.
    assert errors_of(found, pair, person=1).tolist() == [
        {0: JITTER, KNEES[0]: GOOD, ANKLES[0]: INVERSION}.get(joint, SWAP) for joint in range(17)
    ]


def test_another_kind_of_joint_is_a_miss(pair):
    found = labels()
    found[11], found[13] = pair[0, 6], pair[1, 5]  # hip at the own shoulder, knee at the other's
    assert errors_of(found, pair).tolist() == only(left_hip=MISS, left_knee=MISS)


def test_what_is_not_labelled_does_not_count_and_attracts_nothing(pair):
    pair[0, [ELBOWS[1], WRISTS[0]], 2] = 0
    pair[1, KNEES[0], 2] = 0
    found = labels()
    found[ELBOWS[0]] = pair[0, ELBOWS[1]]
    found[KNEES[0]] = pair[1, KNEES[0]]
    expected = only(left_wrist=NOT_LABELLED, right_elbow=NOT_LABELLED, left_elbow=MISS, left_knee=MISS)
    assert errors_of(found, pair).tolist() == expected


@pytest.mark.parametrize(("nearer", "error"), [("own mirror", INVERSION), ("other", SWAP)])
def test_of_two_wrong_places_the_nearer_counts(pair, nearer, error):
    left, right = WRISTS
    pair[1, left, :2] = moved(pair[0, right], left, 0.9)
    found = labels()
    found[left] = pair[0, right] if nearer == "own mirror" else pair[1, left]
    assert errors_of(found, pair)[left] == error


def test_the_own_place_comes_before_a_nearer_one_of_somebody_else(pair):
    wrist = WRISTS[0]
    pair[1, wrist, :2] = moved(pair[0, wrist], wrist, 0.6)
    found = labels()
    found[wrist, :2] = pair[1, wrist, :2]
    assert errors_of(found, pair)[wrist] == JITTER


def test_near_is_in_the_scale_of_the_person_whose_place_it_is(pair):
    found = labels()
    found[0, :2] = moved(pair[1, 0], 0, 0.6)
    assert errors_of(found, pair)[0] == SWAP
    assert errors_of(found, pair, areas=(AREA, AREA / 4))[0] == MISS
    found[0, :2] = moved(pair[0, 0], 0, 0.6, area=AREA / 4)
    assert errors_of(found, pair, areas=(AREA / 4, AREA))[0] == JITTER
    assert errors_of(found, pair)[0] == GOOD


def test_similarity_falls_off_as_coco_says():
    truth = np.zeros((17, 2))
    found = truth + (3.0, 4.0)
    expected = [np.exp(-(5.0**2) / (2 * 900 * (2 * sigma) ** 2)) for sigma in OKS_SIGMAS.astype(float)]
    assert keypoint_similarities(found, truth, 900) == pytest.approx(expected)
    assert keypoint_similarities(truth, truth, 0) == pytest.approx(1)


def test_ground_truth_is_good_throughout(synthetic_coco):
    assert_ground_truth_is_good(annotation_file(synthetic_coco, "val"))


@pytest.mark.skipif(not MPN_COCO, reason="MPN_COCO is not set")
def test_ground_truth_is_good_throughout_on_photographs():
    assert_ground_truth_is_good(annotation_file(MPN_COCO, "val"))


def assert_ground_truth_is_good(path):
    truth = load_ground_truth(path)
    people = [a for a in truth.dataset["annotations"] if a["num_keypoints"] and not a["iscrowd"]]
    results = [{"image_id": a["image_id"], "category_id": 1, "keypoints": a["keypoints"], "score": 1.0} for a in people]
    found = diagnose(truth, results, truth.getImgIds())
    assert len(found.matches) == len(people) > 5
    errors = np.stack([match.errors for match in found.matches])
    assert set(errors.ravel()) == {GOOD, NOT_LABELLED}
    assert (errors == GOOD).sum() == sum(a["num_keypoints"] for a in people)
    assert not (found.missed or found.duplicates or found.background or found.ignored)
    assert found.oks == pytest.approx(1)


def test_matches_in_any_order_and_their_oks(synthetic_coco):
    """What errors are made of is what COCO measures: the mean similarity of a match is its OKS."""
    path = annotation_file(synthetic_coco, "val")
    truth, ids = load_ground_truth(path), [record.id for record in load_annotations(path)]
    rng = np.random.default_rng(0)
    people = [a for a in truth.dataset["annotations"] if a["num_keypoints"] and not a["iscrowd"]]
    results = [
        detection(np.reshape(a["keypoints"], (17, 3)) + rng.normal(size=(17, 3)), float(score), a["image_id"])
        for a, score in zip(people, rng.permutation(len(people)) / len(people), strict=True)
    ]
    order = rng.permutation(len(results))
    found = diagnose(truth, [results[i] for i in order], ids)
    assert len(found.matches) == len(people) and not found.missed
    for match in found.matches:
        person = people[order[match.result]]
        assert match.truth.ravel().tolist() == person["keypoints"]
        pose = np.reshape(results[order[match.result]]["keypoints"], (17, 3))
        similarities = keypoint_similarities(pose[:, :2], match.truth[:, :2], person["area"])
        assert similarities[match.truth[:, 2] > 0].mean() == pytest.approx(found.oks[match.result])


def test_people_not_found_and_detections_of_nobody():
    people = [annotation(labels()), annotation(labels(x=1000)), annotation(labels(y=1000), image=2)]
    far, close = labels(x=400, y=1000), labels(x=1000)
    close[:, 0] += 3
    results = [
        detection(far, 0.3),
        detection(close, 0.2),  # of somebody whom a better scored one has
        detection(labels(x=1000), 0.8),
        detection(labels(), 0.9, image=3),  # an image that nobody is in
        detection(labels(y=1000), 0.5, image=2),
    ]
    found = diagnose(ground_truth(*people, images=[3]), results, [1, 2, 3])
    assert sorted(match.result for match in found.matches) == [2, 4]
    assert found.missed == {1: 0}
    assert found.duplicates == [1] and sorted(found.background) == [0, 3] and found.ignored == []
    assert found.oks[[2, 4]] == pytest.approx(1) and 0.1 < found.oks[1] < 1
    assert found.oks[[0, 3]] == pytest.approx(0, abs=1e-6)


def test_crowds_and_people_without_labels_do_not_count():
    bare = labels(x=1000)
    bare[:, 2] = 0
    people = [
        annotation(labels()),
        annotation(bare, box=(1000, 0, 400, 400)),
        annotation(0 * bare, box=(0, 1000, 400, 400), crowd=1),
    ]
    results = [detection(labels(x=1000)), detection(labels(y=1000)), detection(labels(y=1000), 0.1)]
    found = diagnose(ground_truth(*people), results, [1])
    assert sorted(found.ignored) == [0, 1, 2]
    assert found.missed == {1: 0} and not (found.matches or found.duplicates or found.background)
    assert found.oks == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("right", "found"), [(3, True), (1, False)])
def test_people_count_as_found_from_an_oks_of_a_tenth(right, found):
    """3 of 17 keypoints at their places make .18, and 1 of 17 makes .06."""
    pose = labels(x=3000)
    pose[:right] = labels()[:right]
    diagnosis = diagnose(ground_truth(annotation(labels())), [detection(pose)], [1])
    assert len(diagnosis.matches) == found and len(diagnosis.missed) == len(diagnosis.background) == (not found)
    if found:
        assert diagnosis.matches[0].errors.tolist() == [GOOD] * right + [MISS] * (17 - right)


def test_no_results_at_all():
    found = diagnose(ground_truth(annotation(labels()), images=[2]), [], [1, 2])
    assert found.missed == {1: 0} and len(found.oks) == 0
    assert not (found.matches or found.duplicates or found.background or found.ignored)


def test_only_the_images_asked_for_count():
    people = [annotation(labels(), image=1), annotation(labels(), image=2)]
    assert diagnose(ground_truth(*people), [], [2]).missed == {2: 0}


def boxed(box, crowd=0):
    return annotation(labels(), box=box, crowd=crowd)


def test_overlapping_people():
    wide, tenth = (0, 0, 100, 100), (0, 90, 100, 10)  # the second lies inside the first: an IoU of exactly .1
    assert count_overlapping([boxed(wide), boxed(tenth)]).tolist() == [1, 1]
    assert count_overlapping([boxed(wide), boxed((0, 91, 100, 9))]).tolist() == [0, 0]
    assert count_overlapping([boxed(wide), boxed(wide), boxed((500, 0, 9, 9))]).tolist() == [1, 1, 0]
    assert count_overlapping([boxed(wide), boxed(wide, crowd=1)])[0] == 0
    assert count_overlapping([]).tolist() == []


def test_the_number_of_overlapping_people_is_noted():
    people = [annotation(labels()), annotation(labels(x=30)), annotation(labels(x=1000))]
    found = diagnose(ground_truth(*people), [detection(labels()), detection(labels(x=1000))], [1])
    assert [match.overlapping for match in found.matches] == [1, 0] and found.missed == {2: 1}


def test_kinds_have_names():
    assert [ERRORS[kind] for kind in (GOOD, JITTER, INVERSION, SWAP, MISS)] == list(ERRORS)
