"""What is found in an image before it is grouped: boxes and peaks."""

import dataclasses

import numpy as np

from mpn.people import SilhouetteMap
from mpn.skeleton import NUM_KEYPOINTS


@dataclasses.dataclass(frozen=True)
class Detections:
    """What the subnets found in one image, before grouping. Coordinates are continuous image pixels.

    Attributes:
        boxes: (N, 4) float32, [x1, y1, x2, y2], best first.
        box_scores: (N,) float32 in [0, 1].
        peaks: (17, M, 2) float32, x and y of the peaks of each keypoint.
        peak_scores: (17, M) float32 in [0, 1], 0 where there is no peak.
        silhouettes: SilhouetteMap, or None.
    """

    boxes: np.ndarray
    box_scores: np.ndarray
    peaks: np.ndarray
    peak_scores: np.ndarray
    silhouettes: SilhouetteMap | None = None


def batches(images, boxes):
    """Splits a list of Detections into lists with so many boxes together, or one image's."""
    batch, count = [], 0
    for detections in images:
        if batch and count + len(detections.boxes) > boxes:
            yield batch
            batch, count = [], 0
        batch.append(detections)
        count += len(detections.boxes)
    if batch:
        yield batch


def side_by_side(images):
    """The boxes of several Detections in one batch, each with the peaks of its image.

    Returns:
        positions: (N, 17, M, 2) float32 and scores: (N, 17, M) float32; M is the most peaks an image has.
        boxes: (N, 4) float32.
    """
    counts = [len(detections.boxes) for detections in images]
    most = max(detections.peaks.shape[1] for detections in images)
    positions = np.zeros((sum(counts), NUM_KEYPOINTS, most, 2), np.float32)
    scores = np.zeros(positions.shape[:3], np.float32)
    ends = np.cumsum(counts)
    for detections, start, end in zip(images, ends - counts, ends, strict=True):
        positions[start:end, :, : detections.peaks.shape[1]] = detections.peaks
        scores[start:end, :, : detections.peaks.shape[1]] = detections.peak_scores
    return positions, scores, np.concatenate([detections.boxes for detections in images]).astype(np.float32)
