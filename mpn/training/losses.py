"""Losses of the three stages, one value per image: Keras scales a scalar wrongly if several devices share a batch."""

from keras import ops

from mpn.skeleton import NUM_KEYPOINTS

# Of the silhouette channel, beside 1 for a keypoint's. A silhouette covers a hundred times the area of the keypoints'
# Gaussians and would drown them in a plain sum.
SILHOUETTE_WEIGHT = 0.1

_EPSILON = 1e-7


def masked_l2(y_true, y_pred):
    """Eq. 4: squared error of the heatmaps under the mask W, summed over cells and channels.

    Args:
        y_true: (B, h, w, 36) float, 18 channels of targets H_t followed by 18 of mask W.
        y_pred: (B, h, w, 18) float, H_p.

    Returns:
        (B,) float32.
    """
    y_pred = ops.cast(y_pred, "float32")
    targets, mask = ops.split(ops.cast(y_true, "float32"), 2, axis=-1)
    per_channel = ops.sum(mask * ops.square(targets - y_pred), axis=(1, 2))
    return ops.sum(per_channel[:, :NUM_KEYPOINTS], axis=1) + SILHOUETTE_WEIGHT * per_channel[:, NUM_KEYPOINTS]


def focal(y_true, y_pred, alpha=0.25, gamma=2.0):
    """RetinaNet's loss of the person subnet's classification (§3.5).

    keras-retinanet divides by the number of positive anchors in the whole batch. Here each image is divided by its own,
    as in torchvision, so that the mean does not depend on which images share a device.

    Args:
        y_true: (B, A, 2) float, 1 for a person and 0 otherwise, then the anchor's state: 1 person, 0 background, -1
            ignored.
        y_pred: (B, A, 1) float, probability of a person.
        alpha: weight of people; 1 - alpha is that of background.
        gamma: power of the error that weighs an anchor.

    Returns:
        (B,) float32, the sum over anchors divided by the number of positive ones, at least 1.
    """
    labels, state = y_true[..., :-1], y_true[..., -1:]
    person = labels > 0.5
    weights = ops.where(person, alpha, 1 - alpha) * ops.where(person, 1 - y_pred, y_pred) ** gamma
    return _per_positive_anchor(weights * ops.binary_crossentropy(labels, y_pred), state, state != -1)


def smooth_l1(y_true, y_pred, sigma=3.0):
    """RetinaNet's loss of the person subnet's regression (§3.5), divided as in `focal`.

    Args:
        y_true: (B, A, 5) float, four regression values, then the anchor's state as for `focal`.
        y_pred: (B, A, 4) float.
        sigma: the loss is quadratic below an error of 1 / sigma², linear above.

    Returns:
        (B,) float32.
    """
    targets, state = y_true[..., :-1], y_true[..., -1:]
    errors = ops.abs(y_pred - targets)
    quadratic = 0.5 * sigma**2 * ops.square(errors)
    return _per_positive_anchor(ops.where(errors < 1 / sigma**2, quadratic, errors - 0.5 / sigma**2), state, state == 1)


def _per_positive_anchor(values, state, counted):
    """(B,): the sum of (B, A, C) values where `counted` (B, A, 1), divided by the number of positive anchors."""
    total = ops.sum(ops.where(counted, values, 0.0), axis=(1, 2))
    return total / ops.maximum(ops.sum(ops.cast(state == 1, "float32"), axis=(1, 2)), 1.0)


PERSON_LOSSES = {"classification": focal, "regression": smooth_l1}  # by output name


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
    """Cross-entropy of each keypoint's distribution over the cells; arguments and result as above."""
    return _mean_over_labelled(y_true, -y_true * ops.log(ops.maximum(y_pred, _EPSILON)))


def _mean_over_labelled(y_true, cells):
    labelled = ops.cast(ops.sum(y_true, axis=(1, 2)) > 0, "float32")
    per_keypoint = ops.sum(cells, axis=(1, 2)) * labelled
    return ops.sum(per_keypoint, axis=1) / ops.maximum(ops.sum(labelled, axis=1), 1.0)


PRN_LOSSES = {"bce": prn_binary_cross_entropy, "cross-entropy": prn_cross_entropy}
