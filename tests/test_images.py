"""Photos to pixels: every kind of file that folders hold, read right or refused with a reason."""

import io
import os
import struct
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageDraw, ImageFilter, ImageOps, JpegImagePlugin
from pillow_heif import HeifImagePlugin  # noqa: F401 (registers HEIF, so that tests can write it)

from litecli import memory
from litecli.config import Preprocess
from litecli.errors import ExitCode, PhotoError
from litecli.photos import colours, decoding, images

ORIENTATION = 0x0112
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def picture(width: int = 240, height: int = 160) -> Image.Image:
    """Smooth, and different in every corner."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    return Image.fromarray((np.stack([x, y, x * y], axis=-1) * 255).astype(np.uint8))


def textured(side: int = 320) -> Image.Image:
    """Sharp at every scale, like a photo."""
    rng = np.random.default_rng(0)
    total = np.zeros((side, side, 3))
    for cells in (4, 8, 16, 32, 64, 128):
        noise = Image.fromarray(rng.integers(0, 255, (cells, cells, 3), dtype=np.uint8))
        total += np.asarray(noise.resize((side, side), Image.Resampling.BILINEAR)) / 6
    return Image.fromarray(total.astype(np.uint8))


def encode(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def reason(source: bytes | Path) -> str:
    with pytest.raises(PhotoError) as caught:
        images.open_photo(source, shortest_side=64)
    assert caught.value.code == ExitCode.INPUT
    return caught.value.reason


def pixel(data: bytes, x: int = 5, y: int = 5) -> tuple[int, ...]:
    return tuple(np.asarray(images.open_photo(data).image)[y, x])


def difference(one: Image.Image, other: Image.Image) -> float:
    assert one.size == other.size
    return float(np.abs(np.asarray(one, np.float32) - np.asarray(other, np.float32)).mean())


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


def swapped_profile() -> bytes:
    """sRGB with its red and blue primaries exchanged: no one can overlook what it does."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile.replace(b"rXYZ", b"temp").replace(b"bXYZ", b"rXYZ").replace(b"temp", b"bXYZ")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_embedded_profile_is_converted_to_srgb(kind):
    data = encode(Image.new("RGB", (64, 64), RED), kind, icc_profile=swapped_profile())
    red, _, blue = pixel(data)
    assert blue > 240 and red < 15
    assert images.open_photo(data).image.info == {}  # or a saved copy would be converted again


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("profile", [b"not a profile", swapped_profile()[:200]])
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


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def deep_png(width: int, height: int, rows: bytes) -> bytes:
    """A 16-bit RGB PNG, which Pillow reads but cannot write."""
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*part) for part in parts)


def test_sixteen_bit_colour_png_is_scaled():
    row = b"\0" + struct.pack(">HHH", 0x8000, 0x0100, 0xFFFF) * 64
    assert pixel(deep_png(64, 64, row * 64)) == (128, 1, 255)


# Which file it is


@pytest.mark.parametrize(
    "kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF", "HEIF", "JPEG2000", "PPM"]
)
@pytest.mark.parametrize("name", ["photo.jpg", "photo.heic", "photo"])
def test_the_bytes_decide_not_the_name(tmp_path, kind, name):
    (tmp_path / name).write_bytes(encode(picture(), kind))
    photo = images.open_photo(tmp_path / name)
    assert (photo.image.mode, photo.size, photo.notes) == ("RGB", (240, 160), ())
    assert difference(photo.image, picture()) < 8


def test_multi_picture_and_motion_photos_are_ordinary_photos():
    pair = encode(picture(), "MPO", save_all=True, append_images=[picture().rotate(180)])
    gain_map = b'http://ns.adobe.com/xap/1.0/\0<x hdrgm:Version="1.0"/>'
    segment = b"\xff\xe1" + struct.pack(">H", len(gain_map) + 2) + gain_map
    motion = encode(picture(), "JPEG") + b"\0\0\0\x18ftypmp42" + bytes(range(256))
    for data in (pair, pair[:2] + segment + pair[2:], motion):
        photo = images.open_photo(data, shortest_side=40)
        assert photo.notes == () and photo.size == (240, 160)
        assert photo.image.size == (60, 40)
        assert difference(photo.image, picture(60, 40)) < 8


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF", "PNG"])
def test_first_frame_of_several_is_used_with_a_note(kind):
    first, second = (Image.new("RGB", (64, 64), colour) for colour in (GREEN, RED))
    data = encode(first, kind, save_all=True, append_images=[second])
    photo = images.open_photo(data)
    assert photo.notes == ("with several frames (first used)",)
    assert pixel(data) == pytest.approx(GREEN, abs=3)


