"""Detections, people and silhouettes: the parts of a prediction."""

import dataclasses

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from mpn.heatmaps import STRIDE
from mpn.skeleton import KEYPOINTS

# Largest confidence of a guess: a keypoint without a peak. Peaks up to this are not trusted either. A guess cannot
# lower OKS, which counts every labelled keypoint, found or not.
GUESS_CONFIDENCE = 0.05


def pose_scores(box_scores, confidences):
    """Box scores, (N,), times the mean of the (N, 17) confidences that are no guesses; 0 if all are guesses."""
    counted = confidences > GUESS_CONFIDENCE
    return box_scores * (confidences * counted).sum(axis=1) / np.maximum(counted.sum(axis=1), 1)


@dataclasses.dataclass(frozen=True)
class SilhouetteMap:
    """The silhouettes of one image, shared by its people."""

    values: np.ndarray  # (h, w) float32 in about [0, 1], the network's silhouette channel
    image_size: tuple  # (H, W) in pixels
    scale: tuple | None = None  # cells per image pixel along x and y; None: `values` covers the image exactly

    def mask(self, box=None, threshold=0.5):
        """(H, W) bool: pixels of people; only those inside `box`, [x1, y1, x2, y2] in pixels, if given."""
        height, width = self.image_size
        mask = np.zeros((height, width), bool)
        x1, y1, x2, y2 = 0, 0, width, height
        if box is not None:
            x1, y1 = np.clip(np.floor(box[:2]).astype(int), 0, (width, height))
            x2, y2 = np.clip(np.ceil(box[2:]).astype(int), 0, (width, height))
        if x2 > x1 and y2 > y1:
            scale = self.scale or (self.values.shape[1] / width, self.values.shape[0] / height)
            # Pixel x of the box is at cell coordinate (x + x1 + 1/2) scale; cv2 counts from cell centres.
            matrix = np.array([[scale[0], 0, (x1 + 0.5) * scale[0] - 0.5], [0, scale[1], (y1 + 0.5) * scale[1] - 0.5]])
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            size = int(x2 - x1), int(y2 - y1)
            values = cv2.warpAffine(self.values, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
            mask[y1:y2, x1:x2] = values > threshold
        return mask


@dataclasses.dataclass(frozen=True)
class Detections:
    """Boxes and peaks of one image, before grouping. Coordinates are continuous image pixels."""

    boxes: np.ndarray  # (N, 4) float32 [x1, y1, x2, y2], best first
    box_scores: np.ndarray  # (N,) float32 in [0, 1]
    peaks: np.ndarray  # (17, M, 2) float32, x and y
    peak_scores: np.ndarray  # (17, M) float32 in [0, 1], 0 where there is no peak
    silhouettes: SilhouetteMap | None = None
    heatmaps: np.ndarray | None = None  # (17, h, w) float32 on the silhouettes' grid, for the grouping prn-crop

    @classmethod
    def in_image(cls, raw, scale, image_size):
        """The Detections of a graph's outputs, `raw`: a dict of arrays in pixels of the network's input.

        `scale` is (2,) input pixels per image pixel along x and y, `image_size` (H, W) in pixels, which limit boxes.
        """
        limits = np.array([image_size[1], image_size[0]] * 2, np.float32)
        boxes = (raw["boxes"] / np.tile(scale, 2)).clip(0, limits)
        silhouettes = SilhouetteMap(raw["silhouette"], tuple(image_size), tuple(scale / STRIDE))
        return cls(boxes, raw["box_scores"], raw["peaks"] / scale, raw["peak_scores"], silhouettes, raw.get("heatmaps"))


@dataclasses.dataclass(frozen=True)
class Person:
    """One person in an image. Coordinates are continuous image pixels: pixel i spans [i, i + 1)."""

    box: np.ndarray  # (4,) float32 [x1, y1, x2, y2]
    box_score: float  # in [0, 1], of the person detector
    keypoints: np.ndarray  # (17, 3) float32: x, y, and confidence in [0, 1]; in the order of `mpn.skeleton.KEYPOINTS`
    score: float  # in [0, 1], of the whole pose
    silhouettes: SilhouetteMap | None = None  # of the whole image

    def silhouette(self):
        """The (H, W) bool mask of the silhouette inside the person's box, or None."""
        return None if self.silhouettes is None else self.silhouettes.mask(self.box)

    def to_json(self, rle=False):
        """The person as plain Python values, as `demo.py` writes them: image pixels to 0.01, scores from 0 to 1.

        box is [x1, y1, x2, y2]; box_score is of the person detector, score of the whole pose. silhouette_area counts
        pixels inside the box. Only with `rle`, silhouette is the mask as COCO's compressed RLE for
        `pycocotools.mask.decode`, {"size": [H, W], "counts": str}. Both are None for a model without silhouettes.
        keypoints are 17 of {"name", "x", "y", "confidence"} in COCO order; a confidence of at most 0.05 marks a guess,
        or a peak that is not trusted.
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
    encoded = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return {"size": [int(side) for side in encoded["size"]], "counts": encoded["counts"].decode("ascii")}
