"""Test-time augmentation: views of an image whose truth is known agree about it, whatever their scale and side."""

import dataclasses
import functools
import types

import numpy as np
import pytest
import tensorflow as tf

from mpn import MultiPoseNet
from mpn.config import ModelConfig
from mpn.errors import UserError
from mpn.heatmaps import STRIDE, encode_keypoints, find_peaks
from mpn.inference.augmentation import merge_views, on_grid
from mpn.inference.views import Augmentation
from mpn.skeleton import KEYPOINTS, MIRROR, NUM_KEYPOINTS

CONFIG = ModelConfig(image_size=(192, 320))
LEFT, RIGHT = KEYPOINTS.index("left_wrist"), KEYPOINTS.index("right_wrist")

# Neither side is a multiple of a cell at any scale, and rounding makes the scales of x and y differ.
WIDTH, HEIGHT = 401, 307
SCALE_1 = 192 / HEIGHT  # input pixels an image pixel at scale 1

# An augmentation that has everything.
ALL = {"scales": (0.5, 1, 1.5, 2), "mirror": True, "crops": 2}


def prepared_views(**augmentation):
    model = types.SimpleNamespace(config=CONFIG, square=False)
    blank = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    return Augmentation(**augmentation).views(blank, lambda *view: MultiPoseNet.prepare(model, *view))


def true_outputs(view, inputs, keypoints, boxes):
    """What a perfect network gives for a view: the target heatmaps, with a silhouette of 1/4 everywhere, and boxes.

    Args:
        keypoints: (N, 17, 3) float and boxes: (M, 4) float, in image pixels.
    """
    corner, scale = view.part[:2], np.array(view.scale)
    limits = np.subtract(view.part[2:], corner) * scale
    points = np.concatenate([(keypoints[..., :2] - corner) * scale, keypoints[..., 2:]], axis=-1)
    corners = ((np.reshape(boxes, (-1, 2, 2)) - corner) * scale).clip(0, limits)
    if view.mirrored:
        points[..., 0] = limits[0] - points[..., 0]
        points = points[:, MIRROR]
        corners[..., 0] = limits[0] - corners[:, ::-1, 0]
    points[((points[..., :2] < 0) | (points[..., :2] > limits)).any(axis=-1)] = 0
    heatmaps = encode_keypoints(points, *inputs[0].shape[1:3])
    corners = corners[(corners[:, 1] > corners[:, 0]).all(axis=-1)].reshape(-1, 4)
    outputs = {
        "heatmaps": np.concatenate([heatmaps, np.full((*heatmaps.shape[:2], 1), 0.25)], axis=-1),
        "boxes": corners,
        "box_scores": np.full(len(corners), 0.9 if view.mirrored else 0.8),
    }
    return {name: tf.constant(value, tf.float32) for name, value in outputs.items()}


def merged_truth(keypoints, boxes=(), **augmentation):
    """What perfect networks give together."""
    views = [(view, (view, inputs)) for view, inputs in prepared_views(**augmentation)]
    return merge_views(views, lambda view, inputs: true_outputs(view, inputs, keypoints, boxes))


def scattered(seed, margin=0.0):
    """One keypoint of each kind somewhere in the image, `margin` pixels away from its border."""
    places = np.random.default_rng(seed).uniform(margin, (WIDTH - margin, HEIGHT - margin), (1, NUM_KEYPOINTS, 2))
    return np.concatenate([places, np.full((1, NUM_KEYPOINTS, 1), 2.0)], axis=-1)


def distances(heatmaps, scale, keypoints):
    """How far the only peak of each keypoint is from the truth, in input pixels at scale 1."""
    peaks, scores = (np.asarray(found)[0] for found in find_peaks(heatmaps[None, ..., :NUM_KEYPOINTS]))
    assert (scores[:, 0] > 0.8).all() and not scores[:, 1:].any(), scores[:, :2]
    return np.abs(peaks[:, 0] * STRIDE / scale - keypoints[0, :, :2]).max(axis=1) * SCALE_1


