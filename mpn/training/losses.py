"""Losses of the three stages, one value per image: Keras scales a scalar wrongly if several devices share a batch."""

from keras import ops

from mpn.skeleton import NUM_KEYPOINTS

# Weight of the silhouette channel; a keypoint channel has 1. A silhouette covers a hundred times the area of the
# keypoints' Gaussians, so a plain sum would neglect the keypoints.
SILHOUETTE_WEIGHT = 0.1

_EPSILON = 1e-7


def masked_l2(y_true, y_pred):
    """Returns Eq. 4, (B,) float32: the squared error of the heatmaps under the mask W, summed over cells and channels.

    `y_true` is (B, h, w, 36), 18 channels of targets H_t and then 18 of W; `y_pred` is (B, h, w, 18), H_p.
    """
    y_pred = ops.cast(y_pred, "float32")
    targets, mask = ops.split(ops.cast(y_true, "float32"), 2, axis=-1)
    per_channel = ops.sum(mask * ops.square(targets - y_pred), axis=(1, 2))
    return ops.sum(per_channel[:, :NUM_KEYPOINTS], axis=1) + SILHOUETTE_WEIGHT * per_channel[:, NUM_KEYPOINTS]


def focal(y_true, y_pred, alpha=0.25, gamma=2.0):
    """Returns RetinaNet's loss of the person classification (§3.5), (B,) float32.

    keras-retinanet divides by the number of positive anchors in the whole batch. Here each image is divided by its own
    number (at least 1), as in torchvision, so the loss does not depend on which images share a device.

    `y_true` is (B, A, 2): 1 for a person, else 0, and the state of the anchor: 1 person, 0 background, -1 ignored.
    `y_pred` is (B, A, 1), the probability of a person. The factor of an anchor is `alpha` for people or 1 - `alpha` for
    background, times its error to the power of `gamma`.
    """
    labels, state = y_true[..., :-1], y_true[..., -1:]
    person = labels > 0.5
    weights = ops.where(person, alpha, 1 - alpha) * ops.where(person, 1 - y_pred, y_pred) ** gamma
    return _per_positive_anchor(weights * ops.binary_crossentropy(labels, y_pred), state, state != -1)


def smooth_l1(y_true, y_pred, sigma=3.0):
    """Returns RetinaNet's loss of the box regression (§3.5), (B,) float32, divided as in `focal`.

    `y_true` is (B, A, 5), four regression values and the state of the anchor; `y_pred` is (B, A, 4). The loss is
    quadratic below an error of 1 / `sigma`² and linear above.
    """
    targets, state = y_true[..., :-1], y_true[..., -1:]
    errors = ops.abs(y_pred - targets)
    quadratic = 0.5 * sigma**2 * ops.square(errors)
    return _per_positive_anchor(ops.where(errors < 1 / sigma**2, quadratic, errors - 0.5 / sigma**2), state, state == 1)


def _per_positive_anchor(values, state, counted):
    """Sums (B, A, C) values where `counted` (B, A, 1), and divides by the number of positive anchors: (B,)."""
    total = ops.sum(ops.where(counted, values, 0.0), axis=(1, 2))
    return total / ops.maximum(ops.sum(ops.cast(state == 1, "float32"), axis=(1, 2)), 1.0)


PERSON_LOSSES = {"classification": focal, "regression": smooth_l1}  # by output name


def prn_binary_cross_entropy(y_true, y_pred):
    """Returns the paper's PRN loss (§3.4), (B,) float32: binary cross-entropy, averaged over the labelled keypoints.

    The cross-entropies of a keypoint's cells are summed. Both arguments are (B, 56, 36, 17): `y_true` is a distribution
    over the cells for each labelled keypoint and 0 for the others, `y_pred` a softmax over the cells.
    """
    y_pred = ops.clip(y_pred, _EPSILON, 1 - _EPSILON)
    cells = -(y_true * ops.log(y_pred) + (1 - y_true) * ops.log1p(-y_pred))
    return _mean_over_labelled(y_true, cells)


def prn_cross_entropy(y_true, y_pred):
    """Like `prn_binary_cross_entropy`, but with the cross-entropy of each keypoint's distribution."""
    return _mean_over_labelled(y_true, -y_true * ops.log(ops.maximum(y_pred, _EPSILON)))


def _mean_over_labelled(y_true, cells):
    labelled = ops.cast(ops.sum(y_true, axis=(1, 2)) > 0, "float32")
    per_keypoint = ops.sum(cells, axis=(1, 2)) * labelled
    return ops.sum(per_keypoint, axis=1) / ops.maximum(ops.sum(labelled, axis=1), 1.0)


PRN_LOSSES = {"bce": prn_binary_cross_entropy, "cross-entropy": prn_cross_entropy}
