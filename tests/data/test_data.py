import gzip
import json
import os
import shutil

import numpy as np
import pytest
from pycocotools.coco import COCO

from mpn.data.coco import check_images, hold_out, image_folder, load_annotations, load_coco, read_record
from mpn.data.person import valid_boxes
from mpn.errors import UserError
from mpn.images import read_image, write_image
from mpn.training import KeypointTraining
from mpn.training.splits import training_and_validation

REAL_COCO = os.environ.get("MPN_COCO")


@pytest.fixture
def content():
    """A COCO file's content: one image with one person, the nose of whom is labelled."""
    keypoints = [0] * 51
    keypoints[:3] = 10, 20, 2
    person = {"id": 1, "image_id": 7, "category_id": 1, "bbox": [5, 6, 20, 30], "area": 400.5, "iscrowd": 0}
    person |= {"segmentation": [[5, 6, 25, 6, 25, 36]], "keypoints": keypoints, "num_keypoints": 1}
    return {"images": [{"id": 7, "file_name": "7.jpg", "width": 64, "height": 48}], "annotations": [person]}


def write(path, content):
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("split", ["train", "val"])
def test_records_agree_with_pycocotools(synthetic_coco, split):
    coco = COCO(synthetic_coco / "annotations" / f"person_keypoints_{split}2017.json")
    records = load_coco(synthetic_coco, split)
    assert [r.id for r in records] == [image["id"] for image in coco.dataset["images"]]
    crowds = 0
    for record in records:
        annotations = coco.loadAnns(coco.getAnnIds(record.id))
        assert len(record.boxes) == len(annotations)
        assert record.keypoints.shape == (len(annotations), 17, 3) and record.keypoints.dtype == np.float32
        assert record.boxes.shape == (len(annotations), 4) and record.boxes.dtype == np.float32
        assert read_image(record.path).shape == (record.height, record.width, 3)
        for i, annotation in enumerate(annotations):
            x, y, w, h = annotation["bbox"]
            np.testing.assert_allclose(record.boxes[i], [x, y, x + w, y + h], rtol=1e-6)
            assert record.areas[i] == pytest.approx(annotation["area"])
            assert record.crowd[i] == bool(annotation["iscrowd"])
            assert record.segmentations[i] == annotation["segmentation"]
            assert record.labelled[i] == (annotation["num_keypoints"] > 0 and not annotation["iscrowd"])
            expected = np.reshape(annotation["keypoints"], (17, 3)).astype(float)
            visible = expected[:, 2] > 0
            np.testing.assert_allclose(record.keypoints[i, visible, :2], expected[visible, :2] + 0.5)
            np.testing.assert_array_equal(record.keypoints[i, :, 2], expected[:, 2])
            assert (record.keypoints[i, ~visible] == 0).all()
            crowds += annotation["iscrowd"]
    assert crowds > 0 and any(r.labelled.any() for r in records)
    assert not all(r.labelled.all() for r in records)


def test_test_images_have_no_people(synthetic_coco):
    records = load_coco(synthetic_coco, "test-dev")
    assert len(records) == 3 and all(len(r.boxes) == 0 for r in records)
    assert all(r.path.is_file() and r.path.parent == image_folder(synthetic_coco, "test-dev") for r in records)


def test_limit_keeps_the_first_images(synthetic_coco):
    records = load_coco(synthetic_coco, "train")
    assert [r.id for r in load_coco(synthetic_coco, "train", limit=5)] == [r.id for r in records[:5]]
    assert len(records) == 32


def test_of_keeps_chosen_people(synthetic_coco):
    record = max(load_coco(synthetic_coco, "train"), key=lambda r: len(r.boxes))
    assert len(record.boxes) >= 3
    some = record.of([2, 0])
    np.testing.assert_array_equal(some.boxes, record.boxes[[2, 0]])
    np.testing.assert_array_equal(some.keypoints, record.keypoints[[2, 0]])
    np.testing.assert_array_equal(some.areas, record.areas[[2, 0]])
    assert some.segmentations == (record.segmentations[2], record.segmentations[0])
    labelled = record.of(record.labelled)
    assert len(labelled.boxes) == len(labelled.segmentations) == len(labelled.crowd) == record.labelled.sum()
    assert len(record.of(np.zeros(len(record.boxes), bool)).boxes) == 0


