import io
import os
import re
import struct
import zlib

import cv2
import numpy as np
import pytest
import simplejpeg
from PIL import Image

from mpn import images
from mpn.errors import UserError
from mpn.images import decode_image, read_image, write_image

# What a viewer does to stored pixels for each EXIF orientation.
UPRIGHT = {
    1: lambda stored: stored,
    2: np.fliplr,
    3: lambda stored: cv2.rotate(stored, cv2.ROTATE_180),
    4: np.flipud,
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: cv2.rotate(stored, cv2.ROTATE_90_CLOCKWISE),
    7: lambda stored: cv2.rotate(stored.swapaxes(0, 1), cv2.ROTATE_180),
    8: lambda stored: cv2.rotate(stored, cv2.ROTATE_90_COUNTERCLOCKWISE),
}


def picture(height=40, width=64):
    """(H, W, 3) uint8 RGB without any symmetry, smooth enough for JPEG."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return np.stack([255 * x / width, 255 * y / height, 60 + 0 * x], axis=-1).astype(np.uint8)


def encode(suffix, image, *options):
    """Bytes of an RGB, RGBA or grey array."""
    order = {3: [2, 1, 0], 4: [2, 1, 0, 3]}
    pixels = image if image.ndim == 2 else image[..., order[image.shape[2]]]
    return cv2.imencode(suffix, np.ascontiguousarray(pixels), list(options))[1].tobytes()


def exif(orientation, order="<"):
    """An EXIF block with one entry before the orientation, as cameras have them."""
    mark = b"II*\0" if order == "<" else b"MM\0*"
    entries = struct.pack(order + "HHII", 0x0100, 4, 1, 640)
    entries += struct.pack(order + "HHIHH", 0x0112, 3, 1, orientation, 0)
    return mark + struct.pack(order + "IH", 8, 2) + entries + struct.pack(order + "I", 0)


def with_app1(jpeg, content):
    """Inserts an APP1 segment behind the start of a JPEG."""
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content + jpeg[2:]


def with_png_exif(png, content):
    """Inserts an eXIf chunk behind the header of a PNG."""
    chunk = struct.pack(">I", len(content)) + b"eXIf" + content
    chunk += struct.pack(">I", zlib.crc32(b"eXIf" + content))
    return png[:33] + chunk + png[33:]


def with_webp_exif(webp, content):
    """Appends an EXIF chunk to a lossless WebP with an extended header that announces it."""
    width, height = 63, 39
    flags = 0x08 | 0x10  # EXIF, alpha
    sizes = width.to_bytes(3, "little") + height.to_bytes(3, "little")
    header = b"VP8X" + struct.pack("<II", 10, flags) + sizes
    body = b"WEBP" + header + webp[12:] + b"EXIF" + struct.pack("<I", len(content)) + content
    return b"RIFF" + struct.pack("<I", len(body)) + body


def assert_is_picture(image, expected, tolerance=0):
    assert image.dtype == np.uint8 and image.shape == expected.shape
    assert np.abs(image.astype(int) - expected).max() <= tolerance


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation_of_jpeg(orientation, order):
    data = with_app1(encode(".jpg", picture()), b"Exif\0\0" + exif(orientation, order))
    assert_is_picture(decode_image(data, "a.jpg"), UPRIGHT[orientation](picture()), tolerance=12)


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("kind", ["grey JPEG", "RGB PNG", "grey PNG", "16-bit PNG", "RGBA PNG", "RGBA WebP"])
def test_exif_orientation_of_other_kinds(kind, orientation):
    order = "<>"[orientation % 2]
    grey, alpha = picture()[..., 0], np.full((40, 64, 1), 255, np.uint8)
    expected = np.repeat(grey[..., None], 3, axis=2) if "grey" in kind else picture()
    tolerance = 0
    if kind == "grey JPEG":
        data, tolerance = with_app1(encode(".jpg", grey), b"Exif\0\0" + exif(orientation, order)), 12
    elif kind == "RGBA WebP":
        webp = encode(".webp", np.dstack([picture(), alpha - 1]), cv2.IMWRITE_WEBP_QUALITY, 101)
        data, tolerance = with_webp_exif(webp, exif(orientation, order)), 2
    else:
        pixels = {
            "RGB PNG": picture(),
            "grey PNG": grey,
            "16-bit PNG": picture().astype(np.uint16) * 257,
            "RGBA PNG": np.dstack([picture(), alpha]),
        }[kind]
        data = with_png_exif(encode(".png", pixels), exif(orientation, order))
    image = decode_image(data, "a")
    assert_is_picture(image, UPRIGHT[orientation](expected), tolerance)
    assert image.flags.c_contiguous


@pytest.mark.parametrize("content", [b"", b"II", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff", exif(9)])
def test_broken_exif_is_ignored(content):
    assert_is_picture(decode_image(with_png_exif(encode(".png", picture()), content), "a"), picture())


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_of_16_bit_values_the_high_byte_is_taken(suffix):
    values = np.arange(65536).astype(np.uint16).reshape(256, 256)
    image = decode_image(encode(suffix, values), "a")
    assert_is_picture(image, np.repeat((values / 256).astype(np.uint8)[..., None], 3, axis=2))
    colour = np.stack([values, values.T, values[::-1]], axis=-1)
    assert_is_picture(decode_image(encode(suffix, colour), "a"), (colour / 256).astype(np.uint8))


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tiff", ".webp"])
def test_colours_are_rgb_in_every_format(suffix):
    data = encode(suffix, picture(), *([cv2.IMWRITE_WEBP_QUALITY, 101] if suffix == ".webp" else []))
    assert_is_picture(decode_image(data, "a"), picture())


def test_grey_becomes_rgb():
    grey = picture()[..., 0]
    assert_is_picture(decode_image(encode(".png", grey), "a"), np.dstack([grey] * 3))


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_transparency_is_laid_over_white(kind):
    most = np.iinfo(kind).max
    pixels = np.zeros((1, 3, 4), kind)
    pixels[0, :, 0] = most  # pure red, opaque, 40 % and 0 %
    pixels[0, :, 3] = most, most * 2 // 5, 0
    image = decode_image(encode(".png", pixels), "a")
    assert image.tolist() == [[[255, 0, 0], [255, 153, 153], [255, 255, 255]]]


def test_truncated_jpeg_is_an_error_wherever_it_ends(tmp_path):
    data = encode(".jpg", picture(200, 300))
    for length in (3, 20, 200, len(data) // 2, len(data) - 2, len(data) - 1):
        with pytest.raises(UserError, match="b.jpg' is damaged"):
            decode_image(data[:length], "b.jpg")
        with pytest.raises(UserError, match="damaged"):  # as an interrupted download leaves it
            decode_image(data[:length] + bytes(1000), "b.jpg")


def noisy_jpegs():
    """Whole JPEGs of several kinds: (name, bytes, index of the first byte of their pixels)."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8))
    kinds = {
        "plain": (image, {}),
        "progressive": (image, {"progressive": True}),
        "grey": (image.convert("L"), {}),
        "CMYK": (image.convert("CMYK"), {}),
        "without subsampling": (image, {"subsampling": 0}),
        "with restart markers": (image, {"restart_marker_rows": 1}),
    }
    for name, (picture, options) in kinds.items():
        file = io.BytesIO()
        picture.save(file, "JPEG", **options)
        data = file.getvalue()
        yield name, data, data.find(b"\xff\xda") + 20


