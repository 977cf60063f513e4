"""PASCAL VOC 2012's segmentation sets (§4.1, §4.4): their images, their masks, and masks of people as VOC stores them.

A mask is a PNG of class indices, with VOC's palette or in grey: 0 background, 1-20 the classes in alphabetical order
(15 is person), and 255 what the annotation leaves open, such as the contours of things.
"""

import dataclasses
import io
import pathlib
import re

import numpy as np
from PIL import Image  # OpenCV gives the colours of a palette, and not the indices

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
    """One image of a segmentation set.

    Attributes:
        name: str, as VOC calls it: "2007_000033".
        image: pathlib.Path of its JPEG.
        mask: pathlib.Path of its mask of classes, or None for test.
    """

    name: str
    image: pathlib.Path
    mask: pathlib.Path | None


def load_voc(folder, split, limit=None):
    """The images of a segmentation set, in the order of its list.

    Args:
        folder: VOC2012.
        split: of SPLITS; test has no masks.
        limit: the first so many only.

    Returns:
        list of VocImage, at least one.

    Raises:
        UserError: the folder, the list, an image or a mask is missing, or the list is not one of names; the message
            names it.
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder} does not exist: {LAYOUT}")
    path = folder / "ImageSets" / "Segmentation" / f"{split}.txt"
    if not path.is_file():
        raise UserError(f"{path} does not exist: {LAYOUT}")
    names = _read_names(path)[:limit]
    masks = split != "test"
    images = [
        VocImage(
            name,
            folder / "JPEGImages" / f"{name}.jpg",
            folder / "SegmentationClass" / f"{name}.png" if masks else None,
        )
        for name in names
    ]
    # All of them now: not after hours of predictions.
    for files, what in (([i.image for i in images], "images"), ([i.mask for i in images if masks], "masks")):
        missing = [file for file in files if not file.is_file()]
        if missing:
            raise UserError(
                f"{len(missing)} of {len(files)} {what} that {path} names do not exist, {missing[0]} first: {LAYOUT}"
            )
    return images


def _read_names(path):
    try:
        names = read_bytes(path, "list of images").decode("ascii").split()
    except UnicodeDecodeError as error:
        raise UserError(f"list of images '{path}' is not plain text: copy it again from VOC2012") from error
    if not names:
        raise UserError(f"list of images '{path}' is empty: copy it again from VOC2012")
    seen = set()
    for name in names:
        # Others keep pairs of paths in lists of the same name.
        if not re.fullmatch(r"\w+", name):
            raise UserError(f"list of images '{path}' must have one name a line, such as 2007_000033, not {name!r}")
        if name in seen:
            raise UserError(f"list of images '{path}' has {name} twice: copy it again from VOC2012")
        seen.add(name)
    return names


def read_classes(path, size):
    """Reads a mask of classes, with a palette as in SegmentationClass or grey as in SegmentationClassAug.

    Args:
        path: a PNG file.
        size: (H, W) of its image in pixels.

    Returns:
        (H, W) uint8, 0-20 and VOID.

    Raises:
        UserError: the file is missing or damaged, has colours instead of classes, or another size than its image.
    """
    data = read_bytes(path, "mask")
    try:
        with Image.open(io.BytesIO(data)) as picture:
            mode, classes = picture.mode, np.array(picture)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"mask '{path}' is damaged or not an image: copy it again from VOC2012") from error
    if mode not in ("P", "L"):
        raise UserError(
            f"mask '{path}' has colours (mode {mode}), not class indices: take the file as VOC2012 has it, or a grey "
            "PNG of indices"
        )
    if classes.shape != tuple(size):
        raise UserError(
            f"mask '{path}' has {classes.shape[1]} x {classes.shape[0]} pixels and its image {size[1]} x {size[0]}: "
            "they belong to different images"
        )
    strange = classes[(classes >= CLASSES) & (classes != VOID)]
    if strange.size:
        raise UserError(
            f"mask '{path}' has the value {strange[0]}, and classes are 0-{CLASSES - 1} or {VOID}: take the file as "
            "VOC2012 has it, not one whose colours were turned into grey"
        )
    return classes


def write_person_mask(path, people):
    """Writes where people are as a mask of classes with VOC's palette, atomically.

    Args:
        path: the PNG to make or replace; its folder must exist.
        people: (H, W) bool.

    Raises:
        OSError: the file cannot be written.
    """
    picture = Image.fromarray(np.where(people, PERSON, 0).astype(np.uint8))
    picture.putpalette(palette().tobytes())
    with atomic_path(path) as temporary:
        picture.save(temporary, format="PNG")


def palette():
    """VOC's colours: (256, 3) uint8 RGB by class index.

    Three bits of the index at a time, the lowest first, are the highest free bits of red, green and blue.
    """
    index = np.arange(256)[:, None]
    colours = np.zeros((256, 3), int)
    for step in range(8):
        colours |= ((index >> (3 * step + np.arange(3))) & 1) << (7 - step)
    return colours.astype(np.uint8)
