"""COCO person-keypoints annotations as arrays, one record an image."""

import dataclasses
import pathlib

import numpy as np

from mpn.errors import UserError
from mpn.files import read_json
from mpn.images import read_image
from mpn.skeleton import NUM_KEYPOINTS

PERSON_CATEGORY = 1

LAYOUT = (
    "--coco (or MPN_COCO) must name a folder with train2017/, val2017/ and "
    "annotations/person_keypoints_{train,val}2017.json, for test-dev test2017/ and "
    "annotations/image_info_test-dev2017.json; `python -m mpn.data.synthetic DIR` writes a small one"
)


@dataclasses.dataclass(frozen=True)
class ImageRecord:
    """One image and its people. Coordinates are continuous image pixels: COCO's keypoint indices + 0.5.

    Attributes:
        id: COCO's image id.
        path: pathlib.Path of the image file, or None where only labels are at hand.
        width, height: image size in pixels.
        keypoints: (N, 17, 3) float32, x, y and v (0 not labelled, 1 occluded, 2 visible); people without keypoint
            annotations have v = 0 throughout.
        boxes: (N, 4) float32, [x1, y1, x2, y2].
        areas: (N,) float32, COCO's silhouette areas in square pixels.
        crowd: (N,) bool, crowd regions, which are not single people.
        segmentations: N COCO segmentations: a list of polygons, an RLE dict, or [] where unknown.
        partial: other people may be unlabelled, and so may keypoints that are in sight: only the labelled keypoints
            count, and only inside the boxes of their people.
    """

    id: int
    path: pathlib.Path | None
    width: int
    height: int
    keypoints: np.ndarray
    boxes: np.ndarray
    areas: np.ndarray
    crowd: np.ndarray
    segmentations: tuple
    partial: bool = False

    @property
    def labelled(self):
        """(N,) bool: single people with at least one labelled keypoint."""
        return (self.keypoints[..., 2] > 0).any(axis=1) & ~self.crowd

    def of(self, which):
        """The record with some of its people only.

        Args:
            which: (N,) bool or integer indices.
        """
        index = np.arange(len(self.boxes))[which]
        return dataclasses.replace(
            self,
            keypoints=self.keypoints[index],
            boxes=self.boxes[index],
            areas=self.areas[index],
            crowd=self.crowd[index],
            segmentations=tuple(self.segmentations[i] for i in index),
        )


def annotation_file(coco_dir, split):
    """Path of a split's annotations in a COCO folder.

    Args:
        coco_dir: the COCO folder, or None where the user named none.
        split: "train", "val" or "test-dev".

    Raises:
        UserError: no folder was named, or it has no such file.
    """
    if coco_dir is None:
        raise UserError(f"no COCO folder: {LAYOUT}")
    if not pathlib.Path(coco_dir).is_dir():
        raise UserError(f"the COCO folder {coco_dir} does not exist: {LAYOUT}")
    name = "image_info_test-dev2017.json" if split == "test-dev" else f"person_keypoints_{split}2017.json"
    path = pathlib.Path(coco_dir) / "annotations" / name
    if not path.is_file():
        raise UserError(f"{path} does not exist: {LAYOUT}")
    return path


def image_folder(coco_dir, split):
    """Folder of a split's images: `test-dev` images are part of test2017."""
    return pathlib.Path(coco_dir) / ("test2017" if split == "test-dev" else f"{split}2017")


def load_coco(coco_dir, split, limit=None):
    """Records of a split of a COCO folder, in the file's order.

    Args:
        coco_dir, split: see `annotation_file`.
        limit: keep the first so many images; None keeps all.

    Returns:
        list of ImageRecord with image paths; the files are not opened.

    Raises:
        UserError: see `annotation_file` and `load_annotations`, or the folder of images is missing.
    """
    path = annotation_file(coco_dir, split)
    folder = image_folder(coco_dir, split)
    if not folder.is_dir():
        raise UserError(f"the image folder {folder} does not exist: {LAYOUT}")
    return load_annotations(path, folder, limit)


def load_partial(folder):
    """Records of a folder with images/ and annotations.json, COCO-shaped but not complete; see `ImageRecord.partial`.

    Such are data sets of other origin, whose people lack some of COCO's 17 keypoints or stand among unlabelled ones.

    Raises:
        UserError: the folder, or the file or the images in it, is missing, or `load_annotations` fails.
    """
    folder = pathlib.Path(folder)
    path, images = folder / "annotations.json", folder / "images"
    for needed in (folder, path, images):
        if not needed.exists():
            raise UserError(f"{needed} does not exist: --partial must name a folder with annotations.json and images/")
    return [dataclasses.replace(record, partial=True) for record in load_annotations(path, images)]