def test_a_heic_with_more_than_one_picture_is_an_ordinary_photo():
    data = encode(picture(), "HEIF", save_all=True, append_images=[picture().rotate(180)])
    photo = images.open_photo(data)
    assert photo.notes == () and difference(photo.image, picture()) < 8


WEB_PAGE = "not an image (looks like a web page)"
VIDEO = "videos are not read yet; export frames or take photos"
EMPTY = "empty file - is it still in the cloud?"
RAW = "RAW is not supported; export as JPEG"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", EMPTY),
        (bytes(5000), EMPTY),
        (b"<!DOCTYPE html><html><body>404</body></html>", WEB_PAGE),
        (b"\n  <html>\n" + b"<p>text</p>\n" * 99, WEB_PAGE),
        ("Datei nicht gefunden, möglicherweise gelöscht\n".encode(), WEB_PAGE),
        (b'{"error": "not found"}', WEB_PAGE),
        (b"\0\0\0\x14ftypqt  \0\0\0\0qt  ", VIDEO),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", VIDEO),
        (b"\0\0\0\x18ftypcrx \0\0\0\x01crx isom", RAW),
        (b"II*\0\x10\0\0\0CR\x02\0", RAW),
        (b"%PDF-1.7\n", "PDF is not supported; export as JPEG"),
        (b"8BPS\0\x01", "PSD is not supported; export as JPEG"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG is not supported; export as JPEG"),
        (b"<?xml version='1.0'?>\n<svg/>", "SVG is not supported; export as JPEG"),
        (b"\xff\x0a\xfa\x1f", "JPEG XL is not supported; export as JPEG"),
        (b"PK\x03\x04\x14\0\0\0", "not an image"),
        (b"\x7fELF\x02\x01\x01\0", "not an image"),
    ],
)
def test_what_is_not_a_photo_is_named(tmp_path, data, expected):
    assert reason(data) == expected
    (tmp_path / "photo.jpg").write_bytes(data)
    assert reason(tmp_path / "photo.jpg") == expected


@pytest.mark.parametrize("tags", [{254: 1}, {50706: b"\x01\x04\0\0"}])
def test_raw_that_poses_as_tiff_is_refused(tags):
    assert reason(encode(picture(), "TIFF", tiffinfo=tags)) == RAW


# Damage


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("GIF", {}),
        ("WEBP", {}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("AVIF", {}),
        ("HEIF", {}),
    ],
)
@pytest.mark.parametrize("share", [0.02, 0.5, 0.9, 0.99])
def test_a_file_that_is_cut_off_is_refused(kind, options, share):
    data = encode(textured(), kind, **options)
    images.open_photo(data)
    assert reason(data[: int(len(data) * share)]) == "file is cut off"


def test_a_damaged_file_is_refused():
    data = bytearray(encode(textured(), "PNG"))
    data[60:80] = bytes(20)
    assert reason(bytes(data)) == "file is damaged"


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    kind=st.sampled_from(["JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP"]),
    edits=st.lists(st.tuples(st.floats(0.05, 0.999), st.integers(0, 255)), min_size=1, max_size=8),
)
def test_random_damage_gives_a_photo_or_a_reason(kind, edits):
    data = bytearray(encode(picture(48, 40), kind))
    for place, value in edits:
        data[int(len(data) * place)] = value
    try:
        photo = images.open_photo(bytes(data), shortest_side=16)
    except PhotoError as error:
        assert error.reason
    else:
        assert photo.image.mode == "RGB"


def test_broken_heic_reader_names_the_way_out(monkeypatch):
    data = encode(picture(), "HEIF")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    assert reason(data) == "cannot read HEIC: pip install --force-reinstall pillow-heif"


def test_memory_that_does_not_suffice_is_a_reason(monkeypatch):
    def fail(self):
        raise MemoryError

    monkeypatch.setattr(decoding.Jpeg, "load", fail)
    assert reason(encode(picture(), "JPEG")) == "too large for this computer's memory"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_never_opened(tmp_path):
    os.mkfifo(tmp_path / "photo.jpg")
    assert reason(tmp_path / "photo.jpg") == "not a regular file"


