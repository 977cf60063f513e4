import os

import numpy as np
import pytest
from keras import ops
from pycocotools.coco import COCO

from mpn.data.augmentation import PatchAugmentation
from mpn.data.coco import load_coco
from mpn.data.patches import choose_person, cut_patch, patch_map, region_masks
from mpn.errors import UserError
from mpn.geometry import affine, transform_keypoints, transform_points
from mpn.heatmaps import find_peaks
from mpn.images import read_image
from mpn.skeleton import KEYPOINTS

REAL_COCO = os.environ.get("MPN_COCO")
LEFT_SHOULDER, RIGHT_SHOULDER = KEYPOINTS.index("left_shoulder"), KEYPOINTS.index("right_shoulder")
IDENTITY = np.eye(2, 3)


def rectangle(x1, y1, x2, y2):
    """A COCO segmentation: one polygon."""
    return [[x1, y1, x2, y1, x2, y2, x1, y2]]


def points(count):
    """The first `count` keypoints, labelled, in the middle of the image."""
    return {k: (90 + k, 70, 2) for k in range(count)}


def person(box, keypoints=0, **fields):
    return {"box": box, "keypoints": points(keypoints), "segmentation": rectangle(*box)} | fields


def is_filled(mask, box, least=0.95):
    x1, y1, x2, y2 = box
    return mask[y1:y2, x1:x2].mean() >= least


def is_clear(mask, box):
    x1, y1, x2, y2 = box
    return not mask[y1:y2, x1:x2].any()


def test_people_with_five_keypoints_take_turns(make_record):
    box = [0, 0, 10, 10]
    record = make_record(person(box, 4), person(box, 17), person(box), person(box, 5), person(box, 9, crowd=True))
    assert [choose_person(record, turn) for turn in range(5)] == [1, 3, 1, 3, 1]
    record = make_record(person(box), person(box, 4), person(box, 1))
    assert [choose_person(record, turn) for turn in range(4)] == [1, 2, 1, 2]
    record = make_record(person(box), person(box, crowd=True))
    assert [choose_person(record, turn) for turn in range(4)] == [0, 1, 0, 1]


def test_a_patch_is_centred_on_its_person_at_the_share_of_the_patch(make_record):
    record = make_record(person([20, 30, 60, 110], 17), person([100, 20, 190, 60], 17))
    still = PatchAugmentation().without_jitter()
    rng = np.random.default_rng(0)
    for turn, (x1, y1, x2, y2) in enumerate(record.boxes):
        matrix = patch_map(record, 480, still, turn, rng)
        corners = transform_points(matrix, [(x1, y1), (x2, y2)])
        np.testing.assert_allclose(corners.mean(axis=0), (240, 240), atol=1e-3)
        # The longer side is 0.6 of the patch: scales 0.6 x 480 / 80 and 0.6 x 480 / 90.
        np.testing.assert_allclose((corners[1] - corners[0]).max(), 288, atol=1e-3)


def test_small_people_are_enlarged_at_most_fourfold(make_record):
    record = make_record(person([50, 50, 53, 55], 17))
    matrix = patch_map(record, 480, PatchAugmentation().without_jitter(), 0, np.random.default_rng(0))
    np.testing.assert_allclose(matrix[:, :2], 4 * np.eye(2))


def test_framing_the_image_fits_all_of_it(make_record):
    record = make_record(person([20, 30, 60, 110], 17))
    for framed in (record, make_record()):
        augmentation = PatchAugmentation(framing="image" if framed is record else "person").without_jitter()
        matrix = patch_map(framed, 96, augmentation, 0, np.random.default_rng(0))
        np.testing.assert_allclose(transform_points(matrix, [(0, 0), (192, 144)]), [(0, 0), (96, 72)], atol=1e-4)


def test_jitter_covers_its_ranges(make_record):
    record = make_record(person([20, 30, 60, 110], 17))
    rng = np.random.default_rng(0)
    linear = np.stack([patch_map(record, 480, PatchAugmentation(), 0, rng)[:, :2] for _ in range(2000)])
    determinants = np.linalg.det(linear)
    assert (determinants < 0).mean() == pytest.approx(0.3, abs=0.04)
    scales = np.sqrt(np.abs(determinants)) / (288 / 80)
    assert 0.8 <= scales.min() < 0.81 and 1.19 < scales.max() <= 1.2
    down = linear[:, :, 1]  # where the image's y axis points, mirrored or not
    degrees = np.rad2deg(np.arctan2(-down[:, 0], down[:, 1]))
    assert -40 <= degrees.min() < -39 and 39 < degrees.max() <= 40


@pytest.mark.parametrize(
    ("field", "words"),
    [({"framing": "box"}, "'box'"), ({"scale": (1.2, 0.8)}, "1.2"), ({"mirror": 1.5}, "1.5"), ({"shift": -1}, "-1")],
)
def test_impossible_augmentation_is_refused(field, words):
    with pytest.raises(UserError, match=words):
        PatchAugmentation(**field)


