"""Heads, pyramid, PRN and person detector: shapes of the paper, and values that can be worked out otherwise."""

import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from backbones import build_small_backbone
from keras_retinanet.utils.anchors import anchors_for_shape, bbox_transform
from tiny_networks import NARROW, outputs_of

from mpn.inference.graphs import suppress_boxes
from mpn.models.fpn import feature_pyramid
from mpn.models.keypoint import build_keypoint_model, build_keypoint_subnet
from mpn.models.networks import Networks
from mpn.models.person import NMS_THRESHOLD, build_anchors, build_person_subnet, decode_boxes
from mpn.models.prn import build_prn
from mpn.models.upsampling import BilinearUpsampling

TINY = NARROW.replace(keypoint_channels=16, person_channels=16, person_head_channels=16)


@pytest.fixture(scope="module")
def light():
    return build_small_backbone("mobilenet_v2")


def backbone_like_resnet(dilated):
    """What the subnets use of a backbone: the shapes and strides of its outputs."""
    channels = {"C2": 8, "C3": 16, "C4": 24, "C5": 32}
    strides = {"C2": 4, "C3": 8, "C4": 16, "C5": 16 if dilated else 32}
    output = {level: keras.Input((None, None, count)) for level, count in channels.items()}
    return types.SimpleNamespace(output=output, strides=strides)


def features_of(backbone, height, width):
    rng = np.random.default_rng(0)
    return {
        level: rng.random((1, height // backbone.strides[level], width // backbone.strides[level], t.shape[-1]))
        for level, t in backbone.output.items()
    }


# --- feature pyramid


def pyramid_of(shapes, strides, channels=1):
    inputs = {level: keras.Input(shape, name=level) for level, shape in shapes.items()}
    return keras.Model(inputs, feature_pyramid(inputs, strides, channels, prefix="K"))


def test_pyramid_by_hand():
    model = pyramid_of({"C2": (4, 4, 2), "C3": (2, 2, 3)}, {"C2": 4, "C3": 8})
    for layer in model.layers:
        if layer.weights:
            kernel, bias = layer.get_weights()
            layer.set_weights([np.ones_like(kernel), np.zeros_like(bias)])
    outputs = outputs_of(model, {"C2": np.full((1, 4, 4, 2), 5.0), "C3": np.full((1, 2, 2, 3), 7.0)})
    # Laterals: 2·5 and 3·7. K2 = 10 + 21 at each cell, times the cells that a 3x3 window covers.
    assert list(outputs) == ["K2", "K3"]
    cells = np.array([[4, 6, 6, 4], [6, 9, 9, 6], [6, 9, 9, 6], [4, 6, 6, 4]])
    np.testing.assert_allclose(outputs["K2"][0, ..., 0], 31 * cells)
    np.testing.assert_allclose(outputs["K3"][0, ..., 0], np.full((2, 2), 21 * 4))


@pytest.mark.parametrize("ratio", [1, 2])
def test_pyramid_adds_the_nearest_cell_from_above(ratio):
    coarse_side = 4 // ratio
    model = pyramid_of({"C4": (4, 4, 1), "C5": (coarse_side, coarse_side, 1)}, {"C4": 16, "C5": 16 * ratio})
    for layer in model.layers:
        if layer.weights:
            kernel = np.zeros_like(layer.get_weights()[0])
            kernel[kernel.shape[0] // 2, kernel.shape[1] // 2] = 1  # the identity
            layer.set_weights([kernel, np.zeros(1)])
    fine = np.arange(16.0).reshape(1, 4, 4, 1)
    coarse = 100.0 * np.arange(coarse_side**2).reshape(1, coarse_side, coarse_side, 1)
    outputs = outputs_of(model, {"C4": fine, "C5": coarse})
    np.testing.assert_allclose(outputs["K5"], coarse)
    np.testing.assert_allclose(outputs["K4"], fine + coarse.repeat(ratio, axis=1).repeat(ratio, axis=2))


# --- bilinear upsampling


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_upsampling_equals_tf_image_resize(factor):
    maps = np.random.default_rng(factor).random((2, 5, 3, 4), np.float32)
    expected = tf.image.resize(maps, (5 * factor, 3 * factor), method="bilinear")
    layer = BilinearUpsampling(factor)
    np.testing.assert_allclose(layer(maps), expected, atol=1e-6)
    assert layer.compute_output_shape((None, None, 3, 4)) == (None, None, 3 * factor, 4)

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 4))])
    def unknown_size(x):
        return layer(x)

    np.testing.assert_allclose(unknown_size(maps), expected, atol=1e-6)
    other = maps[:, :1, :2]
    np.testing.assert_allclose(
        unknown_size(other), tf.image.resize(other, (factor, 2 * factor), method="bilinear"), atol=1e-6
    )


