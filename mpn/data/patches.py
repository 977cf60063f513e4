"""One training sample of the keypoint subnet (§3.5): a square patch of an image with its targets and mask W."""

import dataclasses

import numpy as np

from mpn.data.geometry import affine, fill_box, fill_segmentation, transform_keypoints, warp_image
from mpn.errors import UserError
from mpn.heatmaps import encode_targets

# Enlarging a person of a few pixels to most of a patch would show the network nothing but blur.
_LARGEST_SCALE = 4.0


@dataclasses.dataclass(frozen=True)
class PatchAugmentation:
    """How patches are cut; the defaults are the paper's (§3.5).

    Attributes:
        framing: "person" centres on one person and scales it to `person_share` of the patch; "image" fits the whole
            image into the patch, at its top left as in inference.
        person_share: longer side of that person's box, as a share of the patch side.
        rotation: largest rotation in degrees, either way.
        scale: smallest and largest factor on the scale.
        mirror: probability of mirroring left to right (the paper's "vertical flipping").
    """

    framing: str = "person"
    person_share: float = 0.6
    rotation: float = 40.0
    scale: tuple = (0.8, 1.2)
    mirror: float = 0.3

    def __post_init__(self):
        if self.framing not in ("person", "image"):
            raise UserError(f"framing must be person or image, not {self.framing!r}")
        if not 0 < self.scale[0] <= self.scale[1]:
            raise UserError(f"scale must be two positive factors, the smaller first, not {self.scale}")
        if not 0 <= self.mirror <= 1:
            raise UserError(f"the probability of mirroring must be in [0, 1], not {self.mirror}")

    def without_jitter(self):
        """The same framing with nothing random, for validation."""
        return dataclasses.replace(self, rotation=0.0, scale=(1.0, 1.0), mirror=0.0)


def choose_person(record, turn):
    """Index of the person whom a patch is centred on; people take turns from epoch to epoch.

    People with at least five labelled keypoints come before people with fewer, and those before unlabelled ones.

    Args:
        record: ImageRecord with at least one person.
        turn: the epoch.
    """
    counts = (record.keypoints[..., 2] > 0).sum(axis=1) * ~record.crowd
    for least in (5, 1, 0):
        candidates = np.flatnonzero(counts >= least)
        if len(candidates):
            break
    return candidates[turn % len(candidates)]


def patch_map(record, size, augmentation, turn, rng):
    """The random affine map of one sample, image to patch: (2, 3) float64.

    Args:
        record: ImageRecord.
        size: side of the square patch in pixels.
        augmentation: PatchAugmentation.
        turn: the epoch, which decides the person.
        rng: numpy Generator.
    """
    extent = np.array([record.width, record.height])
    centre, middle = extent / 2, np.array([size, size]) / 2
    scale = size / extent.max()
    if augmentation.framing == "person" and len(record.boxes):
        x1, y1, x2, y2 = record.boxes[choose_person(record, turn)]
        centre = ((x1 + x2) / 2, (y1 + y2) / 2)
        scale = min(augmentation.person_share * size / max(x2 - x1, y2 - y1, 1.0), _LARGEST_SCALE)
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
    return matrix


def make_patch(image, record, matrix, size):
    """Image, targets and mask of one patch.

    Args:
        image: (H, W, 3) uint8 RGB.
        record: its ImageRecord.
        matrix: (2, 3), image to patch.
        size: side of the patch in pixels, a multiple of 4.

    Returns:
        patch: (size, size, 3) uint8 RGB, black outside the image.
        targets, mask: (h, w, 18) float32 each, see `mpn.heatmaps.encode_targets`.
    """
    silhouette, unknown_keypoints, unknown_silhouette = region_masks(record, matrix, (size, size))
    keypoints = transform_keypoints(matrix, record.keypoints[~record.crowd])
    targets, mask = encode_targets(keypoints, silhouette, unknown_keypoints, unknown_silhouette)
    return warp_image(matrix, image, (size, size)), targets, mask


def region_masks(record, matrix, size):
    """Where people are, and where the annotations do not tell.

    Args:
        record: ImageRecord.
        matrix: (2, 3), image to patch.
        size: (height, width) of the patch.

    Returns:
        silhouette: (height, width) bool, pixels of people, with or without keypoints.
        unknown_keypoints: bool, people without keypoints, crowd regions and padding. Where one of these has no
            segmentation it is its box less the labelled people in it.
        unknown_silhouette: bool, people without segmentation (their box), crowd regions and padding, less the
            silhouettes of others.
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
    # Where only a box tells where keypoints are missing, labelled people in it are still known.
    unknown_keypoints = (no_keypoints > 0) | ((coarse > 0) & (labelled == 0)) | outside
    return silhouette, unknown_keypoints, ((no_silhouette > 0) & ~silhouette) | outside
