"""One training sample of the keypoint subnet (§3.5): a square patch of an image with its targets and mask W."""

import dataclasses

import numpy as np

from mpn.data.segmentations import fill_segmentation
from mpn.errors import UserError
from mpn.geometry import affine, fill_box, transform_keypoints, warp_image
from mpn.heatmaps import SIGMA, encode_targets
from mpn.skeleton import MIRROR, NUM_KEYPOINTS

# Labelled keypoints of a person on whom a patch is centred, where somebody has so many.
_ENOUGH_KEYPOINTS = 5


@dataclasses.dataclass(frozen=True)
class PatchAugmentation:
    """How patches are cut; the defaults are the paper's (§3.5).

    Attributes:
        framing: "person" centres on one person and scales it to `person_share` of the patch; "image" fits the whole
            image into the patch, at its top left as in inference.
        person_share: longer side of that person's box, as a share of the patch side.
        enlargement: largest factor by which that person is enlarged: one of a few pixels would be nothing but blur.
        rotation: largest rotation in degrees, either way.
        scale: smallest and largest factor on the scale.
        shift: largest move of that person from the middle along x and y, as a share of the patch side.
        mirror: probability of mirroring left to right (the paper's "vertical flipping").
        colour: strength of random contrast, brightness, saturation and hue, 0 to 1; see `mpn.data.photometry`.
        occlusion: probability of covering parts of the patch.
        paste: probability of pasting a person cut out of another image; see `mpn.data.pasting`.
    """

    framing: str = "person"
    person_share: float = 0.6
    enlargement: float = 4.0
    rotation: float = 40.0
    scale: tuple = (0.8, 1.2)
    shift: float = 0.0
    mirror: float = 0.3
    colour: float = 0.0
    occlusion: float = 0.0
    paste: float = 0.0

    def __post_init__(self):
        if self.framing not in ("person", "image"):
            raise UserError(f"framing must be person or image, not {self.framing!r}")
        if not 0 < self.scale[0] <= self.scale[1]:
            raise UserError(f"scale must be two positive factors, the smaller first, not {self.scale}")
        for name in ("shift", "mirror", "colour", "occlusion", "paste"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"{name} must be in [0, 1], not {getattr(self, name)}")

    def without_jitter(self):
        """The same framing with nothing random, for validation."""
        still = dict.fromkeys(("rotation", "shift", "mirror", "colour", "occlusion", "paste"), 0.0)
        return dataclasses.replace(self, scale=(1.0, 1.0), **still)


@dataclasses.dataclass(frozen=True)
class Patch:
    """A square patch of an image with what is known about it.

    Attributes:
        image: (S, S, 3) uint8 RGB, black outside the photograph.
        keypoints: (N, 17, 3) float32, x, y in patch pixels and v.
        silhouette: (S, S) bool, pixels of people.
        unknown_keypoints, unknown_silhouette: (S, S) bool, see `region_masks`.
        known_channels: (17,) bool, keypoints that the annotations speak of.
    """

    image: np.ndarray
    keypoints: np.ndarray
    silhouette: np.ndarray
    unknown_keypoints: np.ndarray
    unknown_silhouette: np.ndarray
    known_channels: np.ndarray

    def encode(self, sigma=SIGMA, foreground=0.0):
        """Targets and mask, (h, w, 18) float32 each; see `mpn.heatmaps.encode_targets`.

        Args:
            sigma: standard deviation of the target Gaussians in cells.
            foreground: added to the mask's 1 at a keypoint, and less around it as its Gaussian falls. Few cells belong
                to keypoints, and a network that is trained briefly leaves low peaks there with a plain sum.
        """
        regions = self.silhouette, self.unknown_keypoints, self.unknown_silhouette
        targets, mask = encode_targets(self.keypoints, *regions, sigma)
        mask[..., :NUM_KEYPOINTS] *= self.known_channels * (1 + foreground * targets[..., :NUM_KEYPOINTS])
        return targets, mask


def people_alone(records):
    """The samples of a refinement network (§4.2): a record for each person worth learning, who is alone in it.

    Everybody else in the image is background then: what the network is to tell from the person in the middle.

    Args:
        records: list of ImageRecord.

    Returns:
        list of ImageRecord of one person, with five labelled keypoints or more.
    """
    counts = [(record.keypoints[..., 2] > 0).sum(axis=1) * ~record.crowd for record in records]
    return [
        record.of([person])
        for record, count in zip(records, counts, strict=True)
        for person in np.flatnonzero(count >= _ENOUGH_KEYPOINTS)
    ]


def choose_person(record, turn):
    """Index of the person whom a patch is centred on; people take turns from epoch to epoch.

    People with at least five labelled keypoints come before people with fewer, and those before unlabelled ones.

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
        scale = min(augmentation.person_share * size / max(x2 - x1, y2 - y1, 1.0), augmentation.enlargement)
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


def cut_patch(image, record, matrix, size):
    """One patch of an image.

    Args:
        image: (H, W, 3) uint8 RGB.
        record: its ImageRecord.
        matrix: (2, 3), image to patch.
        size: side of the patch in pixels, a multiple of 4.

    Returns:
        Patch.
    """
    keypoints = record.keypoints[~record.crowd]
    known = (keypoints[..., 2] > 0).all(axis=0) if record.partial else np.ones(NUM_KEYPOINTS, bool)
    if np.linalg.det(matrix[:, :2]) < 0:
        known = known[MIRROR]
    return Patch(
        warp_image(matrix, image, (size, size)),
        transform_keypoints(matrix, keypoints),
        *region_masks(record, matrix, (size, size)),
        known,
    )


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

    Of a partial record nothing is known outside the boxes of its labelled people, and no silhouette.
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
    if record.partial:
        return np.zeros(size, bool), outside | (labelled == 0), np.ones(size, bool)
    silhouette = (silhouette > 0) & ~outside
    # Where only a box tells where keypoints are missing, labelled people in it are still known.
    unknown_keypoints = (no_keypoints > 0) | ((coarse > 0) & (labelled == 0)) | outside
    return silhouette, unknown_keypoints, ((no_silhouette > 0) & ~silhouette) | outside
