"""Boxes brought nearer to silhouettes, against edges worked out by hand."""

import numpy as np
import pytest

from mpn.inference.tightening import tighten_boxes

# Image to crop: twice as large, moved by (10, 6); the crop has 24 x 24 cells of 4 pixels.
CROP = np.array([[2.0, 0, 10], [0, 2, 6]])
BOX = (5, 5, 17, 25)


def silhouette(*parts, height=0.9):
    """Cells [row, row[ x [column, column[ of each part are somebody's."""
    cells = np.zeros((24, 24), np.float32)
    for top, bottom, left, right in parts:
        cells[top:bottom, left:right] = height
    return cells


def tightened(cells, image_size=(40, 40)):
    (box,) = tighten_boxes(np.float32([BOX]), cells[None], [CROP], image_size)
    return box


# Rows 5 to 12 and columns 4 to 9 are crop pixels 20 to 52 and 16 to 40, image pixels y 7 to 23 and x 3 to 15.
PERSON = (5, 13, 4, 10)


def test_edges_move_seven_tenths_of_the_way():
    box = tightened(silhouette(PERSON))
    assert box.dtype == np.float32
    np.testing.assert_allclose(box, [0.7 * 3 + 0.3 * 5, 0.7 * 7 + 0.3 * 5, 0.7 * 15 + 0.3 * 17, 0.7 * 23 + 0.3 * 25])


def test_somebody_outside_the_box_does_not_count():
    """The other part is larger, and touches the person at a corner only."""
    np.testing.assert_allclose(tightened(silhouette(PERSON, (13, 24, 10, 24))), tightened(silhouette(PERSON)))


def test_boxes_end_with_the_image():
    np.testing.assert_allclose(tightened(silhouette(PERSON), (20, 14)), [3.6, 6.4, 14, 20], rtol=1e-6)


@pytest.mark.parametrize(
    "cells",
    [
        silhouette(),
        silhouette(PERSON, height=0.39),
        silhouette((5, 6, 4, 10)),  # six cells
        silhouette((0, 2, 0, 24)),  # 48 cells, but above the box
    ],
)
def test_without_a_silhouette_a_box_stays(cells):
    np.testing.assert_array_equal(tightened(cells), np.float32(BOX))


def test_everybody_has_a_box():
    cells = np.stack([silhouette(PERSON), silhouette(), silhouette(PERSON)])
    boxes = tighten_boxes(np.float32([BOX] * 3), cells, [CROP] * 3, (40, 40))
    np.testing.assert_allclose(boxes, [tightened(cells[0]), BOX, tightened(cells[2])])
    assert tighten_boxes(np.zeros((0, 4)), np.zeros((0, 24, 24)), [], (40, 40)).shape == (0, 4)