@pytest.mark.parametrize("name, data, start", noisy_jpegs())
def test_a_jpeg_that_is_damaged_inside_is_an_error(name, data, start, capfd):
    assert decode_image(data, "a").shape == (120, 160, 3)
    middle = (start + len(data)) // 2
    rubbish = np.random.default_rng(1).integers(0, 255, 500, np.uint8).tobytes()
    damaged = {
        "half of it, with an end marker": data[:middle] + b"\xff\xd9",
        "zeros to the end": data[:middle] + bytes(len(data) - middle),
        "zeros to the end marker": data[:middle] + bytes(len(data) - middle - 2) + b"\xff\xd9",
        "zeros inside": data[:middle] + bytes(500) + data[middle + 500 :],
        "rubbish inside": data[:middle] + rubbish + data[middle + 500 :],
        "a piece missing": data[:middle] + data[middle + 500 :],
        "a piece twice": data[: middle + 500] + data[middle:],
    }
    for damage, content in damaged.items():
        with pytest.raises(UserError, match="b.jpg' is damaged") as caught:
            decode_image(content, "b.jpg")
            pytest.fail(f"{name}: {damage}")
        assert "copy or download it again" in str(caught.value)
    assert capfd.readouterr().err == ""


def test_padding_at_the_end_of_a_jpegs_pixels_is_no_damage():
    data = encode(".jpg", picture())
    padded = data[:-2] + bytes(3) + data[-2:]
    assert (decode_image(padded, "a") == decode_image(data, "a")).all()


def odd_jpegs():
    """JPEGs of `picture` whose headers libjpeg warns of, though nothing is lost: (name, bytes)."""
    data, progressive = (pillow_bytes("JPEG", Image.fromarray(picture()), progressive=p) for p in (False, True))
    assert data[6:11] == b"JFIF\0"
    yield "JFIF revision", data[:11] + b"\2" + data[12:]
    adobe = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0"
    yield "Adobe transform", data[:2] + adobe + b"\7" + data[20:]
    scan = data.index(b"\xff\xda") + 11  # behind its components
    yield "start of scan", data[:scan] + bytes(3) + data[scan + 3 :]
    first, second = (found.start() for found in list(re.finditer(b"\xff\xda", progressive))[:2])
    yield "a scan twice", progressive[:second] + progressive[first:]


