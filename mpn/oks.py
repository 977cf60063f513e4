"""Object keypoint similarity (OKS), COCO's measure of how near one pose is to another."""

import numpy as np

from mpn.skeleton import OKS_SIGMAS

_VARIANCES = np.square(2 * OKS_SIGMAS.astype(np.float64))


def keypoint_similarities(found, truth, areas):
    """exp(-d^2 / (2 area (2 sigma)^2)) of each keypoint, d being its distance from the truth, as pycocotools has it.

    Symbols: K = 17. Leading axes of the arguments are broadcast against each other.

    Args:
        found: (..., K, 2) float, x and y in pixels.
        truth: (..., K, 2) float, in the same pixels.
        areas: (...) float, of the true people in square pixels.

    Returns:
        (..., K) in [0, 1], float32 where all arguments are and else float64; keypoints that are not labelled are the
        caller's to leave out.
    """
    found, truth, areas = (np.asarray(value) for value in (found, truth, areas))
    kind = np.float32 if {value.dtype for value in (found, truth, areas)} == {np.dtype(np.float32)} else np.float64
    squares = np.square(np.subtract(found, truth, dtype=kind)).sum(axis=-1)
    areas = areas.astype(kind)[..., None] + np.spacing(kind(1))  # as in pycocotools: an area may be 0
    return np.exp(-squares / (2 * _VARIANCES.astype(kind) * areas))


def reach(areas, threshold):
    """How far off the joint with the widest tolerance may be for a similarity of `threshold`.

    Args:
        areas: (N,) float, square pixels.
        threshold: similarity from 0 to 1.

    Returns:
        (N,) float, pixels; infinite for a threshold of 0.
    """
    with np.errstate(divide="ignore"):
        return np.sqrt(2 * _VARIANCES.max() * (areas + np.spacing(np.float32(1))) * -np.log(threshold))


def oks(one, other, areas):
    """OKS of every pose with every other.

    The first poses take the part of the ground truth: their keypoints decide which joints count, and their areas how
    far off a joint may be.

    Args:
        one: (N, 17, 3) float, x and y in pixels and v or a confidence; keypoints with 0 there do not count.
        other: (M, 17, 2 or 3) float; x and y of all keypoints are looked at.
        areas: (N,) float, square pixels of the silhouettes of `one`.

    Returns:
        (N, M) float in [0, 1]; 0 for a pose of which no keypoint counts.
    """
    one, other, areas = np.asarray(one), np.asarray(other), np.asarray(areas)
    counted = one[..., 2] > 0
    similarities = keypoint_similarities(other[None, ..., :2], one[:, None, :, :2], areas[:, None])
    return np.einsum("nmk,nk->nm", similarities, counted) / np.maximum(counted.sum(axis=1), 1)[:, None]