@pytest.mark.parametrize(
    "augmentation",
    [
        {"mirror": True},
        {"scales": (0.5, 1)},
        {"scales": (1, 1.5)},
        {"scales": (1.3, 0.7), "mirror": True},
        {"scales": (2,), "mirror": True},
        {"crops": 2},
        {"crops": 3, "mirror": True},
        ALL,
    ],
)
def test_peaks_stay_in_place(augmentation):
    for seed in range(3):
        keypoints = scattered(seed, margin=12)
        merged = merged_truth(keypoints, **augmentation)
        errors = distances(merged.heatmaps, merged.scale, keypoints)
        assert errors.max() < 0.25 and errors.mean() < 0.03


@pytest.mark.parametrize("scale", [0.5, 0.7, 1, 1.5, 2])
@pytest.mark.parametrize("mirrored", [False, True])
def test_every_view_alone_is_in_place(scale, mirrored):
    """An average could hide the error of one view."""
    view, inputs = prepared_views(scales=(scale,), mirror=True)[mirrored]
    assert view.mirrored == mirrored
    factor = 2.2 * SCALE_1
    places = [STRIDE * (np.arange(round(side * factor / STRIDE)) + 0.5) / factor for side in (WIDTH, HEIGHT)]
    for seed in range(3):
        keypoints = scattered(seed, margin=12)
        heatmaps = true_outputs(view, inputs, keypoints, ())["heatmaps"]
        errors = distances(on_grid(heatmaps, dataclasses.replace(view, share=1), places), factor, keypoints)
        assert errors.max() < 0.25


