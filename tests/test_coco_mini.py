"""docs/coco-mini/cut.py cuts a set out of COCO by lists of image ids."""

import importlib.util
import json

import pytest
from runs import ROOT, assert_one_sentence, exit_of

from mpn.data.coco import annotation_file

FOLDER = ROOT / "docs" / "coco-mini"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("cut", FOLDER / "cut.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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
