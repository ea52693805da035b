"""Photos come upright, and in sRGB over white, whatever their files hold."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from litecli.photos import images

from .small_photos import (
    BLUE,
    GREEN,
    ORIENTATION,
    RED,
    WHITE,
    deep_png,
    difference,
    encode,
    picture,
    pixel,
    swapped_profile,
)

# Upright


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_makes_the_photo_upright(kind, orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stored = picture()
    stored.info["exif"] = exif.tobytes()
    upright = ImageOps.exif_transpose(stored)
    photo = images.open_photo(encode(picture(), kind, exif=exif.tobytes()))
    assert photo.size == upright.size
    assert difference(photo.image, upright) < 4  # levels of 255; a wrong turn gives 50 and more


BROKEN_EXIF = [
    b"Exif\0\0garbage",
    b"Exif\0\0II*\0\xff\xff\xff\x7f",  # directory far behind the end
    b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x1a\x01\x05\0\x01\0\0\0\xff\xff\0\0",  # cut off
    b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x09\0\0",  # orientation 9
    b"Exif\0\0MM\0*\0\0",
]


@pytest.mark.parametrize("exif", BROKEN_EXIF)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_broken_exif_counts_as_upright(kind, exif):
    data = encode(picture(), "PNG") if kind == "PNG" else encode(picture(), kind, exif=exif)
    if kind == "PNG":  # Pillow would not write it
        body = b"eXIf" + exif.removeprefix(b"Exif\0\0")
        chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
        data = data[:33] + chunk + data[33:]
    assert difference(images.open_photo(data).image, picture()) < 4


# Colour


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_embedded_profile_is_converted_to_srgb(kind):
    data = encode(Image.new("RGB", (64, 64), RED), kind, icc_profile=swapped_profile())
    red, _, blue = pixel(data)
    assert blue > 240 and red < 15
    assert images.open_photo(data).image.info == {}  # or a saved copy would be converted again


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize(  # a profile holds the second it was made in, which is no test's name
    "profile", [b"not a profile", swapped_profile()[:200]], ids=["text", "cut off"]
)
def test_broken_profile_is_ignored(kind, profile):
    red, _, blue = pixel(encode(Image.new("RGB", (64, 64), RED), kind, icc_profile=profile))
    assert red > 240 and blue < 15


def test_profile_of_another_mode_is_ignored():
    data = encode(Image.new("L", (64, 64), 90), "PNG", icc_profile=swapped_profile())
    assert pixel(data) == (90, 90, 90)


@pytest.mark.parametrize(
    ("mode", "colour", "kind", "expected"),
    [
        ("L", 77, "JPEG", (77, 77, 77)),
        ("1", 1, "PNG", WHITE),
        ("CMYK", (255, 0, 0, 0), "JPEG", (0, 255, 255)),
        ("CMYK", (0, 0, 0, 255), "TIFF", (0, 0, 0)),
        ("RGBA", (255, 0, 0, 0), "PNG", WHITE),
        ("RGBA", (0, 0, 255, 128), "PNG", (127, 127, 255)),
        ("RGBA", (255, 0, 0, 0), "WEBP", WHITE),
        ("RGBA", (255, 0, 0, 0), "HEIF", WHITE),
        ("LA", (0, 0), "PNG", WHITE),
        ("LA", (100, 255), "PNG", (100, 100, 100)),
        ("YCbCr", (76, 85, 255), "TIFF", (254, 0, 0)),
    ],
)
def test_every_mode_becomes_rgb_over_white(mode, colour, kind, expected):
    options = {"lossless": True} if kind == "WEBP" else {}
    got = pixel(encode(Image.new(mode, (64, 64), colour), kind, **options))
    assert got == pytest.approx(expected, abs=3)


def test_palette_and_its_transparency():
    image = Image.new("P", (64, 64), 1)
    image.putpalette([*RED, *GREEN, *BLUE])
    assert pixel(encode(image, "PNG")) == GREEN
    assert pixel(encode(image, "PNG", transparency=1)) == WHITE
    assert pixel(encode(image, "PNG", transparency=bytes([255, 0]))) == WHITE
    assert pixel(encode(image, "GIF", transparency=1)) == WHITE
    assert pixel(encode(Image.new("RGB", (64, 64), RED), "PNG", transparency=RED)) == WHITE


def test_sixteen_bit_grey_is_scaled_not_clipped():
    ramp = np.linspace(0, 65535, 64).astype(np.uint16)
    deep = Image.fromarray(np.tile(ramp, (64, 1)))
    expected = np.round(ramp / 257).astype(np.uint8)
    for kind in ("PNG", "TIFF"):
        row = np.asarray(images.open_photo(encode(deep, kind)).image)[10, :, 0]
        assert np.array_equal(row, expected)
    whole = Image.fromarray(np.tile(ramp, (64, 1)).astype(np.int32))
    row = np.asarray(images.open_photo(encode(whole, "TIFF")).image)[10, :, 1]
    assert np.array_equal(row, expected)


@pytest.mark.parametrize("top", [1.0, 255.0, 65535.0, 9e9])
def test_floating_point_tiff_is_scaled_to_its_range(top):
    values = np.tile(np.linspace(0, top, 64, dtype=np.float32), (64, 1))
    values[0, 0] = np.nan
    row = np.asarray(images.open_photo(encode(Image.fromarray(values), "TIFF")).image)[10, :, 2]
    assert np.array_equal(row, np.round(np.linspace(0, 255, 64)))


def test_sixteen_bit_colour_png_is_scaled():
    row = b"\0" + struct.pack(">HHH", 0x8000, 0x0100, 0xFFFF) * 64
    assert pixel(deep_png(64, 64, row * 64)) == (128, 1, 255)


@pytest.mark.parametrize(("order", "start"), [("<", b"II*\0"), (">", b"MM\0*")])
def test_sixteen_bit_colour_tiff_in_planes_is_read_as_such(order, start):
    side, place = 64, 8 + 3 * 2 * 64 * 64
    planes = np.repeat(np.array([0x80FF, 0x01FF, 0xFF00], f"{order}u2"), side * side)
    offsets = [8 + plane * 2 * side * side for plane in range(3)]
    # Tag, values: three of them lie behind the directory.
    tags = [(256, [side]), (257, [side]), (258, [16] * 3), (259, [1]), (262, [2]), (273, offsets)]
    tags += [(277, [3]), (278, [side]), (279, [2 * side * side] * 3), (284, [2])]
    directory, behind = struct.pack(f"{order}H", len(tags)), b""
    for tag, values in tags:
        end = place + 2 + 12 * len(tags) + 4 + len(behind)
        value = values[0] if len(values) == 1 else end
        directory += struct.pack(f"{order}HHII", tag, 4, len(values), value)
        behind += struct.pack(f"{order}{len(values)}I", *values) if len(values) > 1 else b""
    head = start + struct.pack(f"{order}I", place)
    data = head + planes.tobytes() + directory + bytes(4) + behind
    pixels = np.asarray(images.open_photo(data).image)
    assert np.array_equal(pixels, np.full_like(pixels, (0x80, 0x01, 0xFF)))