def test_a_keypoints_cells_weigh_more_in_the_foreground(make_record):
    record = make_record({"box": [30, 30, 110, 110], "keypoints": {0: (79.5, 59.5, 2)}, "segmentation": []})
    image = np.zeros((144, 192, 3), np.uint8)
    _, targets, plain = cut_patch(image, record, IDENTITY, 128)
    _, _, weighted = cut_patch(image, record, IDENTITY, 128, foreground=9.0)
    # (79.5, 59.5) is 0.375 cells right and 0.375 below the centre of cell (19, 14).
    height = np.exp(-2 * 0.375**2 / (2 * 1.75**2))
    assert targets[14, 19, 0] == pytest.approx(height, abs=1e-5)
    assert weighted[14, 19, 0] == pytest.approx(1 + 9 * height, abs=1e-4)
    assert weighted[14, 19, 1] == weighted[28, 24, 0] == 1
    np.testing.assert_array_equal(weighted[..., 17], plain[..., 17])


@pytest.mark.parametrize("mirror", [0, 1])
def test_image_and_targets_of_a_patch_agree(make_record, mirror):
    """A blurred dot is drawn at the left shoulder: in the patch the dot and the heatmap's peak must coincide."""
    rng = np.random.default_rng(mirror)
    x, y = np.arange(192) + 0.5, np.arange(144)[:, None] + 0.5
    for _ in range(15):
        place = rng.uniform((50, 40), (90, 100))
        dot = 255 * np.exp(-((x - place[0]) ** 2 + (y - place[1]) ** 2) / (2 * 2**2))
        image = np.repeat(dot.astype(np.uint8)[..., None], 3, axis=-1)
        record = make_record({"box": [30, 30, 110, 110], "keypoints": {LEFT_SHOULDER: (*place, 2)}})
        matrix = patch_map(record, 160, PatchAugmentation(mirror=mirror), 0, rng)
        patch, targets, _ = cut_patch(image, record, matrix, 160)
        assert patch.shape == (160, 160, 3) and patch.dtype == np.uint8
        weights = patch[..., 0].astype(float)
        columns, rows = np.meshgrid(np.arange(160) + 0.5, np.arange(160) + 0.5)
        seen = np.array([(weights * columns).sum(), (weights * rows).sum()]) / weights.sum()
        positions, scores = find_peaks(targets[None, ..., :17], max_peaks=1)
        channel = RIGHT_SHOULDER if mirror else LEFT_SHOULDER
        assert np.linalg.norm(4 * ops.convert_to_numpy(positions)[0, channel, 0] - seen) < 0.5
        labelled = np.flatnonzero(ops.convert_to_numpy(scores)[0, :, 0])
        np.testing.assert_array_equal(labelled, [channel])


