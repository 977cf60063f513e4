"""Peaks and boxes from files and from the ground truth."""

import gzip
import json

import numpy as np
import pytest
from coco_people import load_ground_truth
from entries import box, peak, written

from mpn.errors import UserError
from mpn.evaluation.coco import evaluate_keypoints
from mpn.evaluation.results import keypoint_results
from mpn.evaluation.sources import (
    EMPTY,
    BoxesFile,
    PeaksFile,
    box_source,
    keypoint_source,
    with_true_boxes,
    with_true_heatmaps,
    with_true_keypoints,
)
from mpn.inference.grouping import build_people
from mpn.skeleton import KEYPOINTS

# Peaks


def test_peaks_of_a_file_lie_half_a_pixel_further(make_record, tmp_path):
    """COCO counts pixels, and pixel 10 is from 10 to 11 in the continuous coordinates of this project."""
    entries = [
        peak(joint="left_elbow", x=10, y=20, score=0.5),
        peak(joint=7, x=-3, y=0.25, score=1),
        peak(joint="right_ankle", x=100.5, y=7, score=0),
        peak(joint=0, image_id=2, x=1, y=2, score=0.75),
        peak(joint=7, x=5, y=6, score=0.25),
    ]
    source = PeaksFile(written(tmp_path / "peaks.json", entries))
    found = source.add_to(EMPTY, make_record(identity=1))
    assert found.peaks.dtype == found.peak_scores.dtype == np.float32
    assert found.peaks.shape == (17, 3, 2)
    np.testing.assert_array_equal(found.peaks[7], [[10.5, 20.5], [-2.5, 0.75], [5.5, 6.5]])
    np.testing.assert_array_equal(found.peak_scores[7], [0.5, 1, 0.25])
    np.testing.assert_array_equal(found.peaks[16, 0], [101, 7.5])
    assert found.peak_scores.sum() == 1.75  # nothing else is a peak
    other = source.add_to(EMPTY, make_record(identity=2))
    np.testing.assert_array_equal(other.peaks[0], [[1.5, 2.5]])
    np.testing.assert_array_equal(other.peak_scores, np.where(np.arange(17) == 0, 0.75, 0)[:, None])
    nothing = source.add_to(EMPTY, make_record(identity=3))
    assert nothing.peaks.shape == (17, 0, 2) and nothing.peak_scores.shape == (17, 0)


def test_every_joint_has_its_name_and_its_index(make_record, tmp_path):
    names = [peak(joint=name, x=index) for index, name in enumerate(KEYPOINTS)]
    indices = [peak(joint=index, x=index) for index in range(17)]
    record = make_record(identity=1)
    by_name = PeaksFile(written(tmp_path / "names.json", names)).add_to(EMPTY, record)
    by_index = PeaksFile(written(tmp_path / "indices.json", indices)).add_to(EMPTY, record)
    np.testing.assert_array_equal(by_name.peaks[:, 0, 0], np.arange(17) + 0.5)
    np.testing.assert_array_equal(by_index.peaks, by_name.peaks)


def test_peaks_keep_the_boxes(make_record, tmp_path):
    record = make_record({"box": [1, 2, 30, 40], "keypoints": {0: (5, 6, 2)}})
    detections = with_true_boxes(EMPTY, record)
    found = PeaksFile(written(tmp_path / "peaks.json", [peak()])).add_to(detections, record)
    np.testing.assert_array_equal(found.boxes, [[1, 2, 30, 40]])
    np.testing.assert_array_equal(found.box_scores, [1])


def test_files_may_be_compressed(make_record, tmp_path):
    for name, entry in (("peaks", peak()), ("boxes", box())):
        (tmp_path / f"{name}.json.gz").write_bytes(gzip.compress(json.dumps([entry]).encode()))
    record = make_record(identity=1)
    peaks = keypoint_source(str(tmp_path / "peaks.json.gz"), (480, 800))(EMPTY, record)
    np.testing.assert_array_equal(peaks.peaks[0], [[10.5, 20.5]])
    boxes = box_source(str(tmp_path / "boxes.json.gz"))(EMPTY, record)
    np.testing.assert_array_equal(boxes.boxes, [[10, 20, 40, 60]])


