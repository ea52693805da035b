"""Damage for the fuzz test: bytes changed at random, and fields that claim what is not so."""

import io
import json
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st
from PIL import Image, ImageCms
from pillow_heif import HeifImagePlugin  # noqa: F401 (registers HEIF, so that tests can write it)

WIDTH, HEIGHT = 53, 47  # of the seeds: numbers that files do not hold by chance
SIDES = (0, 1, 7, 54, 1000, 3000, 10_000, 30_000, 65_535, 2**31 - 1)
ODD_VALUES = (None, True, -1, 0, 2**70, 1e308, float("nan"), "", "x", "\ud800", [], {}, [[]], [-1])
Edit = tuple[str, float, float, int]


def picture() -> Image.Image:
    """A small picture with something in it."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    return Image.fromarray(np.stack([x * 4, y * 5, (x * y) % 256], axis=-1).astype(np.uint8))


def photo_seeds() -> list[bytes]:
    """Small files of every format that is read, some of them in several kinds."""
    image, grey = picture(), picture().convert("L")
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x0112] = 6
    several: dict[str, Any] = {"save_all": True, "append_images": [image.rotate(90)]}
    kinds: list[tuple[Image.Image, str, dict[str, Any]]] = [
        (image, "JPEG", {"exif": exif.tobytes(), "icc_profile": srgb}),
        (image, "JPEG", {"progressive": True, "subsampling": 0}),
        (image.convert("CMYK"), "JPEG", {}),
        (image, "MPO", several),
        (image, "PNG", {"exif": exif.tobytes()}),
        (image.convert("RGBA"), "PNG", {}),
        (image.convert("P"), "PNG", {"transparency": b"\0\x80"}),
        (deep, "PNG", {}),
        (image, "PNG", several),
        (image, "GIF", several),
        (image, "WEBP", {}),
        (image, "WEBP", {"lossless": True, **several}),
        (image, "TIFF", {}),
        (image, "TIFF", {"compression": "tiff_lzw"}),
        (image, "TIFF", {"compression": "jpeg"}),
        (deep, "TIFF", {"compression": "tiff_deflate"}),
        (Image.fromarray(np.asarray(grey, np.float32)), "TIFF", {}),
        (image, "BMP", {}),
        (image, "PPM", {}),
        (image, "JPEG2000", {}),
        (image, "AVIF", {}),
        (image, "HEIF", {}),
    ]
    seeds = []
    for one, kind, options in kinds:
        buffer = io.BytesIO()
        one.save(buffer, kind, **options)
        seeds.append(buffer.getvalue())
    return seeds


def edits() -> st.SearchStrategy[list[Edit]]:
    """One to four changes: what, at which share of the file, a second share, and a byte."""
    kind = st.sampled_from(("flip", "flip", "cut", "copy", "zeros", "insert"))
    share = st.floats(0, 1, exclude_max=True)
    return st.lists(st.tuples(kind, share, share, st.integers(0, 255)), min_size=1, max_size=4)


def damaged(data: bytes, changes: list[Edit]) -> bytes:
    """The bytes after these changes, one after another."""
    for kind, first, second, byte in changes:
        start, other = int(first * len(data)), int(second * len(data))
        if kind == "flip":
            data = data[:start] + bytes([byte]) + data[start + 1 :]
        elif kind == "cut":
            data = data[:other]
        elif kind == "copy":
            data = data[:start] + data[other : other + byte] + data[start + byte :]
        elif kind == "zeros":
            data = data[:start] + bytes(byte) + data[start + byte :]
        else:
            data = data[:start] + bytes([byte]) * byte + data[start:]
    return data


def claims(data: bytes, width: int, height: int) -> bytes:
    """The same file with another width and height wherever a format may say them."""

    def packed(order: str, *values: int) -> bytes:
        most = 2 ** (8 * struct.calcsize(order[-1])) - 1
        return struct.pack(order, *(min(value, most) for value in values))

    for order in (">HH", "<HH", ">II", "<II"):
        for swap in (1, -1):  # JPEG says the height first
            old = packed(order, *(WIDTH, HEIGHT)[::swap])
            data = data.replace(old, packed(order, *(width, height)[::swap]))
    for tag, value in ((256, width), (257, height)):  # TIFF
        for kind in (3, 4):
            entry = struct.pack("<HHI", tag, kind, 1)
            new = packed("<I", value) if kind == 4 else packed("<H", value) + b"\0\0"
            place = data.find(entry)
            if place >= 0:
                data = data[: place + 8] + new + data[place + 12 :]
    for old, new in ((WIDTH, width), (HEIGHT, height)):  # WebP's 24 bits, less one; PPM's text
        small = (min(new, 2**24) - 1) % 2**24
        data = data.replace((old - 1).to_bytes(3, "little"), small.to_bytes(3, "little"), 1)
        if data.startswith(b"P6"):
            data = data.replace(str(old).encode(), str(new).encode(), 1)
    return data


def with_true_checksums(data: bytes) -> bytes:
    """A PNG whose chunks have the checksums they should: a reader then believes the rest."""
    place, parts = 8, [data[:8]]
    while place + 12 <= len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        body = data[place + 4 : place + 8 + length]
        parts.append(data[place : place + 4] + body + struct.pack(">I", zlib.crc32(body)))
        place += 12 + length
    return b"".join(parts) if data.startswith(b"\x89PNG") else data


def header_edited(data: bytes, edit: Callable[[dict[str, Any]], object]) -> bytes:
    """A safetensors file after `edit` of its header, with the length that this then has."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    edit(header)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


def change_one(tree: Any, path: list[int], value: Any) -> None:
    """Follow `path` into nested JSON as far as it goes, and put `value` there (or drop the key)."""
    while True:
        keys = list(tree) if isinstance(tree, dict) else list(range(len(tree)))
        if not keys:
            return
        key = keys[path[0] % len(keys)]
        path = path[1:]
        if not path or not isinstance(tree[key], dict | list) or not tree[key]:
            if value == "drop":
                del tree[key]
            else:
                tree[key] = value
            return
        tree = tree[key]


def in_metadata(header: dict[str, Any], path: list[int], value: Any) -> None:
    """`change_one` in the JSON text that a profile or a model keeps in its metadata."""
    inner = json.loads(header["__metadata__"]["litecli"])
    change_one(inner, path, value)
    header["__metadata__"]["litecli"] = json.dumps(inner)