def load_annotations(path, folder=None, limit=None):
    """Records of one annotations file, plain or .gz.

    Args:
        path: a COCO JSON with "images" and, but for test images, "annotations".
        folder: where the images lie; None leaves the records without paths.
        limit: keep the first so many images; None keeps all.

    Returns:
        list of ImageRecord in the file's order. Annotations of other categories than person are left out.

    Raises:
        UserError: the file is not COCO; the message names the file and what is wrong.
    """
    content = read_json(path, "COCO annotations")
    if not isinstance(content, dict) or not isinstance(content.get("images"), list):
        raise UserError(f"{path} is not a COCO annotations file: it has no list 'images'")
    images = content["images"][:limit]
    try:
        grouped = {image["id"]: [] for image in images}
        for annotation in content.get("annotations", ()):
            if annotation.get("category_id", PERSON_CATEGORY) == PERSON_CATEGORY:
                grouped.get(annotation["image_id"], []).append(annotation)
        return [_record(image, grouped[image["id"]], folder) for image in images]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{path} is not a COCO person-keypoints file: {type(error).__name__} {error} in an image or annotation"
        ) from error


def _record(image, annotations, folder):
    count = len(annotations)
    keypoints = np.zeros((count, NUM_KEYPOINTS, 3), np.float32)
    for row, annotation in zip(keypoints, annotations, strict=True):
        if annotation.get("keypoints"):
            row[:] = np.reshape(annotation["keypoints"], (NUM_KEYPOINTS, 3))
    keypoints[..., :2] += 0.5
    keypoints[keypoints[..., 2] == 0] = 0
    if not (image["width"] > 0 and image["height"] > 0):
        raise ValueError(f"image {image['id']} has no size")
    for annotation in annotations:
        _check_segmentation(annotation.get("segmentation") or [])
    corners = np.array([a["bbox"] for a in annotations], np.float32).reshape(count, 4)
    if not (np.isfinite(corners).all() and np.isfinite(keypoints).all()):
        raise ValueError(f"image {image['id']} has a number that is not finite")
    return ImageRecord(
        id=int(image["id"]),
        path=None if folder is None else pathlib.Path(folder) / image["file_name"],
        width=int(image["width"]),
        height=int(image["height"]),
        keypoints=keypoints,
        boxes=np.concatenate([corners[:, :2], corners[:, :2] + corners[:, 2:]], axis=1),
        areas=np.array([a.get("area", 0) for a in annotations], np.float32),
        crowd=np.array([bool(a.get("iscrowd", 0)) for a in annotations], bool),
        segmentations=tuple(a.get("segmentation") or [] for a in annotations),
    )


def read_record(record):
    """The image of a record: (H, W, 3) uint8 RGB.

    Raises:
        UserError: the file cannot be read, or has another size than the annotations say.
    """
    image = read_image(record.path)
    if image.shape[:2] != (record.height, record.width):
        raise UserError(
            f"image {record.path} is {image.shape[1]} x {image.shape[0]} pixels and its annotations are for "
            f"{record.width} x {record.height}: take the file that was annotated"
        )
    return image


def image_reader(cached):
    """`read_record`, or a function like it that keeps every image it has read.

    Args:
        cached: whether to keep images, at 3 bytes a pixel.
    """
    kept = {}

    def read(record):
        if record.path not in kept:
            kept[record.path] = read_record(record)
        return kept[record.path]

    return read if cached else read_record


def _check_segmentation(segmentation):
    """Raises ValueError for what is neither polygons nor an RLE."""
    if isinstance(segmentation, dict):
        if not {"counts", "size"} <= set(segmentation):
            raise ValueError("an RLE without counts and size")
    elif any(len(polygon) % 2 or len(polygon) < 6 for polygon in segmentation):
        raise ValueError("a polygon that is not a list of three or more points")


def hold_out(records, share, seed):
    """Splits records into a training part and a held-out part.

    Args:
        records: list of ImageRecord.
        share: part of the images held out, in (0, 1); at least one image is.
        seed: decides which.

    Returns:
        (training records, held-out records), each in the order of `records`.
    """
    count = max(1, round(share * len(records)))
    held = set(np.random.default_rng(seed).permutation(len(records))[:count].tolist())
    return (
        [record for i, record in enumerate(records) if i not in held],
        [record for i, record in enumerate(records) if i in held],
    )
