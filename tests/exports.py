"""What tests of exports share: what each format needs, a picture, and the comparison of people."""

import numpy as np
import pytest

NEEDS = {
    "onnx": ("onnx", "tf2onnx", "onnxruntime"),
    "openvino": ("openvino",),
    "saved_model": (),
    "tflite": ("ai_edge_litert",),
}


def needs(format):
    for module in NEEDS[format]:
        pytest.importorskip(module, reason=f"the extra of {format} is not installed: {module}")


def picture(height=90, width=130, seed=0):
    """Noise of several sizes, in which untrained networks see people."""
    rng = np.random.default_rng(seed)
    total = sum(
        np.kron(rng.normal(0, 40, (-(-height // size), -(-width // size), 3)), np.ones((size, size, 1)))[
            :height, :width
        ]
        for size in (2, 8, 32)
    )
    return (total + 128).clip(0, 255).astype(np.uint8)


def assert_same_people(found, expected, most=0.5):
    """The same people, whatever their order: keypoints within half a pixel where the confidence is above .3."""
    assert len(found) == len(expected) > 0
    remaining = list(found)
    for other in expected:
        nearest = min(range(len(remaining)), key=lambda i: np.abs(remaining[i].box - other.box).max())
        one = remaining.pop(nearest)
        np.testing.assert_allclose(one.box, other.box, atol=most)
        np.testing.assert_allclose([one.score, one.box_score], [other.score, other.box_score], atol=1e-3)
        sure = other.keypoints[:, 2] > 0.3
        np.testing.assert_allclose(one.keypoints[sure, :2], other.keypoints[sure, :2], atol=most)
        np.testing.assert_allclose(one.keypoints[:, 2], other.keypoints[:, 2], atol=1e-3)


def assert_nearly_same_people(found, expected):
    """The same but for a few of many people.

    Untrained heads find many boxes, of which some overlap by nearly the NMS threshold. Rounding decides about those,
    and about keypoints that several boxes share.
    """
    assert abs(len(found) - len(expected)) <= 3
    assert sum(any(_is_same(one, other) for one in found) for other in expected) >= 0.7 * len(expected) > 0


def _is_same(one, other):
    try:
        assert_same_people([one], [other])
    except AssertionError:
        return False
    return True
