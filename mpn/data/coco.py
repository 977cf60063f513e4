"""COCO person-keypoints annotations as arrays, one record an image."""

import dataclasses
import os
import pathlib

import numpy as np

from mpn.data.annotations import read_annotations, shown
from mpn.errors import UserError
from mpn.images import read_image

LAYOUT = (
    "--coco (or MPN_COCO) must name a folder with train2017/, val2017/ and "
    "annotations/person_keypoints_{train,val}2017.json, for test-dev test2017/ and "
    "annotations/image_info_test-dev2017.json; `python -m mpn.synthetic DIR` writes a small one"
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
        areas: (N,) float32, COCO's silhouette areas in square pixels, above 0.
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


def split_files(coco_dir, split):
    """Path of a split's annotations, see `annotation_file`, and the folder of its images.

    Raises:
        UserError: one of them is missing.
    """
    path, folder = annotation_file(coco_dir, split), image_folder(coco_dir, split)
    if not folder.is_dir():
        raise UserError(f"the image folder {folder} does not exist: {LAYOUT}")
    return path, folder


def load_coco(coco_dir, split, limit=None):
    """Records of a split of a COCO folder, in the file's order.

    Args:
        coco_dir, split: see `annotation_file`.
        limit: keep the first so many images; None keeps all.

    Returns:
        list of ImageRecord with image paths; the files are not opened, see `check_images`.

    Raises:
        UserError: see `split_files` and `load_annotations`.
    """
    return load_annotations(*split_files(coco_dir, split), limit)


def load_partial(folder):
    """Records of a folder with images/ and annotations.json, COCO-shaped but not complete; see `ImageRecord.partial`.

    Such are data sets of other origin, whose people lack some of COCO's 17 keypoints or stand among unlabelled ones.

    Raises:
        UserError: the folder, or the file or an image in it, is missing, or `load_annotations` fails.
    """
    folder = pathlib.Path(folder)
    path, images = folder / "annotations.json", folder / "images"
    for needed in (folder, path, images):
        if not needed.exists():
            raise UserError(f"{needed} does not exist: --partial must name a folder with annotations.json and images/")
    records = [dataclasses.replace(record, partial=True) for record in load_annotations(path, images)]
    check_images(records)
    return records


def load_annotations(path, folder=None, limit=None):
    """Records of one annotations file: `image_records` of what `read_annotations` finds in it."""
    return image_records(read_annotations(path), folder, limit)


def image_records(annotations, folder=None, limit=None):
    """Annotations as one record an image.

    Args:
        annotations: Annotations.
        folder: where the images lie; None leaves the records without paths.
        limit: keep the first so many images; None keeps all.

    Returns:
        list of ImageRecord in the file's order.

    Raises:
        UserError: an image's file_name is none, or leaves the folder; the message names file and image.
    """
    order = np.argsort(annotations.owners, kind="stable")
    keypoints = annotations.keypoints + (0.5, 0.5, 0)
    keypoints[annotations.keypoints[..., 2] == 0] = 0
    boxes = annotations.boxes.astype(np.float32)
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    arrays = {"keypoints": keypoints, "boxes": corners, "areas": annotations.areas}
    arrays = {name: array[order].astype(np.float32) for name, array in arrays.items()}
    arrays["crowd"] = annotations.crowd[order]
    images = annotations.image_ids[:limit]
    ends = np.searchsorted(annotations.owners[order], np.arange(len(images) + 1)).tolist()
    records = []
    for number, identity in enumerate(images):
        mine = slice(ends[number], ends[number + 1])
        width, height = annotations.sizes[number].tolist()
        records.append(
            ImageRecord(
                id=identity,
                path=None if folder is None else _image_path(annotations, number, folder),
                width=width,
                height=height,
                segmentations=tuple(annotations.segmentations[person] for person in order[mine]),
                **{name: array[mine] for name, array in arrays.items()},
            )
        )
    return records


def _image_path(annotations, number, folder):
    name = annotations.file_names[number]
    if isinstance(name, str) and "\0" not in name:
        path = pathlib.PurePath(name)
        if path.parts and not path.anchor and ".." not in path.parts:
            return pathlib.Path(folder, path)
    raise UserError(
        f"{annotations.path} is not a COCO person-keypoints file: image {annotations.image_ids[number]} has the "
        f"file_name {shown(name)}, which is no name of a file inside {folder}"
    )


def check_images(records):
    """Makes sure that the image files are there, before hours of work with them; folders are listed, not each file.

    Args:
        records: list of ImageRecord with paths.

    Raises:
        UserError: a file is missing, or is no regular file; the message names the first and says how many.
    """
    found = {folder: _files(folder) for folder in {record.path.parent for record in records}}
    # A name that is not listed as it is written may still be one to the file system.
    missing = [r for r in records if r.path.name not in found[r.path.parent] and not os.path.isfile(r.path)]
    if missing:
        raise UserError(
            f"{len(missing)} of {len(records)} images are not there, the first is {str(missing[0].path)!r} of image "
            f"{missing[0].id}: copy them, or take annotations of those that are"
        )


def _files(folder):
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if entry.is_file()}
    except (OSError, ValueError):  # no folder, or no name of one
        return set()


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
