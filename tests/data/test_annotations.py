"""The one reader of annotations: what it makes of odd files, and that training and evaluation see the same people."""

import json

import numpy as np
import pytest
from coco_people import load_ground_truth
from entries import written

from mpn.data.annotations import read_annotations
from mpn.data.coco import load_annotations
from mpn.data.person import valid_boxes
from mpn.data.prn import collect_people
from mpn.errors import UserError
from mpn.evaluation.coco import evaluate_boxes, evaluate_keypoints, load_labels
from mpn.evaluation.results import box_results, keypoint_results
from mpn.evaluation.sources import EMPTY, box_source, oracle_people, with_true_boxes, with_true_keypoints
from mpn.skeleton import KEYPOINTS

BOX = [5, 6, 20, 30]
PERSON = {"id": 1, "name": "person"}


def person(**changes):
    keypoints = [value for joint in range(17) for value in (6 + joint, 8 + joint, 2)]
    return {"id": 12, "image_id": 7, "category_id": 1, "bbox": BOX, "area": 400.5, "keypoints": keypoints} | changes


def image(**changes):
    return {"id": 7, "file_name": "7.jpg", "width": 64, "height": 48} | changes


@pytest.fixture
def file(tmp_path):
    """Writes annotations of one image, unless others are given, and gives the file's name."""

    def write(*people, images=None, **fields):
        content = {"images": images or [image()], "annotations": list(people) or [person()], **fields}
        return written(tmp_path / "labels.json", content)

    return write


def perfect_ap(path):
    """APs of keypoints and boxes where the ground truth itself is what was found."""
    records, truth = load_labels(path)
    poses, boxes = [], []
    for record in records:
        people = oracle_people(with_true_boxes(with_true_keypoints(EMPTY, record), record), record)
        poses += keypoint_results(record.id, people)
        boxes += box_results(record.id, people)
    ids = [record.id for record in records]
    return evaluate_keypoints(truth, poses, ids)["AP"], evaluate_boxes(truth, boxes, ids)["AP"]


@pytest.mark.parametrize(
    ("number", "change"),
    [
        (0, {"id": 0}),  # which pycocotools takes for "no match"
        (0, {"id": "a"}),
        (0, {"id": None}),
        (1, {"id": 12}),  # twice
        (0, {"image_id": "7"}),
        (0, {"image_id": 7.0}),
        (0, {"category_id": "1"}),
        (0, {"category_id": None}),
        (0, {"iscrowd": "0"}),
        (0, {"iscrowd": None}),
        (0, {"area": None}),
        (0, {"segmentation": None}),
        (0, {"num_keypoints": None}),
    ],
)
def test_ids_and_absent_fields_do_not_change_what_is_measured(file, number, change):
    far = person(id=13, bbox=[40, 6, 20, 30], keypoints=[v for j in range(17) for v in (41 + j, 8 + j, 2)])
    people = [person(), far]
    people[number] |= change
    assert perfect_ap(file(*people)) == (pytest.approx(1), pytest.approx(1))


@pytest.mark.parametrize("identity", [0, -5, 2**63, 2**64 + 1, 10**30])
def test_ids_of_images_may_be_any_whole_numbers(file, identity):
    images = [image(id=identity), image(id=identity + 1), image(id=2**62)]
    path = file(person(image_id=identity), person(image_id=identity + 1), images=images)
    assert perfect_ap(path) == (pytest.approx(1), pytest.approx(1))
    assert [record.id for record in load_annotations(path)] == [i["id"] for i in images]


@pytest.mark.parametrize("identity", [0, 2, 91, "3"])
def test_people_are_found_by_the_name_of_their_category(file, identity):
    path = file(
        {"id": 3, "image_id": 7, "category_id": 1},  # a car, which may be as malformed as it likes
        person(category_id=identity),
        categories=[{"id": 1, "name": "car"}, {"id": identity, "name": "person"}],
    )
    annotations = read_annotations(path)
    assert annotations.category == int(identity) and annotations.boxes.tolist() == [BOX]
    assert perfect_ap(path) == (pytest.approx(1), pytest.approx(1))


def test_boxes_of_a_file_are_of_the_category_of_the_annotations(tmp_path):
    boxes = [{"image_id": 7, "category_id": number, "bbox": BOX, "score": 0.5} for number in (0, 2, 2)]
    path = written(tmp_path / "boxes.json", boxes)
    record = load_annotations(written(tmp_path / "a.json", {"images": [image()], "annotations": []}))[0]
    assert len(box_source(path, [7], category=2)(EMPTY, record).boxes) == 2
    with pytest.raises(UserError, match="boxes.json has no box of category 1, .* category 0, 2"):
        box_source(path, [7])