def test_files_that_cannot_be_read(tmp_path, monkeypatch):
    assert reason(tmp_path / "gone.jpg") == "changed while reading"
    assert reason(tmp_path) == "not a regular file"
    (tmp_path / "a.jpg").write_bytes(b"x")

    def forbid(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", forbid)
    assert reason(tmp_path / "a.jpg") == "no permission to read"


def test_a_huge_file_is_not_read(tmp_path):
    with (tmp_path / "a.jpg").open("wb") as file:
        file.truncate(decoding.MAX_FILE_BYTES + 1)  # sparse: takes no room
    assert reason(tmp_path / "a.jpg") == "too large (1.1 GB)"


# Size


def jpeg_that_claims(width: int, height: int, progressive: bool) -> bytes:
    data = bytearray(encode(picture(), "JPEG", progressive=progressive))
    start = data.index(b"\xff\xc2" if progressive else b"\xff\xc0")
    data[start + 5 : start + 9] = struct.pack(">HH", height, width)
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (jpeg_that_claims(25_050, 20_000, False), "too large (25 050x20 000)"),
        (jpeg_that_claims(20_050, 10_000, True), "too large (20 050x10 000)"),
        (deep_png(20_992, 10_496, b"\0"), "too large (20 992x10 496)"),
    ],
)
def test_pictures_beyond_the_limits_are_too_large(data, expected):
    assert reason(data) == expected


def colour_by_colour(data: bytes) -> bytes:
    """A JPEG whose first scan says that it holds one colour of three."""
    scan = data.index(b"\xff\xda") + 4
    return data[:scan] + b"\1" + data[scan + 1 :]


def with_many_scans(data: bytes, count: int) -> bytes:
    """A progressive JPEG whose last scan comes so many times more."""
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * count + data[-2:]


def test_a_jpeg_that_libjpeg_would_hold_whole_has_the_smaller_limit():
    data = jpeg_that_claims(20_050, 10_000, progressive=False)
    assert reason(data[:-99]) == "file is cut off"
    assert reason(colour_by_colour(data)) == "too large (20 050x10 000)"


def test_a_jpeg_of_endless_scans_is_refused():
    data = encode(picture(), "JPEG", progressive=True)
    images.open_photo(with_many_scans(data, 20))
    assert reason(with_many_scans(data, decoding.MAX_SCANS)) == "file is damaged"


@pytest.mark.parametrize("kind", decoding.MAX_PIXELS_OF)
def test_decoders_that_need_much_memory_have_smaller_limits(monkeypatch, kind):
    data = encode(picture(), kind)
    monkeypatch.setitem(decoding.MAX_PIXELS_OF, kind, 240 * 160)
    images.open_photo(data)
    monkeypatch.setitem(decoding.MAX_PIXELS_OF, kind, 240 * 160 - 1)
    assert reason(data) == "too large (240x160)"


