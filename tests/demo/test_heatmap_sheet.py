"""The sheet of heatmaps, seen from outside: which pixels change when one map changes."""

import cv2
import numpy as np
import pytest

from mpn.demo import heatmap_sheet
from mpn.demo.heatmap_sheet import draw_heatmaps


@pytest.fixture
def small_panels(monkeypatch):
    """Panels of 64 pixels, which are drawn quickly."""
    monkeypatch.setattr(heatmap_sheet, "_PANEL", 64)


def noise(height=90, width=120):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def changed(a, b):
    """Bounding box (x1, y1, x2, y2) of the pixels that differ between two pictures."""
    rows, columns = np.nonzero((a != b).any(axis=2))
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


@pytest.mark.usefixtures("small_panels")
@pytest.mark.parametrize("size", [(90, 120), (700, 60), (1, 1)])
def test_eighteen_panels_of_one_size_side_by_side(size):
    image = noise(*size)
    empty = draw_heatmaps(image, np.zeros((9, 12, 18), np.float32))
    boxes = []
    for channel in range(18):
        heatmaps = np.zeros((9, 12, 18), np.float32)
        heatmaps[..., channel] = 0.7
        sheet = draw_heatmaps(image, heatmaps)
        assert sheet.shape == empty.shape and sheet.dtype == np.uint8
        boxes.append(changed(empty, sheet))  # the panel, and the value above it
    assert len(set(boxes)) == 18 and len({(x1, y1) for x1, y1, _, _ in boxes}) == 18
    taken = np.zeros(empty.shape[:2], int)
    for x1, y1, x2, y2 in boxes:
        taken[y1:y2, x1:x2] += 1
    assert taken.max() == 1
    assert sorted(boxes, key=lambda box: (box[3], box[0])) == boxes  # in rows, in COCO's order
    assert len({box[3] for box in boxes}) == 3


def test_heat_lies_where_it_is_in_the_image():
    image = np.full((240, 320, 3), 100, np.uint8)
    heatmaps = np.zeros((60, 80, 18), np.float32)
    heatmaps[30, 20, 9] = 1  # centre at (82, 122) of 320 x 240 pixels, and panels have 320
    empty, sheet = draw_heatmaps(image, heatmaps * 0), draw_heatmaps(image, heatmaps)
    heatmaps[..., 9] = 1
    panel = changed(draw_heatmaps(image, heatmaps * 0.999), draw_heatmaps(image, heatmaps * 0.001))
    difference = np.abs(sheet.astype(int) - empty).sum(axis=2)
    difference[: panel[3] - 240] = 0  # the value above the panel
    rows, columns = np.nonzero(difference)
    x, y = columns.mean() + 0.5 - panel[0], rows.mean() + 0.5 - (panel[3] - 240)
    assert abs(x - 82) < 1 and abs(y - 122) < 1
    assert np.ptp(rows) <= 10 and np.ptp(columns) <= 10


@pytest.mark.usefixtures("small_panels")
def test_more_heat_is_more_colour_and_impossible_values_do_no_harm():
    image = np.full((240, 320, 3), 100, np.uint8)
    heatmaps = np.zeros((60, 80, 18), np.float32)

    def ink(value):
        maps = heatmaps.copy()
        maps[30, 20, 0] = value
        sheet = draw_heatmaps(image, maps).astype(int)
        colour = np.ptp(sheet, axis=2)
        return colour[colour > 5].sum()  # image and paper are grey

    assert ink(-3) == ink(0) == ink(np.nan) == 0 < ink(0.1) < ink(0.5) < ink(1) == ink(7)


def test_every_panel_bears_its_name(small_panels, monkeypatch):
    written = {}
    write = cv2.putText

    def record(picture, text, place, *style):
        written.setdefault(text, place)
        return write(picture, text, place, *style)

    monkeypatch.setattr(cv2, "putText", record)
    image = noise()
    heatmaps = np.zeros((9, 12, 18), np.float32)
    empty = draw_heatmaps(image, heatmaps)
    # Names as COCO's annotation files have them.
    names = "nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder left_elbow right_elbow left_wrist"
    names += " right_wrist left_hip right_hip left_knee right_knee left_ankle right_ankle silhouette"
    for channel, name in enumerate(names.split()):
        heatmaps[...] = 0
        heatmaps[..., channel] = 0.9
        x1, y1, x2, y2 = changed(empty, draw_heatmaps(image, heatmaps))
        x, y = written[name]
        assert x1 <= x < x2 and y1 <= y < y2
    assert "0.90" in written


def test_other_shapes_are_errors():
    for shape in ((9, 12, 17), (9, 12)):
        with pytest.raises(ValueError, match="18"):
            draw_heatmaps(noise(), np.zeros(shape, np.float32))