def test_upsampling_is_restored_from_its_config():
    copy = BilinearUpsampling.from_config(BilinearUpsampling(4, name="up").get_config())
    assert (copy.factor, copy.name) == (4, "up")


# --- keypoint subnet


@pytest.mark.parametrize("dilated", [False, True])
def test_keypoint_outputs_are_at_stride_4(dilated):
    backbone = backbone_like_resnet(dilated)
    subnet = build_keypoint_subnet(backbone, channels=8, head_channels=4)
    outputs = outputs_of(subnet, features_of(backbone, 64, 96))
    assert sorted(outputs) == ["K2", "K3", "K4", "K5", "heatmaps"]
    for value in outputs.values():
        assert value.shape == (1, 16, 24, 18) and value.dtype == np.float32


def test_no_intermediate_supervision_leaves_the_heatmaps_alone(light):
    subnet = build_keypoint_subnet(light, 8, 4, intermediate_supervision=False)
    outputs = outputs_of(subnet, features_of(light, 32, 64))
    assert {name: value.shape for name, value in outputs.items()} == {"heatmaps": (1, 8, 16, 18)}
    assert not [layer.name for layer in subnet.layers if layer.name.startswith("K") and "heatmaps" in layer.name]


def test_no_concat_predicts_from_d2_alone(light):
    subnet = build_keypoint_subnet(light, 8, 4, concat=False)
    names = {layer.name for layer in subnet.layers}
    assert {"D2_1", "D2_2"} <= names
    assert not {name for name in names if name.startswith(("D3", "D4", "D5", "D_concat"))}
    assert subnet.get_layer("D_smooth").kernel.shape[2] == 4
    outputs = outputs_of(subnet, features_of(light, 32, 64))
    assert outputs["heatmaps"].shape == (1, 8, 16, 18) and "K5" in outputs


def test_default_depths_are_those_of_the_paper(light):
    subnet = build_keypoint_subnet(light)
    assert subnet.get_layer("D_concat").output.shape[-1] == 512
    assert subnet.get_layer("D_smooth").kernel.shape == (3, 3, 512, 512)
    assert subnet.get_layer("heatmaps").kernel.shape == (1, 1, 512, 18)
    for level in (2, 3, 4, 5):
        assert subnet.get_layer(f"K{level}").kernel.shape == (3, 3, 256, 256)
        assert subnet.get_layer(f"D{level}_1").kernel.shape == (3, 3, 256, 128)
        assert subnet.get_layer(f"D{level}_2").kernel.shape == (3, 3, 128, 128)
        assert subnet.get_layer(f"K{level}_heatmaps").kernel.shape == (1, 1, 256, 18)


def test_every_level_reaches_the_heatmaps(light):
    subnet = build_keypoint_subnet(light, 8, 4, intermediate_supervision=False)
    features = features_of(light, 64, 64)
    before = outputs_of(subnet, features)["heatmaps"]
    for level in features:
        changed = outputs_of(subnet, {**features, level: 3 * features[level] + 5})["heatmaps"]
        assert np.abs(changed - before).max() > 1e-6, level


def test_keypoint_model_for_inference_drops_intermediate_outputs(light):
    subnet = build_keypoint_subnet(light, 8, 4)
    image = np.random.default_rng(0).uniform(0, 255, (1, 64, 64, 3)).astype(np.float32)
    full = outputs_of(build_keypoint_model(light, subnet), image)
    lean = outputs_of(build_keypoint_model(light, subnet, supervised=False), image)
    assert list(lean) == ["heatmaps"] and len(full) == 5
    np.testing.assert_array_equal(lean["heatmaps"], full["heatmaps"])


# --- PRN


def rois(count=2):
    return np.random.default_rng(3).random((count, 56, 36, 17), np.float32) * 4