def test_bytes_beyond_the_limit_are_not_decoded(monkeypatch):
    data = encode(picture(), "PNG")
    monkeypatch.setattr(decoding, "MAX_FILE_BYTES", len(data))
    images.open_photo(data)
    assert reason(data + b"\0") == "too large (0.0 GB)"


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "1", "I;16", "F"])
@pytest.mark.parametrize("factor", [1, 3])
def test_converting_in_strips_changes_no_pixel(monkeypatch, mode, factor):
    grey = textured(100).convert("L").crop((0, 0, 97, 83))
    if mode in ("I;16", "F"):
        made = Image.fromarray(np.asarray(grey).astype(np.uint16 if mode == "I;16" else np.float32))
    else:
        made = grey.convert("RGBA" if mode == "P" else mode)
        if "A" in made.mode:
            made.putalpha(grey.rotate(180))
        made = made.convert("P") if mode == "P" else made
    at_once = colours.shrunk(made, factor)
    monkeypatch.setattr(colours, "STRIP_PIXELS", 97 * 2)
    in_strips = colours.shrunk(made, factor)
    assert at_once.mode == in_strips.mode and np.array_equal(
        np.asarray(at_once), np.asarray(in_strips)
    )
    assert at_once.size == (-(-97 // factor), -(-83 // factor))


def test_a_thread_waits_while_others_hold_many_pixels(monkeypatch):
    monkeypatch.setattr(decoding, "_BUDGET", decoding._Budget(60 * 40 * 2 - 1))
    data, done = encode(picture(60, 40), "PNG"), threading.Event()

    def second() -> None:
        with decoding.decoded(data):
            done.set()

    with decoding.decoded(data):
        thread = threading.Thread(target=second)
        thread.start()
        assert not done.wait(0.2)
    thread.join(10)
    assert done.is_set()
    images.open_photo(encode(picture(), "PNG"))  # larger than the whole budget: alone


@pytest.mark.skipif(not memory.resident(), reason="the system does not tell")
def test_a_large_picture_takes_little_more_than_its_pixels():
    code = (
        "import sys; from litecli import memory; from litecli.photos import images\n"
        "from PIL import PngImagePlugin\n"
        "data = sys.stdin.buffer.read(); before = memory.resident()\n"
        "images.open_photo(data, 448); print(memory.peak_resident() - before)"
    )
    for mode, per_pixel in (("RGBA", 4), ("I;16", 2)):
        data = encode(Image.new(mode, (6000, 5000)), "PNG", compress_level=1)
        done = subprocess.run([sys.executable, "-c", code], input=data, capture_output=True)
        extra = int(done.stdout) - per_pixel * 30_000_000 - len(data)
        assert extra < 90_000_000  # a strip of 4 megapixels; the whole in RGBA is 120 MB


def test_panorama_above_pillows_limit_is_read_shrunk():
    limit = Image.MAX_IMAGE_PIXELS
    photo = images.open_photo(encode(Image.new("L", (20_000, 9_200), 99), "JPEG"), 100)
    assert photo.size == (20_000, 9_200) and 100 <= min(photo.image.size) < 200
    assert limit == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((1, 1), "too small (1x1)"),
        ((4000, 3), "too small (4000x3)"),
        ((10, 300), "too narrow (10x300)"),
    ],
)
def test_specks_and_strips_are_refused(size, expected):
    assert reason(encode(Image.new("RGB", size), "PNG")) == expected


def test_small_photos_are_used_with_a_note():
    assert images.open_photo(encode(picture(63, 90), "PNG")).notes == ("very small",)
    assert images.open_photo(encode(picture(64, 90), "PNG")).notes == ()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "HEIF"])
def test_shrinking_early_keeps_the_shortest_side(kind):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    data = encode(picture(960, 640), kind, exif=exif.tobytes())
    photo = images.open_photo(data, shortest_side=100)
    assert photo.size == (640, 960)
    assert 100 <= min(photo.image.size) < 200
    assert images.open_photo(data).image.size == (640, 960)


def test_a_jpeg_is_shrunk_while_it_is_decoded():
    with decoding.decoded(encode(picture(960, 640), "JPEG"), shortest_side=100) as (small, size):
        assert size == (960, 640) and small.size == (240, 160)


# The network's input


def test_the_crop_is_rounded_as_torchvision_rounds():
    columns = np.tile(np.arange(256, dtype=np.uint8), (256, 1))
    wide = np.concatenate([columns, columns[:, :85]], axis=1)  # 341 x 256: nothing to resize
    square = images.to_square(Image.fromarray(wide).convert("RGB"), Preprocess())
    assert square.shape == (224, 224, 3)
    assert square[0, 0, 0] == 58  # (341 - 224) / 2 = 58.5, and round() goes to the even number


@pytest.mark.parametrize("size", [(1008, 756), (757, 1003), (300, 211), (100, 180), (256, 900)])
def test_the_square_is_that_of_the_whole_picture_resized(size: tuple[int, int]):
    noise = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    image, preprocess = Image.fromarray(noise), Preprocess()
    width, height = (int(preprocess.resize_side * side / min(size)) for side in size)
    whole = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (round((side - 224) / 2) for side in whole.size)
    expected = np.asarray(whole.crop((left, top, left + 224, top + 224)))
    difference = np.abs(images.to_square(image, preprocess).astype(int) - expected)
    assert difference.max() <= 1  # one level, where a value lies between two
    assert (difference > 0).mean() < 2e-3


def test_the_middle_is_resized_before_it_is_cut_out():
    image = Image.new("RGB", (800, 400), BLUE)
    ImageDraw.Draw(image).rectangle((200, 0, 599, 399), fill=RED)
    assert (images.to_square(image, Preprocess()) == RED).all()
    whole = images.to_square(image, Preprocess(crop_pct=1.0, image_size=400))
    assert (whole[:, :400] == RED).all()


