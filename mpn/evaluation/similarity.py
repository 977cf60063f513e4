"""Keypoint similarity, of which COCO's OKS is the mean over a person's labelled keypoints."""

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
        (..., K) float64 in [0, 1]; keypoints that are not labelled are the caller's to leave out.
    """
    squares = np.square(np.asarray(found, np.float64) - np.asarray(truth, np.float64)).sum(axis=-1)
    areas = np.asarray(areas, np.float64)[..., None] + np.spacing(1)  # as in pycocotools: an area may be 0
    return np.exp(-squares / (2 * _VARIANCES * areas))
