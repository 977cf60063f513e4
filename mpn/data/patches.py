"""Training samples of the keypoint subnet (§3.5): square patches of images with their targets and masks W."""

import numpy as np

from mpn.data.segmentations import fill_segmentation
from mpn.geometry import affine, fill_box, transform_keypoints, warp_image
from mpn.heatmaps import encode_targets
from mpn.skeleton import NUM_KEYPOINTS

# A patch is centred on a person with so many labelled keypoints, where there is one.
_ENOUGH_KEYPOINTS = 5

# Longer side of a person's box as a share of the patch's side, and the largest factor by which a person is enlarged: a
# person of a few pixels would be nothing but blur.
PERSON_SHARE = 0.6
ENLARGEMENT = 4.0


def people_alone(records):
    """The samples of a refinement network (§4.2): an ImageRecord for each person with five labelled keypoints or more.

    Everybody else in the image is background there, which the network must tell from the person in the middle.

    Args:
        records: list of ImageRecord.
    """
    counts = [(record.keypoints[..., 2] > 0).sum(axis=1) * ~record.crowd for record in records]
    return [
        record.of([person])
        for record, count in zip(records, counts, strict=True)
        for person in np.flatnonzero(count >= _ENOUGH_KEYPOINTS)
    ]


def choose_person(record, turn):
    """Index of the person whom a patch is centred on: people with five labelled keypoints or more take turns.

    Where there are none, those with fewer do, and else the unlabelled ones.

    Args:
        record: ImageRecord with at least one person.
        turn: the epoch.
    """
    counts = (record.keypoints[..., 2] > 0).sum(axis=1) * ~record.crowd
    for least in (_ENOUGH_KEYPOINTS, 1, 0):
        candidates = np.flatnonzero(counts >= least)
        if len(candidates):
            break
    return candidates[turn % len(candidates)]


def patch_map(record, size, augmentation, turn, rng):
    """The random affine map of one sample, image to patch: (2, 3) float64.

    Args:
        record: ImageRecord.
        size: side of the square patch in pixels.
        augmentation: mpn.data.augmentation.PatchAugmentation.
        turn: the epoch, which decides the person.
        rng: numpy Generator.
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
    matrix = affine(
        centre,
        (size, size),
        scale * rng.uniform(*augmentation.scale),
        rng.uniform(-augmentation.rotation, augmentation.rotation),
        rng.random() < augmentation.mirror,
    )
    matrix[:, 2] += middle - size / 2
    if augmentation.shift:
        matrix[:, 2] += augmentation.shift * size * rng.uniform(-1, 1, 2)
    return matrix


def cut_patch(image, record, matrix, size, foreground=0.0):
    """One training sample.

    Args:
        image: (H, W, 3) uint8 RGB.
        record: its ImageRecord.
        matrix: (2, 3), image to patch.
        size: side of the patch in pixels, a multiple of 4.
        foreground: added to the mask's 1 at a keypoint, and less around it as its Gaussian falls. Few cells belong to
            keypoints, and with a plain sum a network that is trained briefly leaves low peaks there.

    Returns:
        patch: (size, size, 3) uint8 RGB, black outside the image.
        targets, mask: (h, w, 18) float32 each, see `mpn.heatmaps.encode_targets`.
    """
    keypoints = transform_keypoints(matrix, record.keypoints[~record.crowd])
    targets, mask = encode_targets(keypoints, *region_masks(record, matrix, (size, size)))
    if foreground:
        mask[..., :NUM_KEYPOINTS] *= 1 + foreground * targets[..., :NUM_KEYPOINTS]
    return warp_image(matrix, image, (size, size)), targets, mask


def region_masks(record, matrix, size):
    """Where people are, and where the annotations do not say.

    Args:
        record: ImageRecord.
        matrix: (2, 3), image to patch.
        size: (height, width) of the patch.

    Returns:
        silhouette: (height, width) bool, pixels of people, with or without keypoints.
        unknown_keypoints: bool, people without keypoints, crowd regions and padding. One of these without segmentation
            counts with its box, except for the labelled people in it.
        unknown_silhouette: bool, people without segmentation (their boxes) and crowd regions, except for the
            silhouettes of others; and padding.
    """
    silhouette, labelled, no_keypoints, no_silhouette, coarse, inside = np.zeros((6, *size), np.uint8)
    fill_box(inside, matrix, (0, 0, record.width, record.height))
    for index, segmentation in enumerate(record.segmentations):

        def fill(mask, index=index, segmentation=segmentation):
            if segmentation:
                fill_segmentation(mask, matrix, segmentation, (record.height, record.width))
            else:
                fill_box(mask, matrix, record.boxes[index])

        if record.labelled[index]:
            fill(labelled)
        else:
            fill(no_keypoints if segmentation else coarse)
        if segmentation and not record.crowd[index]:
            fill(silhouette)
        else:
            fill(no_silhouette)
    outside = inside == 0
    silhouette = (silhouette > 0) & ~outside
    unknown_keypoints = (no_keypoints > 0) | ((coarse > 0) & (labelled == 0)) | outside
    return silhouette, unknown_keypoints, ((no_silhouette > 0) & ~silhouette) | outside
