"""Losses of the three stages. The person subnet's are keras-retinanet's own, bound to the paper's constants."""

import keras_retinanet.losses
from keras import ops

from mpn.skeleton import NUM_KEYPOINTS

# A silhouette covers a hundred times the area of the keypoints' Gaussians and would drown them in a plain sum.
SILHOUETTE_WEIGHT = 0.1

_EPSILON = 1e-7


def masked_l2(y_true, y_pred, silhouette_weight=SILHOUETTE_WEIGHT):
    """Eq. 4: squared error of the heatmaps under the mask W, summed over cells and channels.

    Args:
        y_true: (B, h, w, 36) float, 18 channels of targets H_t followed by 18 of mask W.
        y_pred: (B, h, w, 18) float, H_p.
        silhouette_weight: of the silhouette channel, beside 1 for a keypoint's.

    Returns:
        (B,) float32.
    """
    y_pred = ops.cast(y_pred, "float32")
    targets, mask = ops.split(ops.cast(y_true, "float32"), 2, axis=-1)
    per_channel = ops.sum(mask * ops.square(targets - y_pred), axis=(1, 2))
    return ops.sum(per_channel[:, :NUM_KEYPOINTS], axis=1) + silhouette_weight * per_channel[:, NUM_KEYPOINTS]


def person_losses():
    """RetinaNet's losses (§3.5): focal loss with alpha 0.25, gamma 2, smooth L1 with sigma 3, by output name."""
    return {
        "classification": keras_retinanet.losses.focal(alpha=0.25, gamma=2.0),
        "regression": keras_retinanet.losses.smooth_l1(sigma=3.0),
    }


def prn_binary_cross_entropy(y_true, y_pred):
    """The paper's PRN loss (§3.4): binary cross-entropy of every cell, summed over the cells of a keypoint.

    Args:
        y_true: (B, 56, 36, 17) float, a distribution over the cells for each labelled keypoint, 0 for the others.
        y_pred: (B, 56, 36, 17) float, softmax over the cells.

    Returns:
        (B,) float32, mean over the labelled keypoints.
    """
    y_pred = ops.clip(y_pred, _EPSILON, 1 - _EPSILON)
    cells = -(y_true * ops.log(y_pred) + (1 - y_true) * ops.log1p(-y_pred))
    return _mean_over_labelled(y_true, cells)


def prn_cross_entropy(y_true, y_pred):
    """Cross-entropy between distributions over the cells of each keypoint; arguments as above."""
    return _mean_over_labelled(y_true, -y_true * ops.log(ops.maximum(y_pred, _EPSILON)))


def _mean_over_labelled(y_true, cells):
    labelled = ops.cast(ops.sum(y_true, axis=(1, 2)) > 0, "float32")
    per_keypoint = ops.sum(cells, axis=(1, 2)) * labelled
    return ops.sum(per_keypoint, axis=1) / ops.maximum(ops.sum(labelled, axis=1), 1.0)


PRN_LOSSES = {"bce": prn_binary_cross_entropy, "cross-entropy": prn_cross_entropy}
