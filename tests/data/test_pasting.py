import numpy as np
import pytest

from mpn.data.pasting import paste_person, pasting_map, people_to_paste
from mpn.data.patches import Patch
from mpn.geometry import transform_points

WHITE = np.full((144, 192, 3), 255, np.uint8)


def rectangle(x1, y1, x2, y2):
    """A COCO segmentation: one polygon."""
    return [[x1, y1, x2, y1, x2, y2, x1, y2]]


def person(box, keypoints=9, **fields):
    points = {k: ((box[0] + box[2]) / 2 + k, (box[1] + box[3]) / 2, 2) for k in range(keypoints)}
    return {"box": box, "keypoints": points, "segmentation": rectangle(*box)} | fields


@pytest.fixture
def patch():
    """A black patch of 128 pixels with nobody known, everything unknown, and two keypoints of one person."""
    keypoints = np.zeros((1, 17, 3), np.float32)
    keypoints[0, 0], keypoints[0, 5] = (30, 30, 2), (100, 100, 2)
    unknown = np.ones((128, 128), bool)
    return Patch(np.zeros((128, 128, 3), np.uint8), keypoints, ~unknown, unknown, unknown, np.ones(17, bool))


def test_only_whole_people_with_a_segmentation_are_pasted(make_record):
    box = [20, 20, 60, 120]
    records = [
        make_record(person(box), person(box, keypoints=7), person(box, segmentation=[]), person(box, crowd=True)),
        make_record(person([20, 20, 60, 80])),
        make_record(person([20, 20, 84, 60]), person(box)),
        make_record(),
    ]
    assert people_to_paste(records) == [(0, 0), (2, 0), (2, 1)]


def test_a_pasted_person_is_in_front_and_known(make_record, patch):
    record = make_record(person([20, 30, 60, 110]))
    # x + 10, y - 10: the silhouette covers (30, 20) to (70, 100) of the patch, and the first keypoint of two.
    matrix = np.array([[1.0, 0, 10], [0, 1, -10]])
    pasted = paste_person(patch, WHITE, record, 0, matrix)
    inside = np.zeros((128, 128), bool)
    inside[20:100, 30:70] = True
    assert (pasted.silhouette ^ inside).sum() <= 130  # the edge
    for unknown in (pasted.unknown_keypoints, pasted.unknown_silhouette):
        np.testing.assert_array_equal(unknown, ~pasted.silhouette)
    assert (pasted.image[24:96, 34:66] == 255).all()
    assert (pasted.image[:14] == 0).all() and (pasted.image[:, 78:] == 0).all()
    np.testing.assert_array_equal(pasted.keypoints[0, 0], 0)
    np.testing.assert_array_equal(pasted.keypoints[0, 5], (100, 100, 2))
    np.testing.assert_allclose(pasted.keypoints[1, 3], (53, 60, 2))
    assert patch.image.max() == 0 and not patch.silhouette.any() and patch.keypoints[0, 0, 2] == 2


def test_a_mirroring_map_swaps_left_and_right(make_record, patch):
    record = make_record(person([20, 30, 60, 110]))
    pasted = paste_person(patch, WHITE, record, 0, np.array([[-1.0, 0, 100], [0, 1, 0]]))
    # Keypoint 1 is the left eye at x = 41; mirrored it is a right eye (2) at 59.
    np.testing.assert_allclose(pasted.keypoints[1, 2], (59, 70, 2))


def test_maps_bring_people_into_the_patch_at_all_sizes():
    box, sizes, centres = np.array([10.0, 20, 60, 120]), [], []
    for seed in range(200):
        matrix = pasting_map(box, 256, np.random.default_rng(seed))
        sizes.append(100 * np.sqrt(abs(np.linalg.det(matrix[:, :2]))) / 256)
        centres.append(transform_points(matrix, [(35, 70)])[0])
        assert abs(matrix[1, 0] / matrix[1, 1]) <= np.tan(np.deg2rad(20)) + 1e-6
    assert 0.25 <= min(sizes) < 0.3 and 0.75 < max(sizes) <= 0.8
    centres = np.array(centres)
    assert (centres >= 0).all() and (centres <= 256).all() and (np.ptp(centres, axis=0) > 230).all()
