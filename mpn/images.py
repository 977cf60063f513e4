"""Image files <-> (H, W, 3) uint8 RGB arrays.

A file that is not a whole image raises UserError. Pillow and OpenCV silently fill damaged parts of a JPEG with grey, so
simplejpeg decodes JPEGs: it raises libjpeg's warnings as errors.
"""

import io
import re
import struct
import warnings
from pathlib import Path

import cv2
import numpy as np
import simplejpeg
from PIL import ExifTags, Image, UnidentifiedImageError

from mpn.errors import UserError
from mpn.files import atomic_path, read_bytes

# Files that count as images in a folder. HEIC, common on phones, cannot be read, but gets a message of its own.
IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif"),
    *(".heic", ".heif"),
)

MOST_PIXELS = 160_000_000  # of an image that is read

_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "JPEG2000", "PPM")
_KINDS = "a JPEG, PNG, WebP, GIF, AVIF, BMP or TIFF file with 8 or 16 bits per channel"
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_LONGEST_JPEG_SIDE = 65500
# Pillow raises these for damaged files: its parsers index, unpack and divide before they check.
_DAMAGED = (OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, ArithmeticError, RuntimeError)
_DAMAGED += (struct.error,)
# libjpeg's warnings about odd headers, and about scans that some encoders write twice: no pixel is lost.
_HARMLESS = (
    "Warning: unknown JFIF revision",
    "Unknown Adobe color transform",
    "Invalid SOS parameters for sequential",
    "Inconsistent progression sequence",
)
# Some cameras add a few bytes after a JPEG's pixels; more bytes mean wrong pixels.
_MOST_PADDING = 16

# UserErrors replace Pillow's warnings.
warnings.filterwarnings("ignore", module=r"PIL\.")


def read_image(path):
    """Reads an image file as (H, W, 3) uint8 RGB; see `decode_image`."""
    return decode_image(read_bytes(path, "image"), str(path))


def decode_image(data, name):
    """Decodes the bytes of an image file as a viewer shows it: (H, W, 3) uint8 RGB, C-contiguous.

    EXIF's orientation is applied, grey becomes RGB, 16-bit values keep their high byte, transparency is laid over
    white, and the first of several images is taken. Messages call the image `name`, usually its path. Raises UserError
    where the data are empty, damaged, no image, not 8 or 16 bits a channel, or above MOST_PIXELS.
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
    """Writes (H, W, 3) uint8 RGB atomically, in the format of the path's suffix; UserError if that cannot hold it."""
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
    """Swaps rows and columns of (H, W, ...) pixels, then reverses their order; C-contiguous."""
    if swap:
        pixels = pixels.swapaxes(0, 1)
    return np.ascontiguousarray(pixels[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1])


def _decode(data, name):
    """Decodes as `decode_image`, with the exceptions of Pillow and simplejpeg."""
    with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
        if image.width * image.height > MOST_PIXELS:
            raise _too_large(name)
        if image.format == "PNG":
            image.verify()  # checksums, which loading ignores; the image cannot be used afterwards
    with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
        if image.format in ("JPEG", "MPO"):
            # For CMYK this only checks the file: Pillow, below, converts it as viewers do.
            pixels = _jpeg_pixels(data, "CMYK" if image.mode == "CMYK" else "RGB")
        if image.mode == "CMYK" or image.format not in ("JPEG", "MPO"):
            image.load()
            pixels = _rgb(image, name)
        orientation = _exif_orientation(image)  # after loading, which turns images of some formats
    return turned(pixels, orientation >= 5, orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7))


def _jpeg_pixels(data, colours):
    """Pixels of a JPEG, not turned, (H, W, C) uint8 "RGB" or "CMYK"; raises an error if it is damaged."""
    try:
        return simplejpeg.decode_jpeg(data, colours)
    except ValueError as error:
        warning = str(error)
        if warning.startswith(_HARMLESS):
            with Image.open(io.BytesIO(data)) as image:
                return np.asarray(image.convert(colours))  # raises an error if the file is cut short
        padding = re.fullmatch(r".*: (\d+) extraneous bytes before marker 0xd9", warning)
        if not padding or int(padding[1]) > _MOST_PADDING:
            raise
    return simplejpeg.decode_jpeg(data, colours, strict=False)


def _rgb(image, name):
    """(H, W, 3) uint8 RGB of a loaded PIL image of any mode."""
    if image.mode == "F" or (image.mode == "I" and image.format != "PPM"):
        raise UserError(f"image '{name}' has 32-bit values: save it with 8 or 16 bits per channel")
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image)
        image = white
    return np.asarray(image.convert("RGB"))


def _exif_orientation(image):
    """EXIF orientation, 1 to 8; 1 (upright) where it is missing or broken."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except _DAMAGED:
        return 1
    return orientation if orientation in range(1, 9) else 1


def _too_large(name):
    return UserError(f"image '{name}' has more than {MOST_PIXELS:,} pixels, or more than memory holds: scale it down")


def check_image(image):
    """Raises ValueError unless `image` is an (H, W, 3) uint8 array."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.shape[2:] != (3,) or not image.size:
        given = f"{image.shape} {image.dtype}" if isinstance(image, np.ndarray) else type(image)
        raise ValueError(f"an image is a (H, W, 3) uint8 RGB array, not {given}")
