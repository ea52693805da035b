"""Photos of any size: huge ones are refused or read in little memory, specks are refused."""

import struct
import subprocess
import sys
import threading

import numpy as np
import pytest
from PIL import Image

from litecli import memory
from litecli.photos import colours, decoding, images

from .small_photos import ORIENTATION, deep_png, encode, picture, reason, textured


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