@pytest.mark.parametrize("name, data", odd_jpegs())
def test_odd_headers_of_a_jpeg_are_no_damage_and_hide_none(name, data):
    with pytest.raises(ValueError):
        simplejpeg.decode_jpeg(data)
    assert_is_picture(decode_image(data, "a"), picture(), tolerance=12)
    with pytest.raises(UserError, match="b.jpg' is damaged"):
        decode_image(data[:-200], "b.jpg")


def test_truncated_progressive_jpeg_is_an_error():
    data = encode(".jpg", picture(200, 300), cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    assert_is_picture(decode_image(data, "b.jpg"), picture(200, 300), tolerance=12)
    with pytest.raises(UserError, match="damaged"):
        decode_image(data[: len(data) * 2 // 3], "b.jpg")


def test_a_thumbnail_does_not_hide_that_a_jpeg_is_truncated():
    thumbnail = encode(".jpg", picture(8, 8))
    data = with_app1(encode(".jpg", picture()), b"Exif\0\0" + exif(1) + thumbnail)
    assert_is_picture(decode_image(data, "b.jpg"), picture(), tolerance=12)
    with pytest.raises(UserError, match="damaged"):
        decode_image(data[:-200], "b.jpg")


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("tail", [b"\0", b"\0" * 5000, b"\n", b"trailing text \xff\xd8\xff"])
def test_bytes_behind_a_whole_image_do_not_matter(suffix, tail):
    image = decode_image(encode(suffix, picture()) + tail, "a")
    assert_is_picture(image, picture(), tolerance=12)


def test_truncated_png_is_an_error_wherever_it_ends():
    data = encode(".png", np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8))
    for length in (9, 30, 60, len(data) // 2, len(data) - 12):
        with pytest.raises(UserError, match="b.png' is damaged"):
            decode_image(data[:length], "b.png")


@pytest.mark.parametrize("suffix", [".webp", ".bmp", ".tiff"])
def test_truncated_files_of_other_formats_are_errors(suffix):
    data = encode(suffix, np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8))
    with pytest.raises(UserError, match="damaged"):
        decode_image(data[: len(data) // 2], "b")


@pytest.mark.parametrize("place", [0.3, 0.6, 0.95])
def test_a_png_whose_checksum_is_wrong_is_an_error(place):
    data = bytearray(encode(".png", np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)))
    data[int(len(data) * place)] ^= 4
    with pytest.raises(UserError, match="damaged"):
        decode_image(bytes(data), "b")


def pillow_bytes(kind, image, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("kind", ["AVIF", "TIFF", "CMYK JPEG"])
def test_orientation_of_what_pillow_decodes(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(picture()).convert("CMYK" if "CMYK" in kind else "RGB")
    data = pillow_bytes(kind.split()[-1], image, exif=exif, **({} if kind == "TIFF" else {"quality": 95}))
    assert_is_picture(decode_image(data, "a"), UPRIGHT[orientation](picture()), tolerance=12)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_several_pictures_in_a_file_the_first_is_taken(kind):
    red, blue = Image.new("RGB", (20, 10), "red"), Image.new("RGB", (20, 10), "blue")
    data = pillow_bytes(kind, red, save_all=True, append_images=[blue])
    assert_is_picture(decode_image(data, "a"), np.full((10, 20, 3), (255, 0, 0)), tolerance=2)


def test_palettes_grey_with_alpha_and_black_and_white():
    colours = np.random.default_rng(0).integers(0, 256, (5, 3), np.uint8)
    indices = np.arange(60).reshape(6, 10) % 5
    paletted = Image.fromarray(indices.astype(np.uint8), "P")
    paletted.putpalette(colours.tobytes())
    assert_is_picture(decode_image(pillow_bytes("PNG", paletted), "a"), colours[indices])
    clear = np.where((indices == 2)[..., None], 255, colours[indices])
    assert_is_picture(decode_image(pillow_bytes("PNG", paletted, transparency=2), "a"), clear)
    grey = Image.fromarray(np.array([[[0, 255], [0, 102], [0, 0]]], np.uint8), "LA")
    assert decode_image(pillow_bytes("PNG", grey), "a")[0, :, 0].tolist() == [0, 153, 255]
    two = Image.fromarray(indices % 2 == 0)
    assert_is_picture(decode_image(pillow_bytes("PNG", two), "a"), 255 * (indices % 2 == 0)[..., None].repeat(3, 2))


def test_too_many_pixels_are_refused_before_they_are_decoded():
    png = bytearray(encode(".png", picture()))
    png[16:24] = struct.pack(">II", 16384, 16384)
    png[29:33] = struct.pack(">I", zlib.crc32(png[12:29]))
    jpeg = bytearray(encode(".jpg", picture()))
    size = jpeg.find(b"\xff\xc0") + 5
    jpeg[size : size + 4] = struct.pack(">HH", 65500, 65500)
    bmp = bytearray(encode(".bmp", picture()))
    bmp[18:26] = struct.pack("<ii", 13000, 13000)
    for data in (png, jpeg, bmp):
        with pytest.raises(UserError, match="'big' has more than 160,000,000 pixels"):
            decode_image(bytes(data), "big")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "JPEG2000", "PPM"])
def test_the_limit_of_pixels_is_that_of_every_format(kind, monkeypatch):
    data = pillow_bytes(kind, Image.fromarray(picture()))
    monkeypatch.setattr(images, "MOST_PIXELS", 40 * 64)
    assert decode_image(data, "a").shape == (40, 64, 3)
    monkeypatch.setattr(images, "MOST_PIXELS", 40 * 64 - 1)
    with pytest.raises(UserError, match="more than 2,559 pixels"):
        decode_image(data, "a")


def test_heic_is_named_as_what_it_is():
    for brand in (b"heic", b"heix", b"mif1"):
        with pytest.raises(UserError, match="'a.jpg' is a HEIC file.*convert it to JPEG"):
            decode_image(b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0mif1heic" + bytes(100), "a.jpg")


@pytest.mark.parametrize("suffix", [".pgm", ".png", ".tiff"])
def test_of_16_bits_the_high_byte_is_taken(suffix):
    values = picture()[..., 0].astype(np.uint16) * 256 + 200
    expected = picture()[..., :1].repeat(3, axis=2)
    assert_is_picture(decode_image(cv2.imencode(suffix, values)[1].tobytes(), "a"), expected)


def test_values_that_are_not_8_or_16_bit_are_an_error():
    with pytest.raises(UserError, match="8 or 16 bits"):
        decode_image(cv2.imencode(".tiff", np.zeros((4, 4, 3), np.float32))[1].tobytes(), "b.tiff")


def test_files_that_are_no_images_are_named(tmp_path, capfd):
    (tmp_path / "text.jpg").write_text("not an image")
    (tmp_path / "empty.jpg").write_bytes(b"")
    for name, words in (("text.jpg", "not an image"), ("empty.jpg", "is empty"), ("gone.jpg", "not exist")):
        with pytest.raises(UserError, match=words) as caught:
            read_image(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)
    with pytest.raises(UserError, match="is a folder"):
        read_image(tmp_path)
    assert capfd.readouterr().err == ""


def test_damaged_files_leave_stderr_alone(capfd):
    for suffix in (".jpg", ".png", ".webp", ".tiff"):
        data = encode(suffix, picture())
        with pytest.raises(UserError):
            decode_image(data[: len(data) // 2], "b")
    assert capfd.readouterr().err == ""


def test_write_then_read(tmp_path):
    write_image(tmp_path / "a.png", picture())
    assert_is_picture(read_image(tmp_path / "a.png"), picture())
    write_image(tmp_path / "ä b.JPG", picture()[:, ::-1])  # not contiguous either
    assert_is_picture(read_image(str(tmp_path / "ä b.JPG")), picture()[:, ::-1], tolerance=12)
    assert sorted(os.listdir(tmp_path)) == ["a.png", "ä b.JPG"]


def test_failed_writing_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_text("old")

    def full_disk(source, target):
        raise OSError(28, "No space left on device", str(source))

    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(OSError) as caught:
        write_image(tmp_path / "a.png", picture())
    assert caught.value.filename == str(tmp_path / "a.png")
    assert os.listdir(tmp_path) == ["a.png"] and (tmp_path / "a.png").read_text() == "old"


def test_write_image_names_what_it_cannot_write(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        write_image(tmp_path / "missing" / "a.png", picture())
    assert caught.value.filename == str(tmp_path / "missing" / "a.png")
    for name in ("a.xyz", "a"):
        with pytest.raises(UserError, match="as an image"):
            write_image(tmp_path / name, picture())
    with pytest.raises(UserError, match="at most 65500 pixels a side"):
        write_image(tmp_path / "a.jpg", np.zeros((2, 65501, 3), np.uint8))
    for image in (picture()[..., 0], picture().astype(np.float32), picture()[:0]):
        with pytest.raises(ValueError, match="uint8"):
            write_image(tmp_path / "a.png", image)
    assert os.listdir(tmp_path) == []
