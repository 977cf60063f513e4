"""Image files <-> (H, W, 3) uint8 RGB arrays.

Every file that is not a whole image is a UserError that names it: a decoder's own answer to a damaged file, a
half grey picture or a line on stderr, would pass for a result.
"""

from pathlib import Path

import cv2
import numpy as np

from mpn.errors import UserError
from mpn.files import atomic_path, read_bytes

# Files of a folder that count as images, in lower case.
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_EXIF_ORIENTATION_TAG = 0x0112
_LONGEST_JPEG_SIDE = 65500


def read_image(path):
    """Reads an image file as people see it in a viewer; see `decode_image` for what that means.

    Args:
        path: a JPEG, PNG, WebP, BMP or TIFF file.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        UserError: the file is missing, unreadable, truncated or not an image.
    """
    return decode_image(read_bytes(path, "image"), str(path))


def decode_image(data, name):
    """Decodes the bytes of an image file.

    The EXIF orientation is applied. Grey becomes RGB. 16-bit values v become round(v / 257), so that white
    stays white. Transparency in PNG and WebP is laid over white, as most viewers show it; in other formats it
    is dropped.

    Args:
        data: bytes of a JPEG, PNG, WebP, BMP or TIFF file, or another format that OpenCV knows.
        name: what to call it in messages, usually the path.

    Returns:
        (H, W, 3) uint8 RGB, C-contiguous.

    Raises:
        UserError: the data are empty, truncated, not an image, or neither 8 nor 16 bits a channel.
    """
    if not data:
        raise UserError(f"image '{name}' is empty: copy or download it again")
    if _is_truncated(data):
        raise UserError(f"image '{name}' is truncated: copy or download it again")
    if data.startswith(b"\xff\xd8"):
        return cv2.cvtColor(_decode(data, cv2.IMREAD_COLOR, name), cv2.COLOR_BGR2RGB)
    if _is_png(data) or _is_webp(data):  # only IMREAD_UNCHANGED gives transparency, and it ignores EXIF
        pixels = _oriented(_decode(data, cv2.IMREAD_UNCHANGED, name), _exif_orientation(_exif_block(data)))
    else:
        pixels = _decode(data, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH, name)
    return _rgb(_opaque(_eight_bit(pixels, name)))


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


def _decode(data, flags, name):
    """What cv2.imdecode gives: (H, W), (H, W, 3) BGR or (H, W, 4) BGRA of any dtype; UserError if nothing."""
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:  # among others, more than OpenCV's limit of 2^30 pixels
        pixels = None
    if pixels is None:
        raise UserError(f"image '{name}' is damaged or not an image: use a JPEG, PNG, WebP, BMP or TIFF file")
    return pixels


def _eight_bit(pixels, name):
    """The same array as uint8. OpenCV's own conversion drops the low byte, up to one level too dark."""
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == np.uint16:
        return cv2.convertScaleAbs(pixels, alpha=1 / 257)
    raise UserError(f"image '{name}' has {pixels.dtype} values: save it with 8 or 16 bits a channel")


def _opaque(pixels):
    """Lays (H, W, 4) uint8 BGRA over white: (H, W, 3) uint8 BGR. Anything else is returned as it is."""
    if pixels.ndim == 2 or pixels.shape[2] != 4:
        return pixels
    alpha = pixels[..., 3:].astype(np.float32) / 255
    return np.rint(pixels[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)


def _rgb(pixels):
    """(H, W) grey or (H, W, 3) BGR, uint8, as (H, W, 3) RGB."""
    return cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB if pixels.ndim == 2 else cv2.COLOR_BGR2RGB)


def _is_png(data):
    return data.startswith(_PNG_SIGNATURE)


def _is_webp(data):
    return data.startswith(b"RIFF") and data[8:12] == b"WEBP"


def _is_truncated(data):
    """Whether a JPEG or PNG ends too early, which some decoders fill with grey. More bytes are fine."""
    if data.startswith(b"\xff\xd8"):
        return not _jpeg_has_end(data)
    if _is_png(data):
        return not any(kind == b"IEND" for kind, _ in _png_chunks(data))
    return False


def _jpeg_has_end(data):
    """Whether an end-of-image marker follows the start of a JPEG's pixels.

    Headers are walked over by their lengths, since an embedded thumbnail has an end-of-image marker too.
    Among the pixels a byte 0xff is always followed by 0 or a restart marker, so there it is unmistakable.
    """
    position = 2
    while True:
        position = data.find(b"\xff", position)
        marker = data[position + 1 : position + 2]
        if position < 0 or marker in (b"", b"\xd9"):
            return False
        if marker == b"\xda":
            return data.find(b"\xff\xd9", position + 2) >= 0
        if marker == b"\xff":  # a fill byte
            position += 1
        elif marker in b"\x00\x01" or b"\xd0" <= marker <= b"\xd8":  # these carry no length
            position += 2
        else:
            position += 2 + max(2, int.from_bytes(data[position + 2 : position + 4], "big"))


def _png_chunks(data):
    """Yields (type, content) of each whole chunk of a PNG file, both bytes."""
    position = len(_PNG_SIGNATURE)
    while position + 12 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        end = position + 12 + length  # length, type and checksum take 4 bytes each
        if end > len(data):
            return
        yield data[position + 4 : position + 8], data[position + 8 : end - 4]
        position = end


def _webp_chunks(data):
    """Yields (type, content) of each chunk of a WebP file, both bytes."""
    position = 12
    while position + 8 <= len(data):
        length = int.from_bytes(data[position + 4 : position + 8], "little")
        yield data[position : position + 4], data[position + 8 : position + 8 + length]
        position += 8 + length + length % 2


def _exif_block(data):
    """The EXIF metadata of a PNG or WebP file, from the byte order mark on; empty where it has none."""
    chunks = _png_chunks(data) if _is_png(data) else _webp_chunks(data)
    for kind, content in chunks:
        if kind in (b"eXIf", b"EXIF"):
            return content.removeprefix(b"Exif\x00\x00")
    return b""


def _exif_orientation(exif):
    """EXIF orientation, 1 to 8; 1 (upright) where `exif`, bytes from the byte order mark on, does not say."""
    order = {b"II": "little", b"MM": "big"}.get(exif[:2])
    if order is None:
        return 1
    directory = int.from_bytes(exif[4:8], order)
    count = int.from_bytes(exif[directory : directory + 2], order)
    first = directory + 2
    for start in range(first, min(first + 12 * count, len(exif) - 11), 12):
        if int.from_bytes(exif[start : start + 2], order) == _EXIF_ORIENTATION_TAG:
            value = int.from_bytes(exif[start + 8 : start + 10], order)
            return value if 1 <= value <= 8 else 1
    return 1


def _oriented(pixels, orientation):
    """Turns (H, W, ...) stored pixels upright: the result is (W, H, ...) for orientations 5 to 8."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)
