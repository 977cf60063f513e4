"""Imperfect keypoints and boxes, as detectors give them, made from labels to train and test the PRN."""

import dataclasses

import numpy as np

from mpn.geometry import box_iou
from mpn.skeleton import OKS_SIGMAS

# False peaks may lie outside a person's box by up to this share of its size.
_FALSE_PEAK_REACH = 0.25


@dataclasses.dataclass(frozen=True)
class Imperfections:
    """How peaks differ from the true keypoints."""

    # Standard deviation of the error along x and y, in units of COCO's 2 sigma_k sqrt(area). At 0.5 the mean error
    # costs a keypoint an OKS of about 0.2.
    displacement: float = 0.0
    dropped: float = 0.0  # share of keypoints without a peak
    false_peaks: float = 0.0  # as a share of the true peaks of the same keypoint
    least_height: float = 1.0  # heights are uniform in [least_height, 1]

    def peaks(self, keypoints, boxes, areas, rng):
        """Returns peaks for keypoints: positions (..., N, 17, 2) and heights (..., N, 17), both float32.

        Heights lie in [0, 1] and are 0 if there is no peak. If `false_peaks` is not 0, N becomes 2 N: the false peaks
        follow the true ones. `keypoints` is (..., N, 17, 3) float32, x, y in pixels and v, which is 0 for an unlabelled
        keypoint. `boxes` is (..., N, 4) float32, [x1, y1, x2, y2] in pixels; `areas` is (..., N) float32 in square
        pixels.
        """
        labelled = keypoints[..., 2] > 0
        positions = keypoints[..., :2]
        heights = labelled.astype(np.float32)
        if self.displacement:
            spread = 2 * OKS_SIGMAS * np.sqrt(areas)[..., None] * self.displacement
            positions = positions + rng.standard_normal(positions.shape, np.float32) * spread[..., None]
        if self.dropped:
            heights = heights * (rng.random(heights.shape, np.float32) >= self.dropped)
        if self.false_peaks:
            sides = (boxes[..., 2:] - boxes[..., :2])[..., None, :]
            shares = rng.random(positions.shape, np.float32) * (1 + 2 * _FALSE_PEAK_REACH) - _FALSE_PEAK_REACH
            false = boxes[..., None, :2] + shares * sides
            present = labelled & (rng.random(heights.shape, np.float32) < self.false_peaks)
            positions = np.concatenate([positions, false], axis=-3)
            heights = np.concatenate([heights, present], axis=-2)
        if self.least_height < 1:
            heights = heights * (self.least_height + (1 - self.least_height) * rng.random(heights.shape, np.float32))
        return positions.astype(np.float32), heights.astype(np.float32)


PERFECT = Imperfections()


def jitter_boxes(boxes, amount, rng):
    """Moves each side of (N, 4) float32 boxes by up to `amount`, a share of the box's width or height."""
    sides = boxes[:, 2:] - boxes[:, :2]
    return boxes + rng.uniform(-amount, amount, boxes.shape).astype(np.float32) * np.tile(sides, 2)


def boxes_at_iou(boxes, iou, rng):
    """Returns (N, 4) float32 boxes whose IoU with the given (N, 4) ones is `iou`, 0.7 to 1, within 0.001.

    Each side moves in a random direction and proportion, drawn from the numpy Generator `rng`.
    """
    sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    shares = rng.uniform(-1, 1, boxes.shape)
    moves = shares / np.abs(shares).max(axis=1, keepdims=True, initial=1e-9) * sides
    # Bisection works, since a box that moves less far overlaps more.
    low, high = np.zeros(len(boxes)), np.full(len(boxes), 0.49)
    for _ in range(30):
        middle = (low + high) / 2
        near = box_iou(boxes, boxes + middle[:, None] * moves) > iou
        low, high = np.where(near, middle, low), np.where(near, high, middle)
    return (boxes + low[:, None] * moves).astype(np.float32)
