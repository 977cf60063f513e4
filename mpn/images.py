"""Image files <-> (H, W, 3) uint8 RGB arrays.

Every file that is not a whole image is a UserError that names it. Decoders fill what they cannot read with grey and
only warn: simplejpeg gives libjpeg's warnings as errors, which Pillow and OpenCV keep to themselves.
"""

import io
import re
import struct
import warnings
from pathlib import Path

import cv2
import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError

from mpn.errors import UserError
from mpn.files import atomic_path, read_bytes

# Files of a folder that count as images, in lower case. HEIC is here to be named, since phones fill folders with it.
IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif"),
    *(".heic", ".heif"),
)

MOST_PIXELS = 160_000_000  # of an image that is read

_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "JPEG2000", "PPM")
_KINDS = "a JPEG, PNG, WebP, GIF, AVIF, BMP or TIFF file with 8 or 16 bits a channel"
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_EXIF_ORIENTATION_TAG = 0x0112
_LONGEST_JPEG_SIDE = 65500
# What Pillow raises for damaged files: its parsers index, unpack and divide before they check.
_DAMAGED = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    ArithmeticError,
    RuntimeError,
    struct.error,
)
# Some cameras pad the end of a JPEG's pixels; longer rests are pixels that came out wrong.
_MOST_PADDING = 16
# Headers of whole JPEGs that libjpeg warns of: how the warning begins, and which bytes to change for it to stop.
# Decoding ends at the first warning, so this is how to find out whether another one follows.
_ODD_HEADERS = {
    "Warning: unknown JFIF revision": (rb"(\xff\xe0..JFIF\0).", b"\\1\x01"),
    "Unknown Adobe color transform": (rb"(\xff\xee..)Adobe", rb"\1other"),
    "Invalid SOS parameters for sequential": (
        rb"(\xff\xda\0(?:\x08\x01..|\x0a\x02.{4}|\x0c\x03.{6}|\x0e\x04.{8}))...",
        b"\\1\0?\0",
    ),
}

# What Pillow would warn about, the UserError says in one sentence.
warnings.filterwarnings("ignore", module=r"PIL\.")


def read_image(path):
    """Reads an image file as people see it in a viewer; see `decode_image` for what that means.

    Args:
        path: a JPEG, PNG, WebP, GIF, AVIF, BMP or TIFF file.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        UserError: the file is missing, unreadable, damaged, too large or not an image.
    """
    return decode_image(read_bytes(path, "image"), str(path))


def decode_image(data, name):
    """Decodes the bytes of an image file; of several images in one file, the first.

    The orientation that EXIF or the format itself has is applied. Grey becomes RGB. Of 16-bit values the high byte is
    taken. Transparency is laid over white, as most viewers show it.

    Args:
        data: bytes of a JPEG, PNG, WebP, GIF, AVIF, BMP, TIFF, JPEG 2000 or PPM file.
        name: what to call it in messages, usually the path.

    Returns:
        (H, W, 3) uint8 RGB, C-contiguous.

    Raises:
        UserError: the data are empty, damaged, not an image, neither 8 nor 16 bits a channel, or have more than
            MOST_PIXELS.
    """
    if not data:
        raise UserError(f"image '{name}' is empty: copy or download it again")
    if data[4:8] == b"ftyp" and data[8:12] in _HEIC_BRANDS and b"avif" not in data[:64]:
        raise UserError(f"image '{name}' is a HEIC file, which cannot be read: convert it to JPEG")
    try:
        return _decode(data, name)
    except (Image.DecompressionBombError, MemoryError) as error:
        raise _too_large(name) from error
    except UnidentifiedImageError as error:
        raise UserError(f"image '{name}' is damaged or not an image: use {_KINDS}") from error
    except _DAMAGED as error:
        raise UserError(f"image '{name}' is damaged ({error}): copy or download it again") from error