def softmax_over_cells(x):
    e = np.exp(x - x.max(axis=(1, 2), keepdims=True))
    return e / e.sum(axis=(1, 2), keepdims=True)


def zeroed(model):
    model.set_weights([np.zeros_like(w) for w in model.get_weights()])
    return model


def test_prn_has_the_papers_number_of_parameters():
    assert build_prn().count_params() == 70_224_352


def test_prn_gives_a_distribution_for_each_keypoint():
    poses = outputs_of(build_prn(nodes=8, layers=2), rois())
    assert poses.shape == (2, 56, 36, 17)
    np.testing.assert_allclose(poses.sum(axis=(1, 2)), np.ones((2, 17)), rtol=1e-5)
    assert poses.min() > 0


def test_residual_prn_without_correction_is_the_softmax_of_its_input():
    x = rois()
    poses = outputs_of(zeroed(build_prn(nodes=8)), x)
    np.testing.assert_allclose(poses, softmax_over_cells(x), rtol=1e-4)


def test_prn_without_residual_forgets_its_input_when_zeroed():
    poses = outputs_of(zeroed(build_prn(nodes=8, residual=False)), rois())
    np.testing.assert_allclose(poses, np.full(poses.shape, 1 / (56 * 36)), rtol=1e-5)


def test_prn_correction_of_one_cell_moves_that_cell():
    """The flat correction and the RoI are laid out alike: row, column, keypoint."""
    model = zeroed(build_prn(nodes=8))
    kernel, bias = model.get_layer("correction").get_weights()
    bias[np.ravel_multi_index((50, 7, 11), (56, 36, 17))] = 2.0
    model.get_layer("correction").set_weights([kernel, bias])
    x = rois()
    shifted = x.copy()
    shifted[:, 50, 7, 11] += 2
    np.testing.assert_allclose(outputs_of(model, x), softmax_over_cells(shifted), rtol=1e-4)


def test_prn_drops_out_in_training_only():
    model = build_prn(nodes=64, dropout=0.5)
    x = rois(1)
    np.testing.assert_array_equal(model(x), model(x))
    assert np.abs(model(x, training=True) - model(x, training=True)).max() > 0


# --- person detector

SIZES = [(32, 32), (64, 96), (128, 64), (160, 224), (480, 800)]


@pytest.mark.parametrize("size", SIZES)
def test_anchors_equal_those_of_keras_retinanet(size):
    expected = anchors_for_shape(size)
    np.testing.assert_allclose(build_anchors(*size), expected, rtol=1e-5, atol=1e-3)
    tensors = tf.function(build_anchors)(*(tf.constant(side) for side in size))
    np.testing.assert_allclose(tensors, expected, rtol=1e-5, atol=1e-3)


def random_boxes(count, height, width, seed=0):
    rng = np.random.default_rng(seed)
    a, b = rng.uniform(0, [width, height], (2, count, 2))
    return np.concatenate([np.minimum(a, b), np.maximum(a, b)], axis=1).astype(np.float32)


def test_decode_boxes_inverts_bbox_transform():
    height, width = 96, 160
    anchors = anchors_for_shape((height, width))
    boxes = np.stack([random_boxes(len(anchors), height, width, seed) for seed in (1, 2)])
    regression = np.stack([bbox_transform(anchors, b) for b in boxes]).astype(np.float32)
    np.testing.assert_allclose(decode_boxes(regression, height, width), boxes, atol=1e-2)


def test_boxes_are_clipped_to_the_image():
    height, width = 64, 96
    anchors = anchors_for_shape((height, width))
    beyond = np.tile(np.array([-50.0, -20.0, width + 40.0, height + 30.0]), (len(anchors), 1))
    regression = bbox_transform(anchors, beyond)[None].astype(np.float32)
    decoded = decode_boxes(regression, height, width)[0].numpy()
    np.testing.assert_allclose(decoded, np.tile([0, 0, width, height], (len(anchors), 1)))


def test_chosen_anchors_are_decoded_as_among_all():
    regression = np.random.default_rng(4).normal(0, 0.5, (2, len(anchors_for_shape((64, 96))), 4)).astype(np.float32)
    everything = decode_boxes(regression, 64, 96).numpy()
    for chosen in ([7, 0, 41], []):
        few = decode_boxes(regression, 64, 96, np.array(chosen, np.int64)).numpy()
        np.testing.assert_array_equal(few, everything[:, chosen].reshape(2, len(chosen), 4))