def test_hold_out_is_disjoint_complete_and_repeatable(synthetic_coco):
    records = load_coco(synthetic_coco, "train")
    training, held = hold_out(records, 0.25)
    assert len(held) == 8
    ids = [{r.id for r in part} for part in (training, held)]
    assert not ids[0] & ids[1] and ids[0] | ids[1] == {r.id for r in records}
    assert [r.id for r in training] == sorted(ids[0]) and [r.id for r in held] == sorted(ids[1])
    assert [r.id for r in hold_out(records, 0.25)[1]] == [r.id for r in held]
    smaller = hold_out(records, 0.125)[1]
    assert len(smaller) == 4 and {r.id for r in smaller} < ids[1]
    assert len(hold_out(records, 0.001)[1]) == 1


def test_optional_fields_may_be_missing(tmp_path, content):
    person = content["annotations"][0]
    for name in ("segmentation", "keypoints", "num_keypoints", "area", "iscrowd"):
        del person[name]
    record = load_annotations(write(tmp_path / "a.json", content))[0]
    assert record.segmentations == ([],) and record.path is None
    assert not record.labelled.any() and not record.crowd.any()
    np.testing.assert_array_equal(record.boxes, [[5, 6, 25, 36]])


def test_crowds_are_never_labelled(tmp_path, content):
    person = content["annotations"][0]
    content["annotations"].append(person | {"id": 2, "iscrowd": 1})
    record = load_annotations(write(tmp_path / "a.json", content))[0]
    np.testing.assert_array_equal(record.crowd, [False, True])
    np.testing.assert_array_equal(record.labelled, [True, False])


def test_other_categories_and_unknown_images_are_left_out(tmp_path, content):
    person = content["annotations"][0]
    content["annotations"] += [person | {"id": 2, "category_id": 3}, person | {"id": 3, "image_id": 8}]
    assert len(load_annotations(write(tmp_path / "a.json", content))[0].boxes) == 1


def test_people_need_not_be_in_the_order_of_their_images(tmp_path, content):
    person = content["annotations"][0]
    content["images"].append({"id": 3, "file_name": "3.jpg", "width": 64, "height": 48})
    content["annotations"] = [
        person | {"image_id": image, "bbox": [i, 6, 20, 30]} for i, image in enumerate((3, 7, 3, 7))
    ]
    records = load_annotations(write(tmp_path / "a.json", content))
    assert [(r.id, r.boxes[:, 0].tolist()) for r in records] == [(7, [1, 3]), (3, [0, 2])]


def test_gzipped_annotations(tmp_path, content):
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(json.dumps(content).encode()))
    record = load_annotations(tmp_path / "a.json.gz", tmp_path)[0]
    np.testing.assert_array_equal(record.keypoints[0, 0], [10.5, 20.5, 2])
    assert record.path == tmp_path / "7.jpg" and (record.width, record.height) == (64, 48)


def test_missing_folders_and_files_say_what_is_expected(synthetic_coco, tmp_path):
    annotations = tmp_path / "annotations"
    with pytest.raises(UserError, match="no COCO folder"):
        load_coco(None, "train")
    with pytest.raises(UserError, match="elsewhere does not exist"):
        load_coco(tmp_path / "elsewhere", "train")
    with pytest.raises(UserError, match="person_keypoints_val2017.json does not exist"):
        load_coco(tmp_path, "val")
    with pytest.raises(UserError, match="image_info_test-dev2017.json does not exist"):
        load_coco(tmp_path, "test-dev")
    shutil.copytree(synthetic_coco / "annotations", annotations)
    with pytest.raises(UserError, match=f"image folder {tmp_path / 'val2017'} does not exist"):
        load_coco(tmp_path, "val")


@pytest.mark.parametrize("folder", [None, "missing", "."])
def test_missing_data_mention_the_layout_and_the_synthetic_set(tmp_path, folder):
    with pytest.raises(UserError) as caught:
        load_coco(folder and tmp_path / folder, "train")
    for words in ("MPN_COCO", "train2017/", "annotations/person_keypoints_", "python -m mpn.synthetic DIR"):
        assert words in str(caught.value)