def test_patches_of_the_synthetic_set(synthetic_coco):
    rng = np.random.default_rng(2)
    for record in load_coco(synthetic_coco, "val", limit=8):
        matrix = patch_map(record, 128, PatchAugmentation(), 0, rng)
        patch, targets, mask = cut_patch(read_image(record.path), record, matrix, 128)
        assert patch.shape == (128, 128, 3) and targets.shape == mask.shape == (32, 32, 18)
        assert targets.dtype == mask.dtype == np.float32
        assert 0 <= targets.min() and targets.max() <= 1 and set(np.unique(mask)) <= {0, 1}
        keypoints = transform_keypoints(matrix, record.keypoints[~record.crowd])
        inside = (keypoints[..., 2] > 0) & ((keypoints[..., :2] >= 0) & (keypoints[..., :2] < 128)).all(axis=-1)
        columns, rows = (keypoints[..., :2] // 4).astype(int).transpose(2, 0, 1)
        people, channels = np.nonzero(inside)
        assert (targets[rows[inside], columns[inside], channels] > 0.9).all() and (len(people) or not len(inside))


def test_people_without_keypoints_are_silhouette_of_unknown_keypoints(make_record):
    record = make_record(person([20, 20, 60, 80], 17), person([100, 20, 140, 80]))
    silhouette, unknown_keypoints, unknown_silhouette = region_masks(record, IDENTITY, (144, 192))
    for mask in (silhouette, unknown_keypoints, unknown_silhouette):
        assert mask.shape == (144, 192) and mask.dtype == bool
    assert is_filled(silhouette, (20, 20, 60, 80)) and is_filled(silhouette, (100, 20, 140, 80))
    assert silhouette.sum() < 1.05 * 2 * 40 * 60
    assert is_filled(unknown_keypoints, (100, 20, 140, 80)) and is_clear(unknown_keypoints, (0, 0, 98, 144))
    assert unknown_keypoints.sum() < 1.05 * 40 * 60
    assert not unknown_silhouette.any()


def test_crowds_are_unknown_to_both(make_record):
    record = make_record(person([100, 20, 140, 80], crowd=True))
    silhouette, unknown_keypoints, unknown_silhouette = region_masks(record, IDENTITY, (144, 192))
    assert not silhouette.any()
    np.testing.assert_array_equal(unknown_keypoints, unknown_silhouette)
    assert is_filled(unknown_keypoints, (100, 20, 140, 80)) and unknown_keypoints.sum() < 1.05 * 40 * 60


def test_keypoints_of_crowds_are_no_targets(make_record):
    record = make_record(person([60, 40, 140, 100], 17, crowd=True))
    _, targets, mask = cut_patch(np.zeros((144, 192, 3), np.uint8), record, affine((96, 72), (160, 160), 1), 160)
    assert targets.max() == 0
    assert mask[20, 20].max() == 0 and mask[20, 5].min() == 1


def test_a_labelled_person_in_a_crowd_stays_known(make_record):
    """A crowd known only by its box does not hide the people in it; a crowd's own pixels are hidden."""
    inner = person([90, 40, 130, 100], 17)
    coarse = make_record(inner, person([60, 20, 160, 120], crowd=True, segmentation=[]))
    silhouette, unknown_keypoints, unknown_silhouette = region_masks(coarse, IDENTITY, (144, 192))
    for unknown in (unknown_keypoints, unknown_silhouette):
        assert is_clear(unknown, (90, 40, 130, 100))
        assert is_filled(unknown, (62, 22, 88, 118)) and is_filled(unknown, (133, 22, 158, 118))
    assert is_filled(silhouette, (90, 40, 130, 100)) and silhouette.sum() < 1.06 * 40 * 60
    fine = make_record(inner, person([60, 20, 160, 120], crowd=True))
    assert is_filled(region_masks(fine, IDENTITY, (144, 192))[1], (90, 40, 130, 100))


def test_without_segmentation_the_silhouette_is_unknown(make_record):
    record = make_record(person([20, 20, 60, 80], 17, segmentation=[]), person([40, 50, 100, 120], 17))
    silhouette, unknown_keypoints, unknown_silhouette = region_masks(record, IDENTITY, (144, 192))
    assert not unknown_keypoints.any()
    assert is_filled(unknown_silhouette, (20, 20, 60, 49))
    assert is_clear(unknown_silhouette, (40, 50, 100, 120)) and is_filled(silhouette, (40, 50, 100, 120))
    assert is_clear(silhouette, (20, 20, 60, 48))
    nothing = make_record(person([20, 20, 60, 80], segmentation=[]))
    silhouette, unknown_keypoints, unknown_silhouette = region_masks(nothing, IDENTITY, (144, 192))
    assert not silhouette.any()
    assert is_filled(unknown_keypoints, (20, 20, 60, 80)) and is_filled(unknown_silhouette, (20, 20, 60, 80))


def test_padding_is_unknown_to_both(make_record):
    record = make_record(person([100, 100, 300, 300], 17))  # reaches outside the image
    matrix = affine((96, 72), (256, 256), 1)  # the image covers columns 32 to 224 and rows 56 to 200
    silhouette, *unknown = region_masks(record, matrix, (256, 256))
    for mask in unknown:
        assert is_clear(mask, (32, 56, 224, 200))
        assert not (~mask)[:55].any() and not (~mask)[201:].any()
        assert not (~mask)[:, :31].any() and not (~mask)[:, 225:].any()
    assert is_filled(silhouette, (133, 157, 224, 200)) and is_clear(silhouette, (226, 0, 256, 256))
    _, _, mask = cut_patch(np.zeros((144, 192, 3), np.uint8), record, matrix, 256)
    expected = np.zeros((64, 64))
    expected[14:50, 8:56] = 1
    np.testing.assert_array_equal(mask, np.repeat(expected[..., None], 18, axis=-1))


def test_nobody_is_known_to_be_nobody(make_record):
    silhouette, *unknown = region_masks(make_record(), IDENTITY, (144, 192))
    assert not silhouette.any() and not np.any(unknown)


@pytest.mark.skipif(not REAL_COCO, reason="MPN_COCO names no COCO folder")
def test_a_real_patch():
    records = load_coco(REAL_COCO, "val")
    record = next(r for r in records if r.labelled.sum() >= 2 and r.path.is_file())
    coco = COCO(os.path.join(REAL_COCO, "annotations", "person_keypoints_val2017.json"))
    identity = affine((record.width / 2, record.height / 2), (record.height, record.width), 1)
    silhouette = region_masks(record, identity, (record.height, record.width))[0]
    annotations = coco.loadAnns(coco.getAnnIds(record.id, iscrowd=False))
    expected = np.any([coco.annToMask(a) for a in annotations], axis=0)
    assert (silhouette & expected).sum() / (silhouette | expected).sum() > 0.95
    matrix = patch_map(record, 480, PatchAugmentation(), 0, np.random.default_rng(0))
    patch, targets, mask = cut_patch(read_image(record.path), record, matrix, 480)
    assert patch.max() > 100 and targets.shape == mask.shape == (120, 120, 18)
    assert targets[..., :17].max() > 0.9 and targets[..., 17].max() == 1 and mask.max() == 1
