"""IoU of silhouettes: worked out by hand on small masks, and on the masks of whole sets by pycocotools."""

import json
import os

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

import evaluate as script
from mpn.config import ModelConfig
from mpn.data.coco import annotation_file, hold_out, load_annotations, load_coco, read_record
from mpn.evaluation.segmentation import pixel_counts, silhouette_metrics, true_silhouettes
from mpn.inference.multiposenet import MultiPoseNet
from mpn.inference.predictor import Predictor
from mpn.people import SilhouetteMap

MPN_COCO = os.environ.get("MPN_COCO")

# An image of 6 x 4 pixels. RLEs count down the columns: pixel (x, y) is number 4 x + y.
BLOCK = {"box": [0, 0, 3, 2], "segmentation": [[0, 0, 3, 0, 3, 2, 0, 2]]}  # columns 0-2 of rows 0-1
STRIPE = {"box": [4, 1, 5, 4], "segmentation": {"counts": [17, 3, 4], "size": [4, 6]}}  # rows 1-3 of column 4
ROW = np.zeros((4, 6), bool)
ROW[1] = True  # what is found: all of row 1


@pytest.fixture
def picture(make_record):
    def make(*people):
        return make_record(*people, width=6, height=4)

    return make


def count_pixels(record, found):
    return pixel_counts(*true_silhouettes(record), found)


def pixels(mask):
    """The (x, y) of a mask's pixels."""
    return {(int(x), int(y)) for y, x in np.argwhere(mask)}


def test_counts_worked_out_by_hand(picture):
    # 6 pixels of the block and 3 of the stripe; row 1 meets 3 and 1 of them and has 2 of its own.
    assert count_pixels(picture(BLOCK, STRIPE), ROW) == (4, 11, 9)
    assert count_pixels(picture(BLOCK), ROW) == (3, 9, 6)
    assert count_pixels(picture(BLOCK, BLOCK), ROW) == (3, 9, 6)  # a pixel counts once, whoever else has it
    assert count_pixels(picture(BLOCK, STRIPE), ~ROW) == (5, 22, 9)
    assert count_pixels(picture(BLOCK, STRIPE), np.zeros_like(ROW)) == (0, 9, 9)


def test_several_polygons_are_one_person(picture):
    two = [[0, 0, 2, 0, 2, 1, 0, 1], [4, 2, 6, 2, 6, 4, 4, 4]]
    people, unknown = true_silhouettes(picture({"box": [0, 0, 6, 4], "segmentation": two}))
    assert pixels(people) == {(0, 0), (1, 0), (4, 2), (5, 2), (4, 3), (5, 3)}
    assert people.shape == unknown.shape == (4, 6) and people.dtype == unknown.dtype == bool
    assert not unknown.any()


def test_compressed_rles_are_read(picture):
    packed = coco_mask.frPyObjects(STRIPE["segmentation"], 4, 6)
    people, _ = true_silhouettes(picture({**STRIPE, "segmentation": packed}))
    assert pixels(people) == {(4, 1), (4, 2), (4, 3)}


def test_crowd_regions_do_not_count(picture):
    last = {"box": [5, 0, 6, 4], "segmentation": {"counts": [20, 4], "size": [4, 6]}, "crowd": True}
    # Row 1 has (5, 1) in the crowd: one false positive less than without the crowd.
    assert count_pixels(picture(BLOCK, STRIPE, last), ROW) == (4, 10, 9)
    assert count_pixels(picture(BLOCK, STRIPE, last), ~ROW) == (5, 19, 9)
    _, unknown = true_silhouettes(picture(BLOCK, STRIPE, last))
    assert pixels(unknown) == {(5, y) for y in range(4)}
    # A crowd over the stripe's column takes all of its pixels out, and (4, 1) from the row.
    over = {"box": [4, 0, 6, 4], "segmentation": [[4, 0, 6, 0, 6, 4, 4, 4]], "crowd": True}
    assert count_pixels(picture(BLOCK, STRIPE, over), ROW) == (3, 7, 6)


@pytest.mark.parametrize("crowd", [False, True])
def test_boxes_without_segmentation_do_not_count(picture, crowd):
    nobody_knows = {"box": [3.2, 1, 4.5, 2.5], "crowd": crowd}
    record = picture(BLOCK, STRIPE, nobody_knows)
    people, unknown = true_silhouettes(record)
    # The box touches columns 3 and 4 of rows 1 and 2; the stripe covers column 4 of them and still counts there.
    assert pixels(unknown) == {(3, 1), (3, 2)}
    assert people.sum() == 9
    assert count_pixels(record, ROW) == (4, 10, 9)
    beyond = picture({"box": [-5, -3, 0.5, 1.5], "crowd": crowd}, {"box": [5.5, 3, 40, 30], "crowd": crowd})
    assert pixels(true_silhouettes(beyond)[1]) == {(0, 0), (0, 1), (5, 3)}
    outside = picture({"box": [-9, -9, -1, -1], "crowd": crowd}, {"box": [7, 5, 40, 30], "crowd": crowd})
    assert not true_silhouettes(outside)[1].any()


def test_an_image_without_people_counts_false_positives(picture):
    assert count_pixels(picture(), ROW) == (0, 6, 0)
    assert count_pixels(picture(), ~ROW & ROW) == (0, 0, 0)