def test_keypoints_are_put_into_order_by_name(file):
    names = sorted(KEYPOINTS)
    keypoints = [value for name in names for value in (KEYPOINTS.index(name) + 6, 8, 1)]
    path = file(person(keypoints=keypoints), categories=[PERSON | {"keypoints": names}])
    np.testing.assert_array_equal(read_annotations(path).keypoints[0, :, 0], np.arange(17) + 6)


@pytest.mark.parametrize(
    ("categories", "words"),
    [
        ([{"id": 1, "name": "car"}], "none of its categories is called person, but 'car'"),
        ([PERSON, {"id": 2, "name": "person"}], "cannot be told apart"),
        ([PERSON, {"id": 1, "name": "car"}], "cannot be told apart"),
        ([PERSON | {"keypoints": ["neck", *KEYPOINTS]}], "keypoints other than COCO's 17"),
        ([PERSON | {"keypoints": ["neck", *KEYPOINTS[1:]]}], "keypoints other than COCO's 17"),
        ([PERSON | {"keypoints": 17}], "keypoints other than COCO's 17"),
        ([{"id": "one", "name": "person"}], "category 'one' has the id 'one', not a whole number"),
        ([{"id": 5, "name": "person"}], r"none of its 1 annotations is of category 5 \(person\)"),
        ({"person": 1}, "'categories' are no list"),
        ([3], "number 1 of its 'categories' is 3"),
    ],
)
def test_categories_that_tell_of_no_people_are_refused(file, categories, words):
    with pytest.raises(UserError, match=f"labels.json .*{words}"):
        read_annotations(file(categories=categories))


RLE = {"size": [48, 64], "counts": [100, 50, 48 * 64 - 150]}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"area": float("nan")}, "area nan"),
        ({"area": float("inf")}, "area inf"),
        ({"area": -1}, "area -1.0"),
        ({"area": 705}, "area 705.0, not .*its box has room for"),  # the box has 20 x 30 pixels, or parts of 22 x 32
        ({"area": "400"}, "area '400'"),
        ({"iscrowd": 2}, "iscrowd 2, not 0 or 1"),
        ({"image_id": "seven"}, "image_id 'seven', not a whole number"),
        ({"image_id": True}, "image_id True"),
        ({"image_id": None}, "no 'image_id'"),
        ({"category_id": [1]}, r"category_id \[1\]"),
        ({"bbox": None}, "no 'bbox'"),
        ({"bbox": [1, 2, float("inf"), 4]}, "bbox .*4 finite numbers"),
        ({"bbox": [1, 2, 10**400, 4]}, "bbox .*4 finite numbers"),
        ({"bbox": ["1", 2, 3, 4]}, "bbox .*4 finite numbers"),
        ({"keypoints": [None] * 51}, "keypoints .*51 finite numbers"),
        ({"keypoints": [1, 2, 3] * 17}, "v is not 0, 1 or 2"),
        ({"keypoints": [129, 20, 2] + [0] * 48}, "keypoint that is further outside the image than"),
        ({"keypoints": [0] * 48 + [20, -49, 1]}, "keypoint that is further outside the image than"),
        ({"keypoints": {}}, "keypoints {}"),
        ({"segmentation": RLE | {"size": [64, 48]}}, "RLE for .*64, 48"),
        ({"segmentation": RLE | {"size": [100000, 100000]}}, "RLE for .*100000"),
        ({"segmentation": RLE | {"counts": [100, 50]}}, "RLE with counts for 150 pixels, and its image has 3072"),
        ({"segmentation": RLE | {"counts": [3072] + [0] * 3074}}, "RLE with more counts than its image"),
        ({"segmentation": RLE | {"counts": [-1, 3073]}}, "RLE with counts that are not whole numbers from 0"),
        ({"segmentation": RLE | {"counts": "01`7000000"}}, "RLE with counts"),
        ({"segmentation": {}}, "RLE for "),
    ],
)
def test_impossible_values_name_the_file_and_the_annotation(file, change, words):
    with pytest.raises(UserError, match=f"labels.json .*annotation 12 has .*{words}"):
        read_annotations(file(person(id=11), person(**change)))


@pytest.mark.parametrize(
    ("images", "words"),
    [
        ([image(), image()], "image 7 is listed twice"),
        ([image(), image(id="7")], "image 7 is listed twice"),
        ([image(id="x")], "image 'x' has the id"),
        ([image(id=None)], "image number 1 has no 'id'"),
        ([image(width=0)], "image 7 has the width 0, not 1 to 65535"),
        ([image(height=10**9)], "image 7 has the height 1000000000"),
        ([image(width=60000, height=60000)], "image 7 has more than 160,000,000 pixels"),
        ([image(id=8)], "none of its 1 people is in an image that it lists"),
        ([None], "number 1 of its 'images' is None"),
    ],
)
def test_impossible_images_name_the_file_and_the_image(file, images, words):
    with pytest.raises(UserError, match=f"labels.json .*{words}"):
        read_annotations(file(images=images))


