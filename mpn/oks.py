"""Object keypoint similarity (OKS): COCO's measure of how near one pose is to another."""

import numpy as np

from mpn.skeleton import OKS_SIGMAS

# COCO's OKS divides by the area of the silhouette, which is this share of the box: the median and the mean over the
# 5,461 labelled people of val2017.
SILHOUETTE_SHARE = 0.52

_VARIANCES = np.square(2 * OKS_SIGMAS.astype(np.float64))


def keypoint_similarities(found, truth, areas):
    """exp(-d^2 / (2 area (2 sigma)^2)) of each keypoint at distance d from the truth, as in pycocotools.

    `found` and `truth` are (..., 17, 2) x and y in pixels. `areas`, (...), are of the true people in square pixels.
    Leading axes are broadcast. Returns (..., 17) in [0, 1], float32 if all arguments are, else float64. The caller
    leaves out unlabelled keypoints.
    """
    found, truth, areas = (np.asarray(value) for value in (found, truth, areas))
    kind = np.float32 if {value.dtype for value in (found, truth, areas)} == {np.dtype(np.float32)} else np.float64
    squares = np.square(np.subtract(found, truth, dtype=kind)).sum(axis=-1)
    areas = areas.astype(kind)[..., None] + np.spacing(kind(1))  # as in pycocotools; the area may be 0
    return np.exp(-squares / (2 * _VARIANCES.astype(kind) * areas))
