"""Data sets whose people are labelled in part: what counts, and in which share of the samples."""

import dataclasses
import json

import cv2
import numpy as np
import pytest

from mpn.data.coco import load_partial
from mpn.data.keypoints import keypoint_dataset
from mpn.data.patches import PatchAugmentation, cut_patch
from mpn.errors import UserError

GREY = np.full((144, 192, 3), 128, np.uint8)


@pytest.fixture
def folder(tmp_path):
    """One image of 192 x 144 pixels with a person of two keypoints: the left shoulder and the nose."""
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "one.png"), GREY)
    keypoints = np.zeros((17, 3))
    keypoints[0], keypoints[5] = (79, 59, 2), (89, 69, 2)
    content = {
        "images": [{"id": 1, "file_name": "one.png", "width": 192, "height": 144}],
        "annotations": [
            {"image_id": 1, "category_id": 1, "bbox": [60, 40, 40, 80], "keypoints": keypoints.ravel().tolist()}
        ],
    }
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    return tmp_path


def test_only_labelled_channels_inside_boxes_count(folder):
    (record,) = load_partial(folder)
    targets, mask = cut_patch(GREY, record, np.eye(2, 3), 128).encode()
    inside = np.zeros((32, 32), bool)
    inside[10:30, 15:25] = True  # the box of (60, 40) to (100, 120) in cells of 4 pixels
    for channel in range(18):
        expected = inside if channel in (0, 5) else np.zeros_like(inside)
        np.testing.assert_array_equal(mask[..., channel] > 0, expected, err_msg=str(channel))
    # 79 and 59 are pixel indices: the nose lies at (79.5, 59.5), in cell (19, 14).
    assert np.unravel_index(targets[..., 0].argmax(), (32, 32)) == (14, 19)


def test_mirroring_swaps_the_labelled_channels(folder):
    (record,) = load_partial(folder)
    _, mask = cut_patch(GREY, record, np.array([[-1.0, 0, 128], [0, 1, 0]]), 128).encode()
    assert set(np.flatnonzero(mask.any(axis=(0, 1)))) == {0, 6}  # the right shoulder now


def test_a_complete_record_counts_everywhere(folder):
    (record,) = load_partial(folder)
    complete = dataclasses.replace(record, partial=False)
    _, mask = cut_patch(GREY, complete, np.eye(2, 3), 128).encode()
    assert (mask[..., :17] == 1).all()


def test_a_keypoints_cells_weigh_more_in_the_foreground(folder):
    (record,) = load_partial(folder)
    patch = cut_patch(GREY, record, np.eye(2, 3), 128)
    targets, plain = patch.encode(sigma=2.0)
    _, weighted = patch.encode(sigma=2.0, foreground=9.0)
    # (79.5, 59.5) is 0.375 cells right and 0.375 above the centre of cell (19, 14).
    height = np.exp(-2 * 0.375**2 / (2 * 2.0**2))
    assert targets[14, 19, 0] == pytest.approx(height, abs=1e-5)
    assert weighted[14, 19, 0] == pytest.approx(1 + 9 * height, abs=1e-4)
    assert weighted[14, 19, 5] == pytest.approx(1 + 9 * targets[14, 19, 5], abs=1e-4)
    assert weighted[14, 19, 1] == 0 and weighted[28, 24, 0] == 1
    np.testing.assert_array_equal(weighted[..., 17], plain[..., 17])


@pytest.mark.parametrize("share, least, most", [(0.0, 0, 0), (0.25, 30, 70), (1.0, 200, 200)])
def test_samples_come_from_partial_records_at_their_share(folder, make_record, share, least, most):
    black = folder / "black.png"
    cv2.imwrite(str(black), np.zeros((144, 192, 3), np.uint8))
    complete = make_record({"box": [60, 40, 100, 120], "keypoints": {0: (80, 60, 2)}}, path=black)
    data = keypoint_dataset(
        [complete], 32, 200, ["heatmaps"], seed=1, partial=load_partial(folder), partial_share=share, workers=1
    )
    images = next(iter(data))[0].numpy()
    assert least <= (images.max(axis=(1, 2, 3)) > 0).sum() <= most


def test_validation_takes_no_partial_records(folder, make_record):
    record = make_record({"box": [60, 40, 100, 120]}, path=folder / "images" / "one.png")
    options = {"augmentation": PatchAugmentation(framing="image"), "training": False}
    plain, mixed = (
        next(iter(keypoint_dataset([record], 32, 1, ["heatmaps"], partial=more, partial_share=1.0, **options)))
        for more in ([], load_partial(folder))
    )
    np.testing.assert_array_equal(plain[1]["heatmaps"], mixed[1]["heatmaps"])


def test_missing_images_are_found_at_the_start(folder):
    (folder / "images" / "one.png").unlink()
    with pytest.raises(UserError, match="1 of 1 images are not there"):
        load_partial(folder)


@pytest.mark.parametrize("missing", ["", "images", "annotations.json"])
def test_what_is_missing_is_named(tmp_path, missing):
    if missing:
        (tmp_path / "images").mkdir()
        (tmp_path / "annotations.json").write_text("{}")
        path = tmp_path / missing
        path.rmdir() if path.is_dir() else path.unlink()
    folder = tmp_path if missing else tmp_path / "nowhere"
    with pytest.raises(UserError, match=f"{missing or 'nowhere'} does not exist: --partial"):
        load_partial(folder)
