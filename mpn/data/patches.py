"""Training samples of the keypoint subnet (§3.5): square patches with their targets and masks W."""

import numpy as np

from mpn.data.segmentations import fill_segmentation
from mpn.geometry import affine, fill_box, transform_keypoints, warp_image
from mpn.heatmaps import encode_targets
from mpn.skeleton import NUM_KEYPOINTS

# Patches are centred on people with at least this many labelled keypoints, if there are any.
_ENOUGH_KEYPOINTS = 5

# Longer side of a person's box as a share of the patch's side, and the largest factor of enlargement: a person of a few
# pixels would become mere blur.
PERSON_SHARE = 0.6
ENLARGEMENT = 4.0


def people_alone(records):
    """Returns an ImageRecord for each person with five labelled keypoints or more, for a refinement network (§4.2).

    Everybody else counts as background: the network must tell them from the person in the middle.
    """
    return [
        record.of([person])
        for record in records
        for person in np.flatnonzero(_keypoint_counts(record) >= _ENOUGH_KEYPOINTS)
    ]


def _keypoint_counts(record):
    return (record.keypoints[..., 2] > 0).sum(axis=1) * ~record.crowd


def choose_person(record, turn):
    """Returns the index of the person that the patch of epoch `turn` is centred on.

    People with five labelled keypoints or more take turns. If there are none, those with fewer do, and then those
    without. The ImageRecord must have a person.
    """
    counts = _keypoint_counts(record)
    least = next(least for least in (_ENOUGH_KEYPOINTS, 1, 0) if counts.max() >= least)
    candidates = np.flatnonzero(counts >= least)
    return candidates[turn % len(candidates)]


def patch_map(record, size, augmentation, turn, rng):
    """Returns the random affine map of a sample, from image to patch: (2, 3) float64.

    `size` is the side of the patch in pixels, `turn` the epoch, `rng` a numpy Generator.
    """
    extent = np.array([record.width, record.height])
    centre, middle = extent / 2, np.array([size, size]) / 2
    scale = size / extent.max()
    if augmentation.framing == "person" and len(record.boxes):
        x1, y1, x2, y2 = record.boxes[choose_person(record, turn)]
        centre = ((x1 + x2) / 2, (y1 + y2) / 2)
        share = augmentation.refiner_share or PERSON_SHARE
        scale = min(share * size / max(x2 - x1, y2 - y1, 1.0), ENLARGEMENT)
    else:
        middle = scale * extent / 2  # padding at the right and below, as in inference
    scale = scale * rng.uniform(*augmentation.scale)
    degrees = rng.uniform(-augmentation.rotation, augmentation.rotation)
    matrix = affine(centre, (size, size), scale, degrees, rng.random() < augmentation.mirror)
    matrix[:, 2] += middle - size / 2
    if augmentation.shift:
        matrix[:, 2] += augmentation.shift * size * rng.uniform(-1, 1, 2)
    return matrix


def cut_patch(image, record, matrix, size, foreground=0.0):
    """Returns a training sample: patch (size, size, 3) uint8 RGB, and targets and mask, (h, w, 18) float32 each.

    The patch is black outside the image; for targets and mask see `mpn.heatmaps.encode_targets`. `image` is (H, W, 3)
    uint8 RGB, `matrix` maps it to the patch, and `size` must be a multiple of 4.

    `foreground` is added to the mask's 1 at a keypoint, and less of it around the keypoint, as its Gaussian falls.
    Without it a network that is trained briefly learns low peaks, since few cells belong to keypoints.
    """
    keypoints = transform_keypoints(matrix, record.keypoints[~record.crowd])
    targets, mask = encode_targets(keypoints, *region_masks(record, matrix, (size, size)))
    if foreground:
        mask[..., :NUM_KEYPOINTS] *= 1 + foreground * targets[..., :NUM_KEYPOINTS]
    return warp_image(matrix, image, (size, size)), targets, mask


def region_masks(record, matrix, size):
    """Returns where people are, and where the annotations do not tell: three (height, width) bool masks of a patch.

    `matrix` maps the image to the patch; `size` is (height, width). A person without a segmentation is a box here. The
    first mask is of people with a segmentation; the second of people without keypoints, crowds and padding, where boxes
    leave out the labelled people inside; the third of boxes, crowds and padding, without the silhouettes of others.
    """
    silhouette, labelled, no_keypoints, no_silhouette, coarse, inside = np.zeros((6, *size), np.uint8)
    fill_box(inside, matrix, (0, 0, record.width, record.height))
    for index, segmentation in enumerate(record.segmentations):

        def fill(mask, index=index, segmentation=segmentation):
            if segmentation:
                fill_segmentation(mask, matrix, segmentation, (record.height, record.width))
            else:
                fill_box(mask, matrix, record.boxes[index])

        fill(labelled if record.labelled[index] else no_keypoints if segmentation else coarse)
        fill(silhouette if segmentation and not record.crowd[index] else no_silhouette)
    outside = inside == 0
    silhouette = (silhouette > 0) & ~outside
    unknown_keypoints = (no_keypoints > 0) | ((coarse > 0) & (labelled == 0)) | outside
    return silhouette, unknown_keypoints, ((no_silhouette > 0) & ~silhouette) | outside
