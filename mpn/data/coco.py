"""COCO's images and their people, as one record an image."""

import dataclasses
import itertools
import os
import pathlib

import numpy as np

from mpn.data.annotations import corners, read_annotations, shown
from mpn.errors import UserError
from mpn.images import read_image

LAYOUT = (
    "--coco (or MPN_COCO) must name a folder with train2017/, val2017/ and "
    "annotations/person_keypoints_{train,val}2017.json, for test-dev test2017/ and "
    "annotations/image_info_test-dev2017.json; `python -m mpn.synthetic DIR` writes a small one"
)


@dataclasses.dataclass(frozen=True)
class ImageRecord:
    """One image and its N people. Coordinates are continuous image pixels: COCO's keypoint indices + 0.5."""

    id: int
    path: pathlib.Path | None  # None where there are only labels
    width: int
    height: int
    keypoints: np.ndarray  # (N, 17, 3) float32: x, y, v (0 not labelled, 1 occluded, 2 visible); all 0 where v is 0
    boxes: np.ndarray  # (N, 4) float32 [x1, y1, x2, y2]
    areas: np.ndarray  # (N,) float32: square pixels of the annotated mask, above 0
    crowd: np.ndarray  # (N,) bool: regions that are not single people
    segmentations: tuple  # N polygons or RLEs, see `mpn.data.segmentations`; [] where unknown

    @property
    def labelled(self):
        """(N,) bool: single people with at least one labelled keypoint."""
        return (self.keypoints[..., 2] > 0).any(axis=1) & ~self.crowd

    def of(self, which):
        """The record with some of its people: (N,) bool or integer indices."""
        index = np.arange(len(self.boxes))[which]
        arrays = {name: getattr(self, name)[index] for name in ("keypoints", "boxes", "areas", "crowd")}
        return dataclasses.replace(self, segmentations=tuple(self.segmentations[i] for i in index), **arrays)


def annotation_file(coco_dir, split):
    """Path of the annotations of "train", "val" or "test-dev". Raises UserError if `coco_dir` is None or lacks them."""
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
    """Folder of a split's images; those of test-dev are in test2017."""
    return pathlib.Path(coco_dir) / ("test2017" if split == "test-dev" else f"{split}2017")


def split_files(coco_dir, split):
    """The `annotation_file` and `image_folder` of a split. Raises UserError if one does not exist."""
    path, folder = annotation_file(coco_dir, split), image_folder(coco_dir, split)
    if not folder.is_dir():
        raise UserError(f"the image folder {folder} does not exist: {LAYOUT}")
    return path, folder


def load_coco(coco_dir, split, limit=None):
    """The ImageRecords of a split, see `image_records`. Opens no image."""
    return load_annotations(*split_files(coco_dir, split), limit)


def load_annotations(path, folder=None, limit=None):
    """The ImageRecords of an annotations file; see `read_annotations` and `image_records`."""
    return image_records(read_annotations(path), folder, limit)


def image_records(annotations, folder=None, limit=None):
    """The Annotations as ImageRecords, in the file's order: the first `limit` images, or all.

    `folder` holds the images; without it, records have no paths. Raises UserError where a file_name is missing or leads
    out of the folder.
    """
    order = np.argsort(annotations.owners, kind="stable")
    keypoints = annotations.keypoints + (0.5, 0.5, 0)
    keypoints[annotations.keypoints[..., 2] == 0] = 0
    arrays = {"keypoints": keypoints, "boxes": corners(annotations.boxes), "areas": annotations.areas}
    arrays = {name: array[order].astype(np.float32) for name, array in arrays.items()}
    arrays["crowd"] = annotations.crowd[order]
    images = annotations.image_ids[:limit]
    ends = np.searchsorted(annotations.owners[order], np.arange(len(images) + 1)).tolist()
    records = []
    for number, identity in enumerate(images):
        mine = slice(ends[number], ends[number + 1])
        path = None if folder is None else _image_path(annotations, number, folder)
        people = {name: array[mine] for name, array in arrays.items()}
        people["segmentations"] = tuple(annotations.segmentations[person] for person in order[mine])
        records.append(ImageRecord(identity, path, *annotations.sizes[number].tolist(), **people))
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
    """Raises UserError if image files of records are missing: now, not after hours of work."""
    if missing := [record for record in records if not os.path.isfile(record.path)]:
        raise UserError(
            f"{len(missing)} of {len(records)} images are not there, the first is {str(missing[0].path)!r} of image "
            f"{missing[0].id}: copy them, or take annotations of those that are"
        )


def read_record(record):
    """Reads a record's image, (H, W, 3) uint8 RGB. Raises UserError if that fails or its size is not the record's."""
    image = read_image(record.path)
    if image.shape[:2] != (record.height, record.width):
        raise UserError(
            f"image {record.path} is {image.shape[1]} x {image.shape[0]} pixels and its annotations are for "
            f"{record.width} x {record.height}: take the file that was annotated"
        )
    return image


def hold_out(records, share):
    """Splits records into two lists, for training and held out, each in the order of `records`.

    A share in (0, 1) of the records is held out, at least one. A share always takes the same ones: a run that goes on
    from a model must not train on the images that the model's own run has held out.
    """
    count = max(1, round(share * len(records)))
    held = np.zeros(len(records), bool)
    held[np.random.default_rng(0).permutation(len(records))[:count]] = True
    return tuple(list(itertools.compress(records, part)) for part in (~held, held))