def test_peaks_at_the_border_stay_in_place():
    """In the outer half of its last cell a view knows nothing beyond; repeating the cell would cost several pixels."""
    for seed in range(12):
        keypoints, side = scattered(seed, margin=12), seed % 4
        keypoints[..., side // 2] = (0.4, WIDTH - 0.4, 0.4, HEIGHT - 0.4)[side]
        merged = merged_truth(keypoints, scales=(0.5, 1, 1.5, 2), mirror=True)
        assert distances(merged.heatmaps, merged.scale, keypoints).max() < 1


def test_weights_of_all_views_sum_to_one():
    for augmentation in ({"scales": (0.5, 1), "mirror": True}, {"crops": 3}, ALL):
        np.testing.assert_allclose(
            merged_truth(scattered(0), **augmentation).heatmaps[..., NUM_KEYPOINTS], 0.25, atol=1e-4
        )


def test_the_grid_is_the_finest_without_padding():
    merged = merged_truth(scattered(0), scales=(2, 0.5), mirror=True)
    width, height = round(WIDTH * 2 * SCALE_1), 384
    assert merged.heatmaps.shape == (height // 4, -(-width // 4), 18)
    np.testing.assert_allclose(merged.scale, (width / WIDTH, height / HEIGHT), rtol=1e-6)
    np.testing.assert_allclose(merged.size, (width, height), rtol=1e-6)


def test_boxes_of_all_views_are_the_same_boxes():
    boxes = np.array([[10, 20, 90, 300], [200.5, 3, 401, 307], [0, 0, 401, 307]])
    merged = merged_truth(scattered(0), boxes, scales=(0.5, 2), mirror=True)
    expected = np.tile(boxes, (4, 1))
    np.testing.assert_allclose(merged.boxes / np.tile(merged.scale, 2), expected, atol=1e-3)
    np.testing.assert_allclose(merged.box_scores, np.repeat([0.8, 0.9, 0.8, 0.9], 3), atol=1e-6)


def test_crops_give_no_boxes_of_people_whom_they_cut():
    """Crops of 2 x 2 meet at thirds of the image: x 133.7 and 267.3, y 102.3 and 204.7."""
    boxes = np.array([[10, 20, 120, 190], [100, 20, 180, 190], [150, 10, 390, 300], [0, 0, 401, 307]])
    merged = merged_truth(scattered(0), boxes, crops=2)
    found = merged.boxes / np.tile(merged.scale, 2)
    matches = np.abs(found[:, None] - boxes).max(axis=-1) < 1e-3
    assert matches.any(axis=1).all()  # whole people only
    # The image sees all four. The first is whole in the upper left crop, the second there alone too: it reaches to the
    # left of the upper right one. The others are in no crop.
    assert matches.sum(axis=0).tolist() == [2, 2, 1, 1]


def test_crops_cover_the_image_and_overlap_by_half():
    for crops in (2, 3, 5):
        parts = [view.part for view, _ in prepared_views(crops=crops)[1:]]
        assert len(parts) == crops**2
        covered = np.zeros((HEIGHT, WIDTH), int)
        for left, top, right, bottom in parts:
            assert 0 <= left < right <= WIDTH and 0 <= top < bottom <= HEIGHT
            assert (right - left) * (crops + 1) / 2 == pytest.approx(WIDTH, abs=crops + 1)
            covered[top:bottom, left:right] += 1
        assert covered.min() == 1 and covered[HEIGHT // 2, WIDTH // 2] >= 4


class Blobs(MultiPoseNet):
    """Its network finds the red blob of an image, which is a wrist, and a person around it.

    The blue blob tells the sides: it is at the wrist's left, as the image shows it, where the wrist is a left one.
    """

    def __init__(self, *augmentation):
        networks = types.SimpleNamespace(config=CONFIG, position_prior=None, prn=None, forward=None)
        super().__init__(networks, precision="float32", grouping="max", augmentation=Augmentation(*augmentation))
        self.passes = []

    def prepare(self, *view):
        inputs, scale = super().prepare(*view)
        self.passes.append(inputs[0].shape[1:3])
        return inputs, scale

    def _forward(self, images):
        pixels = tf.cast(images[0], tf.float32)
        height, width = tf.shape(pixels)[0], tf.shape(pixels)[1]
        x = tf.range(tf.cast(width, tf.float32)) + 0.5
        y = tf.range(tf.cast(height, tf.float32)) + 0.5

        def centre(channel):
            return tf.stack(
                [
                    tf.reduce_sum(pixels[..., channel] * x) / tf.reduce_sum(pixels[..., channel]),
                    tf.reduce_sum(pixels[..., channel] * y[:, None]) / tf.reduce_sum(pixels[..., channel]),
                ]
            )

        red, blue = centre(0), centre(2)
        spread = tf.sqrt(tf.reduce_sum(pixels[..., 0] * (x - red[0]) ** 2) / tf.reduce_sum(pixels[..., 0]))
        cells = x[::STRIDE] + 1.5, y[::STRIDE] + 1.5
        gaussian = tf.exp(-((cells[0] - red[0]) ** 2 + (cells[1][:, None] - red[1]) ** 2) / (2 * 7.0**2))
        joint = tf.where(blue[0] < red[0], LEFT, RIGHT)
        channels = tf.one_hot(joint, NUM_KEYPOINTS) * gaussian[..., None]
        silhouette = tf.nn.avg_pool2d(pixels[None, ..., :1] / 255, STRIDE, STRIDE, "VALID")[0]
        heatmaps = tf.concat([channels, silhouette], axis=-1)[None]
        # To the right of the wrist there is more of the person than to its left, if it is a left one.
        reach = tf.where(blue[0] < red[0], (1.0, 2.0, 3.0, 2.5), (3.0, 2.0, 1.0, 2.5)) * spread
        box = tf.concat([red - reach[:2], red + reach[2:]], axis=0)
        return {"heatmaps": heatmaps, "box": box}

    def _boxes(self, outputs, images, size):
        return {"boxes": outputs["box"][None], "box_scores": tf.constant([0.5])}


blobs_model = functools.cache(Blobs)  # graphs take seconds to make

WRIST = np.array([150.3, 171.8])


def blobs():
    """An image with a left wrist at WRIST, and a blue blob at its left."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for channel, centre in ((0, WRIST), (2, (80, 100))):
        image[..., channel] = np.rint(255 * np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2 * 15.0**2)))
    return image


@pytest.mark.parametrize("augmentation", [(), ((1,), True), ((0.5, 1), False), ((0.5, 1, 1.5, 2), True)])
def test_from_the_image_to_people(augmentation):
    """The passes' own pixels decide here: scaling, mirroring and padding of images agree with those of heatmaps."""
    model = blobs_model(*augmentation)
    model.passes.clear()
    people, silhouettes = model.predict(blobs(), with_silhouettes=True)
    assert len(model.passes) == len(model.augmentation.scales) * (1 + model.augmentation.mirror)
    assert len(people) == 1  # the boxes of all passes are one
    expected = (*WRIST - (15, 30), *WRIST + (45, 37.5))
    np.testing.assert_allclose(people[0].box, expected, atol=1.0)
    x, y, confidence = people[0].keypoints[LEFT]
    assert np.abs((x, y) - WRIST).max() * SCALE_1 < 0.25
    assert confidence > 0.9 > 0.1 > people[0].keypoints[RIGHT, 2]
    mask = silhouettes.mask()
    rows, columns = np.nonzero(mask)
    assert mask.shape == (HEIGHT, WIDTH)
    assert (columns.mean() + 0.5, rows.mean() + 0.5) == pytest.approx(tuple(WRIST), abs=0.7)
    # The blob is above one half within 17.7 pixels of its middle; a cell is up to 13 pixels wide.
    assert np.sqrt(mask.sum() / np.pi) == pytest.approx(15 * np.sqrt(2 * np.log(2)), abs=1.5)
    assert people[0].silhouettes is silhouettes


def test_heatmaps_are_the_average():
    model = blobs_model((0.5, 1.5), True)
    heatmaps = model.heatmaps(blobs())
    assert isinstance(heatmaps, np.ndarray) and heatmaps.shape == (72, 94, 18)
    assert heatmaps[..., LEFT].max() > 0.9 and np.abs(heatmaps[..., RIGHT]).max() < 1e-3


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (200, 3), (33, 31)])
def test_odd_sizes_work(shape):
    image = np.random.default_rng(0).integers(1, 256, (*shape, 3), np.uint8)
    for augmentation in (((1,), True), ((0.25, 1), False), ((0.5, 1, 1.5, 2), True, 2)):
        for person in blobs_model(*augmentation).predict(image):
            assert np.isfinite(person.keypoints).all() and (person.box[2:] <= shape[::-1]).all()


def test_one_view_is_no_augmentation(monkeypatch):
    """The single graph is used as ever, and a scale of 1 that is given changes nothing."""
    model = Blobs([1], False, 1)
    monkeypatch.setattr("mpn.inference.multiposenet.merge_views", None)
    assert len(model.predict(blobs())) == 1
    assert model.passes == [(192, 256)]


@pytest.mark.parametrize("image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), None])
def test_other_arrays_are_refused(image):
    for method in ("predict", "detect", "heatmaps"):
        with pytest.raises(ValueError, match="uint8 RGB"):
            getattr(blobs_model((1,), True), method)(image)


@pytest.mark.parametrize(
    ("augmentation", "words"),
    [
        ({"scales": ()}, "a list of numbers"),
        ({"scales": (1, -0.5)}, "-0.5"),
        ({"scales": (1, float("nan"))}, "nan"),
        ({"scales": (15,)}, "15"),
        ({"scales": (0.5, 1, 0.5)}, "differ"),
        ({"crops": 0}, "crops"),
        ({"crops": 1.5}, "1.5"),
    ],
)
def test_augmentations_that_cannot_be_are_refused(augmentation, words):
    with pytest.raises(UserError, match=words):
        Augmentation(**augmentation)
