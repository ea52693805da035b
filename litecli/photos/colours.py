"""Whatever colours a file has to 8-bit sRGB: alpha over white, deep grey scaled, profiles applied.

A large picture is converted a strip at a time, so that it needs little more memory than its pixels.
"""

import io
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from PIL import Image

STRIP_PIXELS = 4_000_000  # converted at a time

_PLAIN = ("L", "RGB", "CMYK")


def shrunk(picture: Image.Image, factor: int) -> Image.Image:
    """The picture in mode L, RGB or CMYK, alpha over white, each side divided by `factor`."""
    if picture.mode in _PLAIN and "transparency" not in picture.info:
        return picture.reduce(factor) if factor > 1 else picture
    rows = factor * max(1, STRIP_PIXELS // (picture.width * factor))
    white = _white_level(picture, rows) if _is_deep(picture) else 0.0
    size = -(-picture.width // factor), -(-picture.height // factor)
    result = None
    for top, strip in _strips(picture, rows):
        part = _over_white(strip, white)
        part = part.reduce(factor) if factor > 1 else part
        result = Image.new(part.mode, size) if result is None else result
        result.paste(part, (0, top // factor))
    assert result is not None  # no picture is 0 pixels high
    return result


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """A new RGB picture; a profile that is broken or made for another mode is ignored."""
    transform = _srgb_transform(profile, image.mode) if profile else None
    return transform.apply(image) if transform else image.convert("RGB")


def _strips(picture: Image.Image, rows: int) -> Iterator[tuple[int, Image.Image]]:
    for top in range(0, picture.height, rows):
        bottom = min(top + rows, picture.height)
        yield top, picture.crop((0, top, picture.width, bottom))


def _is_deep(picture: Image.Image) -> bool:
    return picture.mode in ("I", "F") or picture.mode.startswith("I;16")


def _over_white(picture: Image.Image, white: float) -> Image.Image:
    """A strip in a plain mode, eight bits a channel."""
    if _is_deep(picture):
        values = np.nan_to_num(np.asarray(picture).astype(np.float32))
        return Image.fromarray((values * (255 / white)).clip(0, 255).round().astype(np.uint8))
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        under = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(under, picture.convert("RGBA")).convert("RGB")
    return picture.convert("RGB")


def _white_level(picture: Image.Image, rows: int) -> float:
    """The value of deep grey that is white; Pillow's own conversion clips such values to white."""
    if picture.mode.startswith("I;16"):
        return 65535.0
    peak = max(
        float(np.nan_to_num(np.asarray(strip).astype(np.float32)).max())
        for _, strip in _strips(picture, rows)
    )
    levels = (1.0, 255.0, 65535.0) if picture.mode == "F" else (65535.0,)
    return next((level for level in levels if peak <= level), peak)


@lru_cache(maxsize=8)
def _srgb_transform(profile: bytes, mode: str):
    from PIL import ImageCms  # most photos need none

    try:
        own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return ImageCms.buildTransform(own, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        return None