def write_image(path, image):
    """Writes an image atomically, in the format that the suffix names.

    Args:
        path: the file to make or replace; its folder must exist.
        image: (H, W, 3) uint8 RGB.

    Raises:
        UserError: the suffix names no image format that can be written, or the image is too large for it.
        ValueError: `image` is not (H, W, 3) uint8.
        OSError: the file cannot be written; carries the filename.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise ValueError(f"an image to write is (H, W, 3) uint8, not {image.shape} {image.dtype}")
    try:
        done, encoded = cv2.imencode(Path(path).suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    except cv2.error:
        done = False
    if not done:
        if max(image.shape) > _LONGEST_JPEG_SIDE:
            raise UserError(f"cannot write '{path}': scale the image to at most {_LONGEST_JPEG_SIDE} pixels a side")
        raise UserError(f"cannot write '{path}' as an image: end its name with .jpg or .png")
    with atomic_path(path) as temporary:
        temporary.write_bytes(encoded)


def turned(pixels, swap, flip_rows, flip_columns):
    """Turns or mirrors (H, W, ...) pixels.

    Args:
        pixels: the array.
        swap: whether rows become columns, which comes first.
        flip_rows, flip_columns: whether to reverse the order of rows, of columns.

    Returns:
        (H, W, ...), or (W, H, ...) where swapped; C-contiguous.
    """
    if swap:
        pixels = pixels.swapaxes(0, 1)
    return np.ascontiguousarray(pixels[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1])


def _decode(data, name):
    """`decode_image` without its sentences for what Pillow and simplejpeg raise."""
    with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
        if image.width * image.height > MOST_PIXELS:
            raise _too_large(name)
        if image.format == "PNG":
            image.verify()  # the checksums, which loading ignores; the image cannot be used afterwards
    with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
        if image.format in ("JPEG", "MPO"):
            # Pillow knows how CMYK is to be seen, libjpeg whether it is whole.
            pixels = _jpeg_pixels(data, "CMYK" if image.mode == "CMYK" else "RGB")
        if image.mode == "CMYK" or image.format not in ("JPEG", "MPO"):
            image.load()
            pixels = _rgb(image, name)
        orientation = _exif_orientation(image)  # after loading, which turns some formats itself
    return turned(pixels, orientation >= 5, orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7))


def _jpeg_pixels(data, colours):
    """(H, W, C) uint8 pixels as stored in a JPEG, "RGB" or "CMYK"; ValueError where libjpeg warns of damage."""
    try:
        return simplejpeg.decode_jpeg(data, colours)
    except ValueError as error:
        warning = str(error)
        for beginning, (pattern, change) in _ODD_HEADERS.items():
            changed = re.sub(pattern, change, data, flags=re.DOTALL)
            if warning.startswith(beginning) and changed != data:
                return _jpeg_pixels(changed, colours)
        if warning.startswith("Inconsistent progression sequence"):  # some encoders write a scan twice
            with Image.open(io.BytesIO(data)) as image:
                return np.asarray(image.convert(colours))  # an error where the file is cut short
        padding = re.fullmatch(r".*: (\d+) extraneous bytes before marker 0xd9", warning)
        if not padding or int(padding[1]) > _MOST_PADDING:
            raise
    return simplejpeg.decode_jpeg(data, colours, strict=False)


def _rgb(image, name):
    """(H, W, 3) uint8 RGB of a loaded PIL image of any mode."""
    if image.mode == "F" or (image.mode == "I" and image.format != "PPM"):
        raise UserError(f"image '{name}' has 32-bit values: save it with 8 or 16 bits a channel")
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image)
        image = white
    return np.asarray(image.convert("RGB"))


def _exif_orientation(image):
    """EXIF orientation of a PIL image, 1 to 8; 1 (upright) where it does not say or the EXIF block is broken."""
    try:
        orientation = image.getexif().get(_EXIF_ORIENTATION_TAG)
    except _DAMAGED:
        return 1
    return orientation if orientation in range(1, 9) else 1


def _too_large(name):
    return UserError(f"image '{name}' has more than {MOST_PIXELS:,} pixels, or more than memory holds: scale it down")


def check_image(image):
    """Raises ValueError where `image` is not a (H, W, 3) uint8 array."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.shape[2:] != (3,) or not image.size:
        given = f"{image.shape} {image.dtype}" if isinstance(image, np.ndarray) else type(image)
        raise ValueError(f"an image is a (H, W, 3) uint8 RGB array, not {given}")
