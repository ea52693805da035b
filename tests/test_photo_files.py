"""Which files are photos, whatever they are called, and why the others are refused."""

import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from litecli.errors import PhotoError
from litecli.photos import decoding, images

from .small_photos import GREEN, RED, difference, encode, picture, pixel, reason, textured

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
