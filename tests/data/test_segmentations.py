"""Polygons and run lengths of COCO: read as pycocotools does, and refused where its C code would go wrong."""

import tracemalloc

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from mpn.data.segmentations import checked_segmentation, fill_segmentation, segmentation_mask
from mpn.geometry import affine

IDENTITY = np.eye(2, 3)


def masks():
    """Masks whose compressed runs take every path: long runs, short ones, differences up and down, none at all."""
    rng = np.random.default_rng(0)
    for share in (0, 0.01, 0.5, 0.99, 1):
        yield rng.random((37, 53)) < share
    wide = np.zeros((2000, 1500), bool)
    wide[3:1900, 1000:] = True
    yield wide


@pytest.mark.parametrize("mask", masks())
def test_compressed_run_lengths_are_read_as_pycocotools_writes_them(mask):
    rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    text = rle["counts"].decode()
    height, width = mask.shape
    assert checked_segmentation({"size": [height, width], "counts": text}, width, height)["counts"] == text
    # Any part of it, and any change of its first number, is for another number of pixels.
    for damaged in {text[:-1], text[: len(text) // 2], chr(ord(text[0]) ^ 1) + text[1:], text + "1", text + "~é"}:
        with pytest.raises(ValueError):
            checked_segmentation({"size": [height, width], "counts": damaged}, width, height)


@pytest.mark.parametrize("counts", ["", "P" * 9 + "0", "oooooooo", "\0", "\ud800", 7, None, b"1", [1.5], [True] * 2])
def test_counts_that_are_none_are_refused(counts):
    with pytest.raises(ValueError, match="counts"):
        checked_segmentation({"size": [1, 2], "counts": counts}, 2, 1)


def test_more_counts_than_an_image_has_pixels_are_refused_unread():
    segmentation = {"size": [2, 1], "counts": "0" * 10**6}
    tracemalloc.start()
    with pytest.raises(ValueError, match="more counts than its image"):
        checked_segmentation(segmentation, 1, 2)
    assert tracemalloc.get_traced_memory()[1] < 10**5
    tracemalloc.stop()


@pytest.mark.parametrize("split", ["train", "val"])
def test_polygons_agree_with_pycocotools(synthetic_coco, split):
    coco = COCO(synthetic_coco / "annotations" / f"person_keypoints_{split}2017.json")
    compared, overlap, union = 0, 0, 0
    for annotation in coco.anns.values():
        if isinstance(annotation["segmentation"], dict) or not annotation["segmentation"]:
            continue
        mask = np.zeros((144, 192), np.uint8)
        fill_segmentation(mask, IDENTITY, annotation["segmentation"], (144, 192))
        expected = coco.annToMask(annotation)
        np.testing.assert_array_equal(segmentation_mask(annotation["segmentation"], 144, 192), expected)
        overlap += (mask & expected).sum()
        union += (mask | expected).sum()
        # Thin limbs are mostly border pixels, about which the two need not agree.
        inner = expected.astype(bool)
        for shift in (1, -1):
            inner = inner & np.roll(expected, shift, 0).astype(bool) & np.roll(expected, shift, 1).astype(bool)
        assert mask[inner].all()
        compared += 1
    assert compared > 15
    assert overlap / union > 0.9


def test_large_polygons_agree_with_pycocotools():
    rng = np.random.default_rng(5)
    for _ in range(20):
        angles = np.sort(rng.uniform(0, 2 * np.pi, 12))
        radii = rng.uniform(40, 65, 12)
        polygon = np.stack([96 + radii * np.cos(angles), 72 + radii * np.sin(angles)], axis=-1).round(2)
        mask = np.zeros((144, 192), np.uint8)
        fill_segmentation(mask, IDENTITY, [polygon.ravel().tolist()], (144, 192))
        expected = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects([polygon.ravel().tolist()], 144, 192)))
        assert (mask & expected).sum() / (mask | expected).sum() > 0.97


def test_run_lengths_agree_with_pycocotools(synthetic_coco):
    coco = COCO(synthetic_coco / "annotations" / "person_keypoints_train2017.json")
    crowds = [a for a in coco.anns.values() if a["iscrowd"]]
    assert crowds
    for annotation in crowds:
        expected = coco.annToMask(annotation)
        for segmentation in (annotation["segmentation"], coco_mask.encode(np.asfortranarray(expected))):
            mask = np.zeros((144, 192), np.uint8)
            fill_segmentation(mask, IDENTITY, segmentation, (144, 192))
            np.testing.assert_array_equal(mask, expected)
            np.testing.assert_array_equal(segmentation_mask(segmentation, 144, 192), expected)


def test_segmentations_add_to_the_mask_and_follow_the_map():
    square = [20, 20, 60, 20, 60, 60, 20, 60]
    plain = np.zeros((144, 192), np.uint8)
    plain[20:60, 20:60] = 1
    matrix = affine((40, 40), (144, 192), 1.5, 30, True)
    polygon, run_lengths = np.zeros((2, 144, 192), np.uint8)
    fill_segmentation(polygon, matrix, [square], (144, 192))
    fill_segmentation(run_lengths, matrix, coco_mask.encode(np.asfortranarray(plain)), (144, 192))
    # The polygon has the pixels that its outline runs through as well.
    assert (polygon & run_lengths).sum() / (polygon | run_lengths).sum() > 0.95
    assert run_lengths.sum() == pytest.approx(60 * 60, rel=0.01)
    mask = np.zeros((144, 192), np.uint8)
    mask[0, 0] = 1
    fill_segmentation(mask, IDENTITY, coco_mask.encode(np.asfortranarray(plain)), (144, 192))
    parts = [[100, 20, 120, 20, 120, 40, 100, 40], [150, 100, 170, 100, 160, 120]]
    fill_segmentation(mask, IDENTITY, parts, (144, 192))
    assert mask[0, 0] == mask[40, 40] == mask[30, 110] == mask[105, 160] == 1 and mask.max() == 1


def test_counts_have_a_stated_limit(monkeypatch):
    segmentation = {"size": [4, 4], "counts": [4, 4, 4, 4]}
    assert checked_segmentation(segmentation, 4, 4) == segmentation
    monkeypatch.setattr("mpn.data.segmentations._MOST_COUNTS", 3)
    with pytest.raises(ValueError, match="more counts than"):
        checked_segmentation(segmentation, 4, 4)
