import numpy as np
import pytest
import tensorflow as tf
from pycocotools import mask as coco_mask

from mpn.geometry import (
    affine,
    box_intersections,
    box_iou,
    fill_box,
    fill_polygon,
    fit_image,
    mirror_boxes,
    pad_to_multiple,
    transform_keypoints,
    transform_points,
    warp_image,
)
from mpn.skeleton import KEYPOINTS

IDENTITY = np.eye(2, 3)
LEFT_SHOULDER, RIGHT_SHOULDER = KEYPOINTS.index("left_shoulder"), KEYPOINTS.index("right_shoulder")


def draw_dot(centre, height, width, sigma=2.5):
    """(height, width) float32 image of a blurred dot at a continuous position."""
    x, y = np.arange(width) + 0.5, np.arange(height)[:, None] + 0.5
    return np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2 * sigma**2)).astype(np.float32)


def centroid(image):
    """Continuous x and y of an image's centre of mass."""
    image = image.astype(np.float64)
    x, y = np.arange(image.shape[1]) + 0.5, np.arange(image.shape[0]) + 0.5
    return np.array([(image.sum(axis=0) * x).sum(), (image.sum(axis=1) * y).sum()]) / image.sum()


def random_maps(count, seed, size=(96, 128)):
    """Maps of random rotation, scale and mirroring, each with an image point that it brings near the patch's middle."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        point = rng.uniform((40, 40), (160, 110))
        centre = point + rng.uniform(-8, 8, 2)
        yield affine(centre, size, rng.uniform(0.5, 2), rng.uniform(-180, 180), rng.random() < 0.5), point


@pytest.mark.parametrize(
    ("scale", "degrees", "mirror", "right", "below"),
    [
        (2, 0, False, (102, 50), (100, 52)),
        (2, 90, False, (100, 52), (98, 50)),  # clockwise: right becomes below
        (2, 0, True, (98, 50), (100, 52)),
        (2, 90, True, (100, 48), (98, 50)),  # mirrored, then rotated
        (0.5, 180, False, (99.5, 50), (100, 49.5)),
        (1, 30, False, (100 + 3**0.5 / 2, 50.5), (99.5, 50 + 3**0.5 / 2)),
    ],
)
def test_affine_maps_points_as_computed_by_hand(scale, degrees, mirror, right, below):
    matrix = affine((10, 20), (100, 200), scale, degrees, mirror)
    assert matrix.shape == (2, 3) and matrix.dtype == np.float64
    points = transform_points(matrix, [(10, 20), (11, 20), (10, 21)])
    np.testing.assert_allclose(points, [(100, 50), right, below], atol=1e-4)


def mirror_map(width, height):
    return affine((width / 2, height / 2), (height, width), 1, mirror=True)


def test_mirroring_is_x_to_width_minus_x():
    matrix = mirror_map(64, 48)
    np.testing.assert_allclose(transform_points(matrix, [(0, 0), (10.5, 7)]), [(64, 0), (53.5, 7)], atol=1e-5)
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    mirrored = warp_image(matrix, image, (48, 64))
    np.testing.assert_array_equal(mirrored, image[:, ::-1])
    np.testing.assert_array_equal(warp_image(matrix, mirrored, (48, 64)), image)


def test_mirroring_twice_is_identity_for_keypoints_and_boxes():
    rng = np.random.default_rng(1)
    matrix = mirror_map(64, 48)
    keypoints = np.concatenate([rng.uniform(0, 48, (3, 17, 2)), rng.integers(0, 3, (3, 17, 1))], axis=-1)
    keypoints[keypoints[..., 2] == 0] = 0
    keypoints = keypoints.astype(np.float32)
    once = transform_keypoints(matrix, keypoints)
    assert np.abs(once - keypoints).max() > 1
    np.testing.assert_allclose(transform_keypoints(matrix, once), keypoints, atol=1e-4)
    boxes = np.array([[3, 4, 20, 30], [0, 0, 64, 48]], np.float32)
    once = mirror_boxes(boxes, 64)
    np.testing.assert_array_equal(once, [[44, 4, 61, 30], [0, 0, 64, 48]])
    np.testing.assert_array_equal(mirror_boxes(once, 64), boxes)


def test_mirroring_swaps_left_and_right():
    keypoints = np.zeros((1, 17, 3), np.float32)
    keypoints[0, LEFT_SHOULDER] = 10, 20, 2
    keypoints[0, 0] = 30, 12, 1
    mirrored = transform_keypoints(mirror_map(64, 48), keypoints)
    expected = np.zeros((1, 17, 3))
    expected[0, RIGHT_SHOULDER] = 54, 20, 2
    expected[0, 0] = 34, 12, 1
    np.testing.assert_allclose(mirrored, expected, atol=1e-5)
    assert keypoints[0, LEFT_SHOULDER, 0] == 10  # the argument is as it was
    rotated = transform_keypoints(affine((32, 24), (48, 64), 1, 170), keypoints)
    assert rotated[0, LEFT_SHOULDER, 2] == 2 and rotated[0, RIGHT_SHOULDER, 2] == 0
    assert (rotated[0, 1] == 0).all()  # not labelled: stays at 0


def test_warped_images_agree_with_transformed_points():
    for matrix, point in random_maps(60, seed=2):
        warped = warp_image(matrix, draw_dot(point, 150, 200), (96, 128))
        assert warped.shape == (96, 128) and warped.dtype == np.float32
        assert np.linalg.norm(centroid(warped) - transform_points(matrix, point)) < 0.1


@pytest.mark.parametrize("scale", [0.9, 0.5, 0.34, 0.11])
@pytest.mark.parametrize("size", [(400, 600), (397, 611)])
def test_shrinking_keeps_places_and_averages_texture(scale, size):
    height, width = size
    matrix = affine((width / 2, height / 2), (40, 40), scale, degrees=30)
    # On a ramp, each pixel tells where in the image its centre lies: at x + 1/2 for pixel x.
    columns, rows = np.meshgrid(np.arange(40) + 0.5, np.arange(40) + 0.5)
    places = np.linalg.inv(np.vstack([matrix, (0, 0, 1)])) @ np.stack([columns, rows, np.ones_like(rows)]).reshape(
        3, -1
    )
    x, y = places[:2].reshape(2, 40, 40)
    inside = (x > 12) & (x < width - 12) & (y > 12) & (y < height - 12)
    ramps = np.broadcast_to(np.arange(width) + 0.5, size), np.broadcast_to(np.arange(height)[:, None] + 0.5, size)
    for ramp, expected in zip(ramps, (x, y), strict=True):
        warped = warp_image(matrix, ramp.astype(np.float32), (40, 40))
        # In image pixels, of which a patch has `scale`; OpenCV before 4.13 is off by up to .15 at the smallest.
        np.testing.assert_allclose(warped[inside], expected[inside], atol=max(0.1, 0.02 / scale))
    # A pixel that stands for n x n of the image has their mean; single samples would keep the noise.
    noise = np.random.default_rng(0).normal(0, 1, size).astype(np.float32)
    assert warp_image(matrix, noise, (40, 40))[inside].std() < max(2 * scale, 0.1)


def test_large_photographs_are_averaged():
    noise = np.random.default_rng(0).integers(0, 2, (800, 1200, 1), np.uint8).repeat(3, 2) * 255
    scaled, _ = fit_image(noise, (80, 120))
    # The mean of 10 x 10 fair bits has a deviation of 1/2 / 10.
    assert scaled.std() == pytest.approx(255 * 0.05, rel=0.1)


def test_warping_uint8_colour_images():
    matrix, point = next(random_maps(1, seed=3))
    image = np.repeat((255 * draw_dot(point, 150, 200))[..., None], 3, axis=-1).astype(np.uint8)
    image[..., 1] //= 2
    warped = warp_image(matrix, image, (96, 128))
    assert warped.shape == (96, 128, 3) and warped.dtype == np.uint8
    assert np.linalg.norm(centroid(warped[..., 0]) - transform_points(matrix, point)) < 0.2
    assert warped[..., 1].max() <= 128 and warped[..., 0].max() > 200
    outside = warp_image(affine((-500, -500), (96, 128), 1), image + 1, (96, 128))
    assert outside.max() == 0


def test_filled_polygons_agree_with_transformed_points():
    angles = np.arange(40) * np.pi / 20
    circle = 12 * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    errors = []
    for matrix, point in random_maps(60, seed=4):
        mask = np.zeros((96, 128), np.uint8)
        fill_polygon(mask, matrix, point + circle)
        errors.append(centroid(mask) - transform_points(matrix, point))
        scale = np.sqrt(abs(np.linalg.det(matrix[:, :2])))
        # cv2 also fills the pixels that the outline runs through: up to half a pixel more
        assert np.pi * (12 * scale - 0.5) ** 2 < mask.sum() < np.pi * (12 * scale + 0.7) ** 2
    # A whole-pixel mask of a small disc may be a little off, but not to one side.
    assert np.abs(errors).max() < 0.4 and np.abs(np.mean(errors, axis=0)).max() < 0.06


def test_filled_boxes_by_hand():
    mask = np.zeros((20, 30), np.uint8)
    fill_box(mask, IDENTITY, (5, 2, 15, 12))
    assert mask[2:12, 5:15].all()
    assert mask[:2].sum() == mask[13:].sum() == mask[:, :5].sum() == mask[:, 16:].sum() == 0
    far = np.zeros((20, 30), np.uint8)
    fill_box(far, affine((0, 0), (20, 30), 1e6), (-1e6, -1e6, 1e6, 1e6))
    assert far.all()


@pytest.mark.parametrize(
    ("width", "height", "image_size", "expected"),
    [
        (640, 480, (800, 1333), (1067, 800)),
        (480, 640, (800, 1333), (800, 1067)),
        (1000, 300, (800, 1333), (1333, 400)),  # the longer side is the limit
        (640, 480, (480, 800), (640, 480)),
        (1280, 960, (480, 800), (640, 480)),
        (500, 500, (480, 800), (480, 480)),
        (900, 2, (32, 64), (64, 1)),
    ],
)
def test_fit_image_respects_both_sides(width, height, image_size, expected):
    scaled, scale = fit_image(np.full((height, width, 3), 77, np.uint8), image_size)
    assert scaled.shape == (expected[1], expected[0], 3) and scaled.dtype == np.uint8
    np.testing.assert_allclose(scale, (expected[0] / width, expected[1] / height), rtol=1e-6)
    assert (scaled == 77).all()


@pytest.mark.parametrize("image_size", [(97, 400), (37, 400)])
def test_fit_image_moves_content_by_its_scale(image_size):
    point = np.array([81.3, 40.9])
    image = np.repeat((255 * draw_dot(point, 75, 100, sigma=5))[..., None], 3, axis=-1).astype(np.uint8)
    scaled, scale = fit_image(image, image_size)
    assert np.linalg.norm(centroid(scaled[..., 0]) - point * scale) < 0.1


def test_pad_to_multiple():
    assert [pad_to_multiple(size) for size in (1, 31, 32, 33, 800, 1333)] == [32, 32, 32, 64, 800, 1344]
    assert pad_to_multiple(9, 4) == 12
    np.testing.assert_array_equal(pad_to_multiple(tf.constant([32, 33])), [32, 64])


def test_overlaps_of_boxes_by_hand():
    boxes = np.array([[0, 0, 10, 20], [10, 0, 20, 20], [5, 5, 5, 9]], np.float32)
    others = np.array([[5, 10, 15, 30], [0, 0, 10, 20]], np.float32)
    np.testing.assert_array_equal(box_intersections(boxes[:, None], others), [[50, 200], [50, 0], [0, 0]])
    overlaps = box_iou(boxes[:, None], others)
    assert overlaps.dtype == np.float32
    np.testing.assert_allclose(overlaps, [[50 / 350, 1], [50 / 350, 0], [0, 0]], rtol=1e-6)
    np.testing.assert_array_equal(box_iou(boxes[:2], others), [overlaps[0, 0], 0])
    assert box_iou(boxes[:0, None], others).shape == (0, 2) and box_iou(boxes[2], boxes[2]) == 0


def test_overlaps_of_boxes_are_those_of_pycocotools():
    rng = np.random.default_rng(6)
    corners, sides = rng.uniform(0, 50, (2, 40, 2)), rng.uniform(0, 50, (2, 40, 2))
    boxes, others = np.concatenate([corners, corners + sides], axis=-1)
    coco = coco_mask.iou(*np.concatenate([corners, sides], axis=-1), [0] * 40)
    np.testing.assert_allclose(box_iou(boxes[:, None], others), coco, atol=1e-12)