@pytest.mark.parametrize(
    "changes",
    [
        {"joint": "elbow"},
        {"joint": 17},
        {"joint": -1},
        {"joint": None},
        {"x": "10"},
        {"x": None},
        {"y": float("nan")},
        {"score": float("inf")},
        {"score": 1.01},
        {"score": -0.01},
    ],
)
def test_a_bad_peak_is_named(tmp_path, changes):
    path = written(tmp_path / "peaks.json", [peak(), peak(), peak(**changes)])
    with pytest.raises(UserError, match=r"entry 2 of .*peaks\.json"):
        PeaksFile(path)


@pytest.mark.parametrize("missing", ["image_id", "joint", "x", "y", "score"])
def test_a_peak_without_a_field_is_named(tmp_path, missing):
    entry = peak()
    del entry[missing]
    with pytest.raises(UserError, match=rf"entry 1 of .*{missing}"):
        PeaksFile(written(tmp_path / "peaks.json", [peak(), entry]))


# Boxes


def test_boxes_of_a_file_come_best_first(make_record, tmp_path):
    entries = [
        box(bbox=[10, 20, 30, 40], score=0.25),
        box(bbox=[1, 2, 3.5, 4], score=0.75),
        box(bbox=[0, 0, 9, 9], score=0.99, category_id=2),
        box(bbox=[5, 5, 0, 9], score=0.9),
        box(bbox=[5, 5, 9, -1], score=0.9),
        box(bbox=[7, 7, 7, 7], score=0.5, image_id=2),
        box(bbox=[2, 2, 2, 2], score=0.75),
    ]
    source = BoxesFile(written(tmp_path / "boxes.json", entries))
    found = source.add_to(EMPTY, make_record(identity=1))
    assert found.boxes.dtype == found.box_scores.dtype == np.float32
    np.testing.assert_array_equal(found.boxes, [[1, 2, 4.5, 6], [2, 2, 4, 4], [10, 20, 40, 60]])
    np.testing.assert_array_equal(found.box_scores, [0.75, 0.75, 0.25])
    np.testing.assert_array_equal(source.add_to(EMPTY, make_record(identity=2)).boxes, [[7, 7, 14, 14]])
    nothing = source.add_to(EMPTY, make_record(identity=3))
    assert nothing.boxes.shape == (0, 4) and nothing.box_scores.shape == (0,)


def test_an_image_whose_boxes_have_no_area_has_nobody_in_it(make_record, tmp_path):
    path = written(tmp_path / "boxes.json", [box(bbox=[5, 5, 0, 9]), box(category_id=2)])
    assert box_source(path, [1])(EMPTY, make_record(identity=1)).boxes.shape == (0, 4)


def test_boxes_keep_the_peaks(make_record, tmp_path):
    record = make_record({"box": [1, 2, 30, 40], "keypoints": {3: (5, 6, 2)}})
    detections = with_true_keypoints(EMPTY, record)
    found = BoxesFile(written(tmp_path / "boxes.json", [box()])).add_to(detections, record)
    np.testing.assert_array_equal(found.peaks[3], [[5, 6]])
    np.testing.assert_array_equal(found.peak_scores[3], [1])


@pytest.mark.parametrize(
    "changes",
    [
        {"bbox": [1, 2, 3]},
        {"bbox": [1, 2, 3, 4, 5]},
        {"bbox": [1, 2, 3, "4"]},
        {"bbox": [1, 2, float("inf"), 4]},
        {"bbox": "1234"},
        {"score": None},
        {"score": float("nan")},
    ],
)
def test_a_bad_box_is_named(tmp_path, changes):
    path = written(tmp_path / "boxes.json", [box(), box(**changes)])
    with pytest.raises(UserError, match=r"entry 1 of .*boxes\.json"):
        BoxesFile(path)