def test_metrics_worked_out_by_hand():
    counts = [(4, 11, 9), (2, 2, 2), (0, 3, 0)]
    # 6 of 16 pixels; the third image has no people, and so no IoU of its own.
    assert silhouette_metrics(counts) == {"IoU": 0.375, "mean_IoU": pytest.approx((4 / 11 + 1) / 2)}
    assert silhouette_metrics([(0, 3, 0)]) == {"IoU": 0, "mean_IoU": -1}
    assert silhouette_metrics([(0, 0, 0)]) == silhouette_metrics([]) == {"IoU": -1, "mean_IoU": -1}
    assert silhouette_metrics([(0, 5, 5), (0, 0, 0)]) == {"IoU": 0, "mean_IoU": 0}


def test_masks_of_other_images_are_refused(picture):
    with pytest.raises(ValueError, match=r"the mask is \(6, 4\) and the image \(4, 6\)"):
        count_pixels(picture(BLOCK), ROW.T)


# Whole sets


def official_masks(path, limit=None):
    """By image id, the union of the masks of all single people as pycocotools decodes them: (H, W) bool."""
    coco = COCO(str(path))
    masks = {}
    for image in coco.dataset["images"][:limit]:
        masks[image["id"]] = np.zeros((image["height"], image["width"]), bool)
        for annotation in coco.loadAnns(coco.getAnnIds(imgIds=image["id"], iscrowd=False)):
            if annotation["segmentation"]:
                masks[image["id"]] |= coco.annToMask(annotation) > 0
    return masks


def metrics_of(records, values):
    """Metrics of silhouette channels, by image id, that cover their images."""
    maps = ((record, SilhouetteMap(values[record.id], (record.height, record.width))) for record in records)
    return silhouette_metrics([count_pixels(record, found.mask()) for record, found in maps])


def at_stride_four(mask):
    height, width = (side // 4 for side in mask.shape)
    return mask[: 4 * height, : 4 * width].reshape(height, 4, width, 4).mean(axis=(1, 3), dtype=np.float32)


def assert_true_masks_are_perfect(path, limit=None):
    records, masks = load_annotations(path, limit=limit), official_masks(path, limit)
    assert any(true_silhouettes(record)[1].any() for record in records)
    full = metrics_of(records, {key: mask.astype(np.float32) for key, mask in masks.items()})
    assert full["IoU"] >= 0.99 and full["mean_IoU"] >= 0.99
    return metrics_of(records, {key: at_stride_four(mask) for key, mask in masks.items()})


def test_true_silhouettes_are_perfect_on_the_synthetic_set(synthetic_coco):
    path = annotation_file(synthetic_coco, "val")
    quarter = assert_true_masks_are_perfect(path)
    assert 0.7 < quarter["IoU"] < 0.99  # people of 192 x 144 pixels have limbs of a cell's width
    moved = {key: np.roll(mask, 8, axis=1).astype(np.float32) for key, mask in official_masks(path).items()}
    assert metrics_of(load_annotations(path), moved)["IoU"] < 0.7


@pytest.mark.skipif(not MPN_COCO, reason="MPN_COCO is not set")
@pytest.mark.parametrize("split", ["val", "train"])
def test_true_silhouettes_are_perfect_on_photographs(split):
    assert 0.9 < assert_true_masks_are_perfect(annotation_file(MPN_COCO, split), limit=100)["IoU"] < 0.99


# The script


class SeesSilhouettes(Predictor):
    """Stands in for a MultiPoseNet that finds nobody and whose silhouette channel is the ground truth times 0.6."""

    config = ModelConfig()
    precision, nms_threshold, square, assignment = "float32", 0.3, False, "greedy"

    def __init__(self, coco_dir, split):
        masks = official_masks(annotation_file(coco_dir, split))
        self.seen = []
        self.records = {read_record(record).tobytes(): record.id for record in load_coco(coco_dir, split)}
        self.values = {key: 0.6 * mask.astype(np.float32) for key, mask in masks.items()}

    def _predict_one(self, image):
        self.seen.append(self.records[image.tobytes()])
        return [], SilhouetteMap(self.values[self.seen[-1]], image.shape[:2])


@pytest.fixture
def evaluated(synthetic_coco, tmp_path, monkeypatch):
    """Function of options that runs evaluate.py with SeesSilhouettes; gives the metrics and the ids of images seen."""

    def run(*options, split="val"):
        model = SeesSilhouettes(synthetic_coco, split)
        monkeypatch.setattr(MultiPoseNet, "load", lambda *_, **__: model)
        file = tmp_path / "metrics.json"
        arguments = ["--coco", synthetic_coco, "--split", split, "--output", tmp_path, "--metrics", file, *options]
        script.main([str(argument) for argument in arguments])
        return json.loads(file.read_text()), model.seen

    return run


def test_silhouettes_are_measured_where_nobody_is_found(evaluated, capsys):
    metrics, seen = evaluated()
    assert len(seen) == 16
    assert metrics["silhouettes"] == {"IoU": pytest.approx(1), "mean_IoU": pytest.approx(1)}
    assert metrics["keypoints"]["AP"] == metrics["boxes"]["AP"] == 0
    assert metrics["settings"]["silhouette_threshold"] == 0.5
    assert "silhouettes  IoU 1.0000  mean_IoU 1.0000" in capsys.readouterr().out


def test_the_threshold_is_an_option(evaluated):
    metrics, _ = evaluated("--silhouette-threshold", 0.7)
    assert metrics["silhouettes"] == {"IoU": 0, "mean_IoU": 0}
    assert metrics["settings"]["silhouette_threshold"] == 0.7


def test_held_out_photographs_alone_are_opened(evaluated, synthetic_coco):
    metrics, seen = evaluated("--held-out", 0.25, split="train")
    assert seen == [record.id for record in hold_out(load_coco(synthetic_coco, "train"), 0.25)[1]]
    assert len(seen) == metrics["settings"]["images"] == 8
    assert metrics["silhouettes"]["IoU"] == pytest.approx(1)
