"""`evaluate.py --batch`: the same results in the same order, whatever the sizes of the images."""

import json
import shutil

import keras
import pytest
from tiny_networks import NARROW, sees_something

import evaluate as script
from mpn import MultiPoseNet
from mpn.errors import UserError
from mpn.evaluation import Evaluation
from mpn.evaluation.evaluation import load_model
from mpn.evaluation.sources import by_input_size
from mpn.images import read_image, write_image
from mpn.models.networks import Networks


@pytest.fixture(scope="module")
def model(small_backbone):
    keras.utils.set_random_seed(0)  # with some weights, rounding moves a peak to another cell of the PRN
    return MultiPoseNet(sees_something(Networks(NARROW)), precision="float32")


@pytest.fixture(scope="module")
def two_sizes(synthetic_coco, tmp_path_factory):
    """The synthetic validation images, every second one cut to its left half."""
    coco = shutil.copytree(synthetic_coco, tmp_path_factory.mktemp("two_sizes") / "coco")
    path = coco / "annotations" / "person_keypoints_val2017.json"
    content = json.loads(path.read_text())
    for image in content["images"][::2]:
        image["width"] //= 2
        file = coco / "val2017" / image["file_name"]
        write_image(file, read_image(file)[:, : image["width"]])
    for annotation in content["annotations"]:
        annotation["segmentation"] = []
    path.write_text(json.dumps(content))
    return coco


def results(folder, coco, *more):
    """Metrics, poses and boxes of a run of evaluate.py."""
    places = ("--coco", coco, "--output", folder, "--metrics", folder / "metrics.json", "--limit", 9)
    script.main([str(word) for word in (*places, *more)])
    poses, boxes = (folder / f"person_{kind}_val2017_mpn_results.json" for kind in ("keypoints", "boxes"))
    return [json.loads(path.read_text()) for path in (folder / "metrics.json", poses, boxes)]


@pytest.mark.parametrize("sources", [(), ("--boxes", "ground-truth")])
def test_batches_give_the_results_of_single_images(model, two_sizes, tmp_path, monkeypatch, sources):
    monkeypatch.setattr(MultiPoseNet, "load", lambda *_, **__: model)
    batches, graph = [], model._batch_graph
    monkeypatch.setitem(model.__dict__, "_batch_graph", lambda padded: batches.append(len(padded)) or graph(padded))
    single, *lists = results(tmp_path / "1", two_sizes, *sources)
    assert not batches
    together, *others = results(tmp_path / "3", two_sizes, *sources, "--batch", 3)
    # Four wide and five narrow images: the second batch has one of the former and two of the latter.
    assert batches == [3, 1, 2, 3]
    assert (single["settings"].pop("batch"), together["settings"].pop("batch")) == (1, 3)
    assert single["settings"] == together["settings"]
    for kind in single.keys() - {"settings"}:
        assert together[kind] == pytest.approx(single[kind], abs=1e-3)
    for found, expected in zip(others, lists, strict=True):
        assert [one["image_id"] for one in found] == [one["image_id"] for one in expected]
        for one, other in zip(found, expected, strict=True):
            assert one["score"] == pytest.approx(other["score"], abs=1e-4)
            for field in {"bbox", "keypoints"} & one.keys():
                assert one[field] == pytest.approx(other[field], abs=0.02)


def test_images_are_sorted_by_the_networks_input(make_record):
    sizes = {1: (640, 480), 2: (480, 640), 3: (320, 240), 4: (640, 470), 5: (500, 100)}
    records = [make_record(identity=n, width=w, height=h) for n, (w, h) in sizes.items()]
    ensemble = type("Model", (), {"models": [type("First", (), {"config": NARROW, "square": False})()]})()
    # Inputs are 96 x 128 for the first and third, 128 x 96, 96 x 160 (131 wide) and 32 x 160.
    assert [record.id for record in by_input_size(ensemble, records)] == [5, 1, 3, 4, 2]


def test_an_export_takes_one_image_at_a_time(tmp_path):
    (tmp_path / "export.json").write_text("{}")
    with pytest.raises(UserError, match="one image at a time: leave out batch"):
        load_model(Evaluation(coco=".", model=tmp_path, batch=2))