@pytest.mark.parametrize("dilated", [False, True])
def test_person_subnets_have_the_same_anchors(dilated):
    backbone = backbone_like_resnet(dilated)
    subnet = build_person_subnet(backbone, 8, 8)
    for size in SIZES[:4]:
        features = features_of(backbone, *size)
        outputs = outputs_of(subnet, {level: features[level] for level in ("C3", "C4", "C5")})
        count = len(anchors_for_shape(size))
        assert outputs["regression"].shape == (1, count, 4)
        assert outputs["classification"].shape == (1, count, 1)


def test_boxes_that_overlap_by_less_than_the_threshold_stay():
    height, width = 64, 128
    anchors = anchors_for_shape((height, width))
    boxes = np.array(
        [
            [0, 0, 40, 40],
            [16, 0, 56, 40],  # intersection 24·40, IoU 0.43 with the first: suppressed
            [80, 0, 120, 40],
            [80, 22, 120, 62],  # 18 of 62 rows, IoU 0.29 with the third: kept
            [60, 0, 64, 40],  # below the score threshold
        ],
        np.float32,
    )
    places = [10, 200, 40, 333, 77]
    regression = np.zeros((2, len(anchors), 4), np.float32)
    regression[1, places] = bbox_transform(anchors[places], boxes)
    scores = np.zeros((len(anchors), 1), np.float32)
    scores[places, 0] = [0.9, 0.8, 0.7, 0.95, 0.04]
    decoded = decode_boxes(regression, height, width)[1]
    found = suppress_boxes(decoded, scores, np.float32([width, height]), NMS_THRESHOLD)
    np.testing.assert_allclose(found["box_scores"], [0.95, 0.9, 0.7], rtol=1e-6)
    np.testing.assert_allclose(found["boxes"], boxes[[3, 0, 2]], atol=1e-2)


def test_boxes_that_overlap_enough_move_the_one_that_stays():
    boxes = np.float32([[0, 0, 40, 36], [0, 0, 40, 40], [20, 0, 60, 40], [0, 20, 40, 52]])
    scores = np.float32([[0.6], [0.9], [0.8], [0.7]])  # IoU with the best: .9, 1, .33 and .38
    found = suppress_boxes(boxes, scores, np.float32([100, 48]), 0.35)
    voted = (0.9 * 0.4 * 40 + 0.6 * 0.3 * 36) / (0.9 * 0.4 + 0.6 * 0.3)
    np.testing.assert_allclose(found["boxes"], [[0, 0, 40, voted], boxes[2]], rtol=1e-5)
    np.testing.assert_allclose(found["box_scores"], [0.9, 0.8])


# --- assembly


@pytest.fixture(scope="module")
def networks(small_backbone):
    return Networks(TINY)


def test_both_subnets_share_one_backbone_object(networks):
    assert networks.person_detector.backbone is networks.backbone
    assert any(layer is networks.backbone for layer in networks.keypoint_model().layers)
    assert any(layer is networks.backbone for layer in networks.forward.layers)
    own = {id(w) for w in networks.person_detector.subnet.weights}
    shared = {id(w) for w in networks.backbone.weights}
    assert not own & shared
    assert {id(w) for w in networks.person_detector.weights} == own | shared


def test_forward_equals_the_models_one_by_one(networks):
    image = np.random.default_rng(1).uniform(0, 255, (2, 64, 96, 3)).astype(np.float32)
    outputs = outputs_of(networks.forward, image)
    assert sorted(outputs) == ["classification", "heatmaps", "regression"]
    heatmaps = outputs_of(networks.keypoint_model(), image)["heatmaps"]
    people = outputs_of(networks.person_detector, image)
    assert heatmaps.shape == (2, 16, 24, 18) and np.abs(heatmaps).max() > 0
    np.testing.assert_allclose(outputs["heatmaps"], heatmaps, atol=1e-6)
    for name in ("regression", "classification"):
        np.testing.assert_allclose(outputs[name], people[name], atol=1e-5)
    assert people["regression"].shape[1] == len(anchors_for_shape((64, 96)))
