"""Imperfect keypoints and boxes made from labels, like those of detectors, to train the PRN on and to test it with."""

import dataclasses

import numpy as np

from mpn.geometry import box_iou
from mpn.skeleton import OKS_SIGMAS

# How far beyond a person's box, as a share of its size, a false peak may lie.
_FALSE_PEAK_REACH = 0.25


@dataclasses.dataclass(frozen=True)
class Imperfections:
    """How peaks differ from the true keypoints.

    Attributes:
        displacement: standard deviation of the error along x and y, in units of COCO's 2 sigma_k sqrt(area). At 0.5 the
            mean error costs a keypoint an OKS of about 0.2.
        dropped: share of keypoints without a peak.
        false_peaks: false peaks, as a share of the true ones of the same keypoint.
        least_height: peaks have heights uniform in [least_height, 1].
    """

    displacement: float = 0.0
    dropped: float = 0.0
    false_peaks: float = 0.0
    least_height: float = 1.0

    def peaks(self, keypoints, boxes, areas, rng):
        """Peaks of keypoints.

        Args:
            keypoints: (..., N, 17, 3) float32, x, y in pixels and v; v = 0 where there is none.
            boxes: (..., N, 4) float32, [x1, y1, x2, y2] of their people.
            areas: (..., N) float32, square pixels.
            rng: numpy Generator.

        Returns:
            positions: (..., N, 17, 2) float32, displaced true peaks, or (..., 2 N, 17, 2) with false ones after them
                where `false_peaks` is not 0.
            heights: (..., N or 2 N, 17) float32 in [0, 1], 0 where there is no peak.
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
    """(N, 4) float32 boxes, each of whose sides moves by up to `amount`, a share of the box's width or height."""
    sides = boxes[:, 2:] - boxes[:, :2]
    return boxes + rng.uniform(-amount, amount, boxes.shape).astype(np.float32) * np.tile(sides, 2)


def boxes_at_iou(boxes, iou, rng):
    """Boxes that overlap the given ones by a wanted intersection over union.

    Args:
        boxes: (N, 4) float32, [x1, y1, x2, y2], with area.
        iou: the wanted IoU in [0.7, 1].
        rng: numpy Generator; each side moves in a random direction and proportion.

    Returns:
        (N, 4) float32; the IoU of each with its original is `iou` within 0.001.
    """
    sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    shares = rng.uniform(-1, 1, boxes.shape)
    moves = shares / np.abs(shares).max(axis=1, keepdims=True, initial=1e-9) * sides
    # A box moved half as far overlaps more: the right part of each move is found by bisection.
    low, high = np.zeros(len(boxes)), np.full(len(boxes), 0.49)
    for _ in range(30):
        middle = (low + high) / 2
        near = box_iou(boxes, boxes + middle[:, None] * moves) > iou
        low, high = np.where(near, middle, low), np.where(near, high, middle)
    return (boxes + low[:, None] * moves).astype(np.float32)