@pytest.mark.parametrize("missing", ["image_id", "category_id", "bbox", "score"])
def test_a_box_without_a_field_is_named(tmp_path, missing):
    entry = box()
    del entry[missing]
    with pytest.raises(UserError, match=rf"entry 0 of .*{missing}"):
        BoxesFile(written(tmp_path / "boxes.json", [entry]))


@pytest.mark.parametrize("kind", [PeaksFile, BoxesFile])
def test_what_is_no_list_of_entries_is_refused(tmp_path, kind):
    with pytest.raises(UserError, match="not a JSON list"):
        kind(written(tmp_path / "dict.json", {"annotations": []}))
    with pytest.raises(UserError, match="entry 0"):
        kind(written(tmp_path / "numbers.json", [3]))
    (tmp_path / "broken.json").write_text("[")
    with pytest.raises(UserError, match="broken.json"):
        kind(str(tmp_path / "broken.json"))
    with pytest.raises(UserError, match="nowhere.json"):
        kind(str(tmp_path / "nowhere.json"))


# Which source it is


def test_sources_have_names(tmp_path):
    assert keypoint_source("network", (480, 800)) is box_source("network") is None
    assert keypoint_source("ground-truth", (480, 800)) is with_true_keypoints
    assert box_source("ground-truth") is with_true_boxes
    with pytest.raises(UserError, match="^keypoints must be .*ground-truth-heatmaps.*, and ground_truth is neither"):
        keypoint_source("ground_truth", (480, 800))
    with pytest.raises(UserError, match="^boxes must be .*, and ground-truth-heatmaps is neither"):
        box_source("ground-truth-heatmaps")


def test_heatmaps_are_at_the_size_asked_for(make_record):
    """At a quarter of the size two noses 12 pixels apart are one peak."""
    people = [{"box": [20, 20, 90, 140], "keypoints": {0: (x, 60, 2)}} for x in (50, 62)]
    record = make_record(*people)
    counts = []
    for size in ((144, 192), (36, 48)):
        found = keypoint_source("ground-truth-heatmaps", size)(EMPTY, record)
        np.testing.assert_array_equal(found.peak_scores, with_true_heatmaps(EMPTY, record, image_size=size).peak_scores)
        counts.append((found.peak_scores[0] > 0).sum())
    assert counts == [2, 1]


# The ground truth


def crowded(make_record, identity, people=4):
    """People who stand so close that every joint of each lies in everyone's box."""
    boxes = [[20 + 3 * i, 10, 120 + 3 * i, 130] for i in range(people)]
    described = [
        {"box": b, "keypoints": {k: (b[0] + 40 + k, b[1] + 20 + 4 * k + i, 2) for k in range(17)}}
        for i, b in enumerate(boxes)
    ]
    return make_record(*described, identity=identity)


def test_true_peaks_are_everyones_keypoints(make_record):
    record = make_record(
        {"box": [10, 10, 60, 120], "keypoints": {0: (20, 30, 2), 5: (25, 40, 1)}},
        {"box": [30, 10, 90, 120], "keypoints": {0: (50, 32, 2)}},
        {"box": [0, 0, 192, 144], "keypoints": {0: (99, 99, 2)}, "crowd": True},
        {"box": [70, 10, 90, 120]},
    )
    found = with_true_keypoints(EMPTY, record)
    assert found.peaks.shape == (17, 2, 2)

    def peaks_of(joint):
        return sorted(map(tuple, found.peaks[joint][found.peak_scores[joint] > 0].tolist()))

    assert peaks_of(0) == [(20, 30), (50, 32)] and peaks_of(5) == [(25, 40)]
    assert found.peak_scores.sum() == 3 and found.peak_scores.max() == 1
    boxes = with_true_boxes(EMPTY, record)
    np.testing.assert_array_equal(boxes.boxes, [[10, 10, 60, 120], [30, 10, 90, 120]])
    np.testing.assert_array_equal(boxes.box_scores, [1, 1])