def test_missing_images_are_found_at_the_start(synthetic_coco, tmp_path):
    folder = shutil.copytree(synthetic_coco, tmp_path / "coco")
    records = load_coco(folder, "train")
    check_images(records)
    records[3].path.unlink()
    records[5].path.unlink()
    os.mkfifo(records[5].path)  # reading it would wait for ever
    with pytest.raises(UserError, match=f"2 of 32 images are not there, .*{records[3].path.name}' of image"):
        check_images(records)
    with pytest.raises(UserError, match="images are not there"):
        training_and_validation(KeypointTraining(coco=folder), keep=lambda record: True)
    # What is not used need not be there.
    unused = {records[3].id, records[5].id}
    training_and_validation(KeypointTraining(coco=folder), keep=lambda record: record.id not in unused)


def test_an_image_of_another_size_than_annotated_is_an_error(make_record, tmp_path):
    write_image(tmp_path / "a.png", np.zeros((144, 192, 3), np.uint8))
    assert read_record(make_record(path=tmp_path / "a.png")).shape == (144, 192, 3)
    with pytest.raises(UserError, match="a.png is 192 x 144 pixels and its annotations are for 144 x 192"):
        read_record(make_record(path=tmp_path / "a.png", width=144, height=192))


def test_images_may_lie_in_folders_inside(tmp_path, content):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "7.jpg").touch()
    content["images"][0]["file_name"] = "a/7.jpg"
    records = load_annotations(write(tmp_path / "a.json", content), tmp_path)
    assert records[0].path == tmp_path / "a" / "7.jpg"
    check_images(records)


@pytest.mark.parametrize("text", ['{"images": [', "[1, 2]", '{"annotations": []}', '{"images": 3}', '"images"', ""])
def test_files_that_are_not_coco_are_named(tmp_path, text):
    path = tmp_path / "odd.json"
    path.write_text(text)
    with pytest.raises(UserError, match="odd.json.* is not .*(COCO|JSON)"):
        load_annotations(path)


@pytest.mark.parametrize(
    ("place", "name", "value"),
    [
        ("annotations", "keypoints", [1] * 50),
        ("annotations", "keypoints", [1] * 54),
        ("annotations", "keypoints", ["left"] * 51),
        ("annotations", "bbox", [1, 2, 3]),
        ("annotations", "bbox", [1, 2, float("nan"), 4]),
        ("annotations", "bbox", None),
        ("annotations", "image_id", [7]),
        ("images", "width", None),
        ("images", "width", "wide"),
        ("images", "file_name", None),
    ],
)
def test_bad_values_are_errors_that_name_the_file(tmp_path, content, place, name, value):
    content[place][0][name] = value
    with pytest.raises(UserError, match="odd.json is not a COCO person-keypoints file"):
        load_annotations(write(tmp_path / "odd.json", content), tmp_path)


@pytest.mark.parametrize(("place", "name"), [("annotations", "bbox"), ("images", "id"), ("images", "height")])
def test_missing_values_are_errors_that_name_the_file_and_the_field(tmp_path, content, place, name):
    del content[place][0][name]
    with pytest.raises(UserError, match=f"odd.json is not a COCO person-keypoints file: .* has no '{name}'"):
        load_annotations(write(tmp_path / "odd.json", content))


def test_valid_boxes_are_clipped(make_record):
    record = make_record(
        {"box": [10, 20, 60, 90]},
        {"box": [-15, 100, 30, 200]},  # partly outside
        {"box": [191.5, 10, 240, 40]},  # half a pixel inside
        {"box": [100, 0, 300, 50], "crowd": True},
    )
    people, crowd = valid_boxes(record)
    np.testing.assert_array_equal(people, [[10, 20, 60, 90], [0, 100, 30, 144], [191.5, 10, 192, 40]])
    np.testing.assert_array_equal(crowd, [[100, 0, 192, 50]])
    people, crowd = valid_boxes(make_record())
    assert people.shape == crowd.shape == (0, 4)


@pytest.mark.skipif(not REAL_COCO, reason="MPN_COCO names no COCO folder")
def test_real_coco():
    records = load_coco(REAL_COCO, "val")
    coco = COCO(os.path.join(REAL_COCO, "annotations", "person_keypoints_val2017.json"))
    labelled = [a for a in coco.dataset["annotations"] if a["num_keypoints"] > 0 and not a["iscrowd"]]
    assert len(records) == len(coco.imgs)
    assert sum(int(r.labelled.sum()) for r in records) == len(labelled)
    points = sum(np.count_nonzero(r.keypoints[~r.crowd, :, 2]) for r in records)
    assert points == sum(a["num_keypoints"] for a in labelled)
