"""PASCAL VOC 2012's segmentation sets (§4.1, §4.4): images, masks, and masks of people to be submitted.

A mask is a PNG of class indices, grey or with VOC's palette: 0 background, 1-20 the classes in alphabetical order (15
is person), and 255 for pixels that the annotation leaves open, such as contours.
"""

import collections
import dataclasses
import io
import pathlib
import re

import numpy as np
from PIL import Image  # OpenCV reads a palette's colours, not the indices

from mpn.errors import UserError
from mpn.files import atomic_path, read_bytes

SPLITS = ("val", "test")

PERSON = 15
VOID = 255
CLASSES = 21  # with the background

LAYOUT = (
    "it must be the folder VOC2012 with ImageSets/Segmentation/{val,test}.txt, JPEGImages/ and, for val, "
    "SegmentationClass/"
)


@dataclasses.dataclass(frozen=True)
class VocImage:
    """An image's name, such as 2007_000033, its JPEG and its mask, which test does not have."""

    name: str
    image: pathlib.Path
    mask: pathlib.Path | None


def load_voc(folder, split, limit=None):
    """The VocImages of a segmentation set, in the order of its list: the first `limit`, or all; at least one.

    `folder` is VOC2012. Raises UserError where something does not exist, or the list is wrong.
    """
    folder = pathlib.Path(folder)
    path = folder / "ImageSets" / "Segmentation" / f"{split}.txt"
    if not path.is_file():
        raise UserError(f"{path if folder.is_dir() else folder} does not exist: {LAYOUT}")
    names = _read_names(path)[:limit]
    images = [folder / "JPEGImages" / f"{name}.jpg" for name in names]
    masks = [folder / "SegmentationClass" / f"{name}.png" for name in names] if split != "test" else []
    # Check all now, not after hours of predictions.
    for files, what in ((images, "images"), (masks, "masks")):
        if missing := [file for file in files if not file.is_file()]:
            count = f"{len(missing)} of {len(files)} {what} that {path} names"
            raise UserError(f"{count} do not exist, {missing[0]} first: {LAYOUT}")
    return [VocImage(*paths) for paths in zip(names, images, masks or [None] * len(names), strict=True)]


def _read_names(path):
    list_ = f"list of images '{path}'"
    try:
        names = read_bytes(path, "list of images").decode("ascii").split()
    except UnicodeDecodeError as error:
        raise UserError(f"{list_} is not plain text: copy it again from VOC2012") from error
    if not names:
        raise UserError(f"{list_} is empty: copy it again from VOC2012")
    for name, count in collections.Counter(names).items():
        # Other projects keep pairs of paths in lists of the same name.
        if not re.fullmatch(r"\w+", name):
            raise UserError(f"{list_} must have one name a line, such as 2007_000033, not {name!r}")
        if count > 1:
            raise UserError(f"{list_} has {name} twice: copy it again from VOC2012")
    return names


def read_classes(path, size):
    """Reads a mask as (H, W) uint8, 0-20 and VOID: with a palette (SegmentationClass) or grey (SegmentationClassAug).

    `size` is the image's (H, W). Raises UserError where the file is missing, damaged, coloured or of another size.
    """
    data = read_bytes(path, "mask")
    try:
        with Image.open(io.BytesIO(data)) as picture:
            mode, classes = picture.mode, np.array(picture)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"mask '{path}' is damaged or not an image: copy it again from VOC2012") from error
    if mode not in ("P", "L"):
        wrong = f"has colours (mode {mode}), not class indices: take VOC2012's file, or a grey PNG of indices"
    elif classes.shape != tuple(size):
        found, wanted = (f"{width} x {height}" for height, width in (classes.shape, size))
        wrong = f"has {found} pixels and its image {wanted}: they belong to different images"
    elif (strange := classes[(classes >= CLASSES) & (classes != VOID)]).size:
        wrong = f"has the value {strange[0]}, and classes are 0-{CLASSES - 1} or {VOID}: take VOC2012's file, not one"
        wrong += " whose colours were turned into grey"
    else:
        return classes
    raise UserError(f"mask '{path}' {wrong}")


def write_person_mask(path, people):
    """Writes an (H, W) bool mask of people as a PNG of classes with VOC's palette, atomically."""
    picture = Image.fromarray(np.where(people, PERSON, 0).astype(np.uint8))
    picture.putpalette(palette().tobytes())
    with atomic_path(path) as temporary:
        picture.save(temporary, format="PNG")


def palette():
    """VOC's colours, (256, 3) uint8 RGB. Bits 0, 3 and 6 of a class index are the highest bits of its red."""
    index = np.arange(256)[:, None]
    colours = np.zeros((256, 3), int)
    for step in range(8):
        colours |= ((index >> (3 * step + np.arange(3))) & 1) << (7 - step)
    return colours.astype(np.uint8)