def test_the_order_of_true_peaks_does_not_give_their_owners_away(make_record):
    """What takes peak i for box i, or any other peak by its number, is right about one time in four."""
    right = []
    for identity in range(300):
        record = crowded(make_record, identity)
        peaks = with_true_keypoints(EMPTY, record).peaks
        owners = (peaks[0, None] == record.keypoints[:, 0, None, :2]).all(axis=-1)
        assert (owners.sum(axis=0) == 1).all() and (owners.sum(axis=1) == 1).all()
        right.append(owners)
    np.testing.assert_allclose(np.mean(right, axis=0), 0.25, atol=0.1)


def test_taking_peak_i_for_box_i_is_not_perfect(make_record, tmp_path):
    """By COCO's metric, which asks whether a pose is someone's, not whose box it is reported for."""
    records = [crowded(make_record, identity) for identity in range(1, 41)]
    annotations, poses = [], []
    for record in records:
        for number, (corners, keypoints) in enumerate(zip(record.boxes, record.keypoints, strict=True)):
            x1, y1, x2, y2 = corners.tolist()
            annotations.append(
                {
                    "id": 10 * record.id + number + 1,
                    "image_id": record.id,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": 40.0,  # so small that a neighbour's joint, three pixels further, is no hit
                    "keypoints": (keypoints - (0.5, 0.5, 0)).ravel().tolist(),
                }
            )
        found = with_true_boxes(with_true_keypoints(EMPTY, record), record)
        # A grouping that believes in peak i for box i alone.
        candidates = np.broadcast_to(np.eye(4)[:, None], (4, 17, 4))
        nothing = np.zeros((4, 17, 2)), np.zeros((4, 17))
        poses += keypoint_results(record.id, build_people("max", found, candidates, *nothing))
    images = [{"id": record.id, "width": 192, "height": 144} for record in records]
    truth = load_ground_truth(written(tmp_path / "truth.json", {"images": images, "annotations": annotations}))
    assert evaluate_keypoints(truth, poses, [record.id for record in records])["AP50"] < 0.5


@pytest.mark.parametrize(
    ("kind", "entry", "words"),
    [
        (PeaksFile, {"image_id": 1, "joint": ["nose"], "x": 1, "y": 1, "score": 1}, "joint"),
        (PeaksFile, {"image_id": "1", "joint": "nose", "x": 1, "y": 1, "score": 1}, "image_id '1'"),
        (PeaksFile, {"image_id": 1, "joint": "nose", "x": True, "y": 1, "score": 1}, "3 finite numbers"),
        (PeaksFile, {"image_id": 1, "joint": "nose", "x": 10**400, "y": 1, "score": 1}, "3 finite numbers"),
        (BoxesFile, {"image_id": 1, "category_id": 1, "bbox": None, "score": 1}, "5 finite numbers"),
        (BoxesFile, {"image_id": 1, "category_id": 1, "bbox": [1, 2, 3], "score": 1}, "5 finite numbers"),
        (BoxesFile, {"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, float("nan")], "score": 1}, "5 finite numbers"),
    ],
)
def test_impossible_values_name_the_entry(kind, entry, words, tmp_path):
    path = tmp_path / "file.json"
    path.write_text(json.dumps([entry]))
    with pytest.raises(UserError, match=f"entry 0 of .*{words}"):
        kind(path)


@pytest.mark.parametrize("source", [keypoint_source, box_source])
def test_a_file_for_other_images_is_refused(source, tmp_path):
    entry = {"image_id": 7, "joint": "nose", "x": 1, "y": 1, "score": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}
    path = tmp_path / "file.json"
    path.write_text(json.dumps([entry]))
    size = ((480, 800),) if source is keypoint_source else ()
    source(str(path), *size, [6, 7])
    with pytest.raises(UserError, match=r"file.json has nothing for any of the 2 images"):
        source(str(path), *size, [6, 8])