def test_input_is_normalised_by_channel():
    pixels = np.array([[[0, 51, 255]]], dtype=np.uint8)
    values = images.to_input(pixels, Preprocess(mean=(0.5, 0.1, 0.0), std=(0.5, 0.2, 2.0)))
    assert values.dtype == np.float32 and values.flags.c_contiguous
    assert np.allclose(values[:, 0, 0], [-1.0, 0.5, 0.5])


def test_input_of_a_shrunk_photo_is_close_to_that_of_the_whole(tmp_path):
    preprocess = Preprocess(image_size=112)
    data = encode(textured(1100), "JPEG", quality=95)
    shrunk, photo = images.load_input(data, preprocess)
    assert min(photo.image.size) < 600
    whole = images.to_input(images.to_square(images.open_photo(data).image, preprocess), preprocess)
    assert np.abs(shrunk - whole).mean() * 0.225 * 255 < 0.5  # levels of 255
    (tmp_path / "photo.jpg").write_bytes(data)
    assert np.array_equal(images.load_input(tmp_path / "photo.jpg", preprocess)[0], shrunk)


@pytest.mark.parametrize(
    ("image", "notes"),
    [
        (textured(), ()),
        (textured().filter(ImageFilter.GaussianBlur(6)), ("blurred",)),
        (textured().point([value // 12 for value in range(256)] * 3), ("dark",)),
        (Image.new("RGB", (300, 300)), ("dark",)),
        (Image.new("RGB", (300, 300), "white"), ("bright",)),
        (textured().resize((40, 40)), ("very small",)),
    ],
)
def test_notes_on_how_a_photo_looks(image, notes):
    assert images.load_input(encode(image, "PNG"), Preprocess())[1].notes == notes


@pytest.mark.parametrize(
    ("size", "side"), [((400, 200), 50), ((200, 400), 50), ((60, 50), 50), ((40, 20), 20)]
)
def test_training_pixels_are_the_centre_square_never_blown_up(size, side):
    image = Image.new("RGB", size, BLUE)
    width, height = size
    edge = min(size)
    left, top = (width - edge) // 2, (height - edge) // 2
    ImageDraw.Draw(image).rectangle((left, top, left + edge - 1, top + edge - 1), fill=RED)
    pixels = images.load_pixels(encode(image, "PNG"), 50)
    assert pixels.shape == (side, side, 3) and pixels.dtype == np.uint8
    assert (pixels[4:-4, 4:-4] == RED).all()  # the resampling looks over the edge


def test_thumbnails_are_small_and_repeatable():
    image = images.open_photo(encode(picture(800, 400), "PNG", icc_profile=swapped_profile())).image
    data = images.thumbnail_jpeg(image)
    assert data == images.thumbnail_jpeg(image)
    thumbnail = Image.open(io.BytesIO(data))
    assert thumbnail.size == (160, 80) and "icc_profile" not in thumbnail.info
    assert image.size == (800, 400)


def test_photo_hash_is_the_sha256_of_the_bytes():
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert images.photo_hash(b"abc") == expected


# What a start costs


def test_reading_a_jpeg_imports_no_more_than_it_needs(tmp_path):
    (tmp_path / "a.jpg").write_bytes(encode(picture(), "JPEG"))
    code = (
        "import sys; from pathlib import Path\n"
        "from litecli import config; from litecli.photos import images\n"
        f"images.load_input(Path({str(tmp_path / 'a.jpg')!r}), config.Preprocess())\n"
        "heavy = {'pillow_heif', 'PIL.ImageCms', 'PIL.TiffImagePlugin', 'torch', 'onnxruntime'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_noisy_file_leaves_stderr_clean(tmp_path):
    tiff = bytearray(encode(picture(), "TIFF", tiffinfo={315: "artist" * 20}))
    place = tiff.index(struct.pack("<HH", 315, 2))
    tiff[place + 4 : place + 8] = struct.pack("<I", 1 << 24)  # longer than the file
    (tmp_path / "a.tif").write_bytes(tiff)
    code = "import sys; from pathlib import Path; from litecli.photos import images\n"
    code += "images.open_photo(Path(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.tif")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""


def test_jpeg_reader_overrides_a_method_that_pillow_has():
    assert hasattr(JpegImagePlugin.JpegImageFile, "_read_dpi_from_exif")
