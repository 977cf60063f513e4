"""What a prediction is made of: detections, people and silhouettes."""

import dataclasses

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from mpn.skeleton import KEYPOINTS

# Largest confidence of a guess, a keypoint without a peak. A peak of this confidence or less is hardly believed either.
# Guesses cost nothing, since OKS counts every labelled joint.
GUESS_CONFIDENCE = 0.05


def pose_scores(box_scores, confidences):
    """Scores of poses: box score times the mean confidence of the keypoints that are not guesses.

    Args:
        box_scores: (N,) float in [0, 1].
        confidences: (N, 17) float in [0, 1], of the keypoints.

    Returns:
        (N,) float in [0, 1]; 0 for a pose of guesses only.
    """
    counted = confidences > GUESS_CONFIDENCE
    return box_scores * (confidences * counted).sum(axis=1) / np.maximum(counted.sum(axis=1), 1)


@dataclasses.dataclass(frozen=True)
class SilhouetteMap:
    """The silhouette channel of one image, shared by its people.

    Attributes:
        values: (h, w) float32 in about [0, 1], the network's silhouette channel.
        image_size: (H, W) of the image in pixels.
        scale: cells per image pixel along x and y; None means that `values` covers the image exactly.
    """

    values: np.ndarray
    image_size: tuple
    scale: tuple | None = None

    def mask(self, box=None, threshold=0.5):
        """(H, W) bool: pixels of people; only those inside `box`, [x1, y1, x2, y2] in pixels, if one is given."""
        height, width = self.image_size
        mask = np.zeros((height, width), bool)
        x1, y1, x2, y2 = 0, 0, width, height
        if box is not None:
            x1, y1 = np.clip(np.floor(box[:2]).astype(int), 0, (width, height))
            x2, y2 = np.clip(np.ceil(box[2:]).astype(int), 0, (width, height))
        if x2 > x1 and y2 > y1:
            scale = self.scale or (self.values.shape[1] / width, self.values.shape[0] / height)
            # The value of pixel (x, y) of the box is at cell (x + x1 + 1/2) scale; cv2 counts from cell centres.
            matrix = np.array([[scale[0], 0, (x1 + 0.5) * scale[0] - 0.5], [0, scale[1], (y1 + 0.5) * scale[1] - 0.5]])
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            size = int(x2 - x1), int(y2 - y1)
            values = cv2.warpAffine(self.values, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
            mask[y1:y2, x1:x2] = values > threshold
        return mask


@dataclasses.dataclass(frozen=True)
class Detections:
    """What the subnets found in one image, before grouping. Coordinates are continuous image pixels.

    Attributes:
        boxes: (N, 4) float32, [x1, y1, x2, y2], best first.
        box_scores: (N,) float32 in [0, 1].
        peaks: (17, M, 2) float32, x and y of the peaks of each keypoint.
        peak_scores: (17, M) float32 in [0, 1], 0 where there is no peak.
        silhouettes: SilhouetteMap, or None.
        heatmaps: (17, h, w) float32 on the grid of the silhouettes, for the grouping prn-crop; else None.
    """

    boxes: np.ndarray
    box_scores: np.ndarray
    peaks: np.ndarray
    peak_scores: np.ndarray
    silhouettes: SilhouetteMap | None = None
    heatmaps: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Person:
    """One person found in an image.

    Coordinates are continuous image pixels: pixel i spans [i, i + 1).

    Attributes:
        box: (4,) float32, [x1, y1, x2, y2].
        box_score: float in [0, 1], the person detector's confidence.
        keypoints: (17, 3) float32, x, y and confidence in [0, 1], in the order of `mpn.skeleton.KEYPOINTS`.
        score: float in [0, 1], of the whole pose.
        silhouettes: the image's SilhouetteMap, or None.
    """

    box: np.ndarray
    box_score: float
    keypoints: np.ndarray
    score: float
    silhouettes: SilhouetteMap | None = None

    def silhouette(self):
        """(H, W) bool mask of the silhouette inside the person's box, or None."""
        return None if self.silhouettes is None else self.silhouettes.mask(self.box)

    def to_json(self, rle=False):
        """The person as plain Python values, as `demo.py` writes them; `rle` adds the silhouette itself.

        Returns:
            dict with
                box: [x1, y1, x2, y2], image pixels rounded to 0.01.
                box_score: the person detector's confidence, 0 to 1.
                score: of the whole pose, 0 to 1.
                silhouette_area: pixels of the silhouette inside the box, or None.
                silhouette: only with `rle`: {"size": [H, W], "counts": str}, COCO's compressed RLE of the mask of the
                    whole image for `pycocotools.mask.decode`; or None.
                keypoints: 17 of {"name", "x", "y", "confidence"} in COCO order, image pixels rounded to 0.01 and 0 to
                    1; a confidence of at most 0.05 marks a guess, or a peak that is hardly believed.
        """
        mask = self.silhouette()
        silhouette = {"silhouette": None if mask is None else _to_rle(mask)} if rle else {}
        return {
            "box": [round(float(v), 2) for v in self.box],
            "box_score": round(float(self.box_score), 4),
            "score": round(float(self.score), 4),
            "silhouette_area": None if mask is None else int(mask.sum()),
            **silhouette,
            "keypoints": [
                {"name": name, "x": round(float(x), 2), "y": round(float(y), 2), "confidence": round(float(c), 4)}
                for name, (x, y, c) in zip(KEYPOINTS, self.keypoints, strict=True)
            ],
        }


def _to_rle(mask):
    """COCO's compressed RLE of an (H, W) bool mask, as JSON-able values."""
    encoded = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return {"size": [int(side) for side in encoded["size"]], "counts": encoded["counts"].decode("ascii")}