@pytest.mark.parametrize("name", ["../7.jpg", "a/../../7.jpg", "/dev/zero", "", ".", "..", "a\0b", None, 7, ["7.jpg"]])
def test_file_names_stay_inside_the_folder(file, tmp_path, name):
    with pytest.raises(UserError, match="labels.json .*image 7 has the file_name"):
        load_annotations(file(images=[image(file_name=name)]), tmp_path)


@pytest.mark.parametrize(
    "box", [[5, 6, 0, 30], [5, 6, 20, 0], [0, 0, 0, 0], [5, 6, -9, -9], [64, 6, 9, 9], [0, 0, 1e-30, 1e-30]]
)
def test_boxes_without_area_are_left_out_of_everything(file, capsys, box):
    """By all three stages and by the evaluation, and one line says so."""
    path = file(person(bbox=box), person(id=13))
    (record,) = load_annotations(path)
    out = capsys.readouterr().out
    assert (
        "labels.json: 1 of 2 people are left out: their box" in out and "annotation 12" in out and out.count("\n") == 1
    )
    assert record.boxes.tolist() == [[5, 6, 25, 36]] and len(valid_boxes(record)[0]) == 1
    assert len(collect_people([record]).targets) == 1
    assert len(load_ground_truth(path).dataset["annotations"]) == 1


@pytest.mark.parametrize(
    "polygons",
    [
        [[1, 2, 30, 40], [10, 10, 60, 10, 60, 60]],  # four numbers are a box to pycocotools
        [[]],
        [[[10, 10], [20, 10], [20, 20]]],
        [10, 10, 20, 10, 20, 20],
        [[10, 10, 20, 10, 20, 20, 5]],
        [[10, 10, 20, 10, 20, None]],
        [[10, 10, 20, 10, 20, float("nan")]],
        [[10, 10, 1e9, 10, 20, 20]],  # pycocotools walks along the outline pixel by pixel
        "polygon",
    ],
)
def test_malformed_polygons_are_silhouettes_that_nobody_knows(file, capsys, polygons):
    (record,) = load_annotations(file(person(segmentation=polygons), person(id=13, segmentation=[])))
    assert record.segmentations == ([], [])
    out = capsys.readouterr().out
    assert (
        "labels.json: 1 of 2 people have polygons that are not lists of three or more points" in out
        and out.count("\n") == 1
    )


def test_people_of_other_images_are_counted(file, capsys):
    (record,) = load_annotations(file(person(), person(id=13, image_id=8)))
    assert len(record.boxes) == 1
    assert (
        "1 of 2 people are left out: the file does not list their image; the first is annotation 13"
        in capsys.readouterr().out
    )


@pytest.mark.parametrize("category", ["absent", None])
def test_annotations_without_category_are_people(file, capsys, category):
    lone = person(category_id=category)
    if category == "absent":
        del lone["category_id"]
    path = file(lone, person(id=13, category_id=2), categories=[{"id": 1, "name": "car"}, PERSON | {"id": 2}])
    assert len(read_annotations(path).boxes) == 2
    assert capsys.readouterr().out == ""


def test_annotations_of_categories_that_are_not_listed_are_counted(file, capsys):
    people = [person(category_id=number, id=number) for number in (1, 2, 3, 4)]
    assert len(read_annotations(file(*people, categories=[PERSON, {"id": 2, "name": "car"}])).boxes) == 1
    out = capsys.readouterr().out
    assert "2 of 4 annotations are left out: the file does not list their category; the first is annotation 3" in out
    assert out.count("\n") == 1
    assert len(read_annotations(file(*people)).boxes) == 1
    assert capsys.readouterr().out == ""


def test_areas_and_keypoints_have_some_room(file):
    """As pixels at the edge count as a whole, and people go on outside the picture."""
    path = file(person(area=704, keypoints=[128, 96, 2, -64, -48, 1, 1e4, 1e4, 0] + [0] * 42))
    people = read_annotations(path)
    assert people.areas.tolist() == [704]
    assert people.keypoints[0, :3].tolist() == [[128, 96, 2], [-64, -48, 1], [0, 0, 0]]


@pytest.mark.parametrize("area", [None, 0, 1e-50, "absent"])
def test_a_missing_area_has_one_rule(file, area):
    lone = person(area=area)
    if area == "absent":
        del lone["area"]
    path = file(lone)
    (record,), truth = load_labels(path)
    assert record.areas.tolist() == [300] == [truth.dataset["annotations"][0]["area"]]
    assert collect_people([record]).areas.tolist() == [300]


def test_right_files_say_nothing(synthetic_coco, capsys):
    path = synthetic_coco / "annotations" / "person_keypoints_val2017.json"
    assert len(read_annotations(path).boxes) == len(json.loads(path.read_text())["annotations"])
    assert capsys.readouterr().out == ""
