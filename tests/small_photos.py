"""Small pictures, the files they are written to, and what is read of them."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms
from pillow_heif import HeifImagePlugin  # noqa: F401 (registers HEIF, so that tests can write it)

from litecli.errors import ExitCode, PhotoError
from litecli.photos import images

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


def swapped_profile() -> bytes:
    """sRGB with its red and blue primaries exchanged: no one can overlook what it does."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile.replace(b"rXYZ", b"temp").replace(b"bXYZ", b"rXYZ").replace(b"temp", b"bXYZ")


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def deep_png(width: int, height: int, rows: bytes) -> bytes:
    """A 16-bit RGB PNG, which Pillow reads but cannot write."""
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*part) for part in parts)
