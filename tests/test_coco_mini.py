"""Scripts beside the lists of coco-mini: cut.py cuts the set out of COCO, count.py counts right poses."""

import importlib.util
import json

import pytest
from runs import ROOT, assert_one_sentence, exit_of

from mpn.data.coco import annotation_file

FOLDER = ROOT / "docs" / "coco-mini"


def module_of(name):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def script():
    return module_of("cut")


def labels(folder, split):
    return json.loads(annotation_file(folder, split).read_text())


def test_the_lists_are_whole():
    train, val = ((FOLDER / f"{split}2017.txt").read_text().split() for split in ("train", "val"))
    assert (len(train), len(val)) == (3175, 200)
    assert len({int(line) for line in train + val}) == 3375


def test_a_set_is_cut_out(script, tiny_coco, tmp_path):
    """Training images may be of either split of COCO."""
    source = {split: labels(tiny_coco, split) for split in ("train", "val")}
    first, second = (image["id"] for image in source["train"]["images"][:2])
    of_val, measured = (image["id"] for image in source["val"]["images"])
    (tmp_path / "train2017.txt").write_text(f"{first}\n{of_val}\n")
    (tmp_path / "val2017.txt").write_text(f"{measured}\n")
    target = tmp_path / "mini"
    assert script.cut(tiny_coco, target, tmp_path) == {"train2017": 2, "val2017": 1}
    people = source["train"]["annotations"] + source["val"]["annotations"]
    for split, ids in (("train", [first, of_val]), ("val", [measured])):
        content = labels(target, split)
        assert [image["id"] for image in content["images"]] == ids
        assert content["annotations"] == [person for person in people if person["image_id"] in ids]
        assert content["categories"] == source[split]["categories"]
        names = [image["file_name"] for image in content["images"]]
        assert sorted(path.name for path in (target / f"{split}2017").iterdir()) == sorted(names)
    copy = target / "train2017" / f"{of_val:012d}.jpg"
    assert copy.read_bytes() == (tiny_coco / "val2017" / copy.name).read_bytes()


def test_what_is_missing_is_named_and_nothing_written(script, tiny_coco, tmp_path, capsys):
    code, error = exit_of(script, [tiny_coco, tmp_path / "mini"], capsys)
    assert code == 1 and "image 139 is in no annotations" in error
    assert_one_sentence(error)
    code, error = exit_of(script, [tiny_coco, tiny_coco], capsys)
    assert code == 1 and "another folder" in error
    assert not list(tmp_path.iterdir())


def test_right_poses_are_counted(tiny_coco, tmp_path):
    """True poses are right; one that is far from all people is drawn and wrong."""
    content, labelled = labels(tiny_coco, "val"), 0
    for image in content["images"]:
        people = [{"keypoints": [], "score": 0.1}]
        for person in content["annotations"]:
            if person["image_id"] == image["id"] and person["num_keypoints"]:
                numbers = person["keypoints"]
                points = zip(numbers[::3], numbers[1::3], strict=True)
                people.append(
                    {"keypoints": [{"x": x + 0.5, "y": y + 0.5, "confidence": 1} for x, y in points], "score": 1}
                )
                labelled += 1
        people[0]["keypoints"] = [{"x": -5000, "y": -5000, "confidence": 1}] * 17
        name = image["file_name"].rsplit(".", 1)[0]
        (tmp_path / f"{name}_poses.json").write_text(json.dumps({"people": people}))
    assert labelled > 0
    found = module_of("count").count(tiny_coco, tmp_path)
    assert found == (labelled + len(content["images"]), labelled, labelled)
