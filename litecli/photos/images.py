"""Photos to pixels: the one loader that adapt, classify, evaluate and training share.

Whatever the file, the picture comes out upright (EXIF), in sRGB (embedded colour profile), with
alpha over white. `to_looks` and `to_input` then repeat timm's evaluation transform.
"""

import hashlib
import io
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from litecli.config import Preprocess
from litecli.photos.colours import shrunk, to_srgb
from litecli.photos.decoding import decoded, is_sequence, read_file
from litecli.photos.support_looks import to_support_looks

# Pillow keeps so many blocks (of at most 16 MB) for the next picture. Without, the system hands out
# and clears every picture's memory anew, which takes 6 % of the time of a large folder.
Image.core.set_blocks_max(8)  # pyright: ignore[reportAttributeAccessIssue]

SMALL_SIDE = 64  # pixels; below it a photo is used with a note
DARK, BRIGHT = 20, 245  # mean luma, 0 to 255
BLURRED = 0.28  # see _quality; real photos lie above 0.29, with a blur of 1 % of the side below
THUMBNAIL_SIDE = 160  # pixels, the longer one
_FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
_TURNS = {  # EXIF orientation -> what makes the picture upright; from 5 on it lies on its side
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class LoadedPhoto:
    """A photo ready for use; `size` is its upright (width, height) before any shrinking."""

    image: Image.Image  # mode RGB, upright, sRGB
    size: tuple[int, int]
    notes: tuple[str, ...]  # e.g. "very small", "dark", "with several frames (first used)"


def photo_hash(source: bytes) -> str:
    """The sha256 of a file's bytes, in hex: equal hashes mean the same photo."""
    return hashlib.sha256(source).hexdigest()


def open_photo(source: Path | bytes, shortest_side: int = 0) -> LoadedPhoto:
    """Read a photo upright, in sRGB, alpha over white; of an animation, the first frame.

    With `shortest_side` > 0 a large photo is shrunk early, by whole factors that leave its short
    side at least that many pixels. Raises PhotoError.
    """
    data = source if isinstance(source, bytes) else read_file(source)
    with decoded(data, shortest_side) as (picture, size):
        factor = min(picture.size) // shortest_side if shortest_side else 1
        image = shrunk(picture, max(factor, 1))
        image = upright(image, picture.info)
        on_its_side = orientation(picture.info) >= 5
        several = is_sequence(picture)
    image.info = {}
    notes = ("very small",) if min(size) < SMALL_SIDE else ()
    notes += ("with several frames (first used)",) if several else ()
    width, height = size[::-1] if on_its_side else size
    return LoadedPhoto(image, (width, height), notes)


def upright(image: Image.Image, info: Mapping[Any, Any]) -> Image.Image:
    """A file's picture in sRGB and upright, by the colour profile and EXIF block of `info`."""
    image = to_srgb(image, info.get("icc_profile"))
    turned = _TURNS.get(orientation(info))
    return image if turned is None else image.transpose(turned)


def orientation(info: Mapping[Any, Any]) -> int:
    """The EXIF orientation, 1 to 8; 1 (upright) where the block is missing or broken.

    Read here because Pillow's parser warns and raises on blocks that phones do write.
    """
    block = (info.get("exif") or b"").removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(order + "I", block, 4)
        (count,) = struct.unpack_from(order + "H", block, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, _, _, value = struct.unpack_from(order + "HHIH", block, entry)
            if tag == 0x0112:
                return value if value in _TURNS else 1
    except struct.error:
        pass
    return 1


def load_input(source: Path | bytes, preprocess: Preprocess) -> tuple[np.ndarray, LoadedPhoto]:
    """A network's inputs, float32 [looks, 3, S, S], and the photo with notes; see `load_looks`."""
    looks, photo = load_looks(source, preprocess)
    return to_input(looks, preprocess), photo


def load_looks(
    source: Path | bytes, preprocess: Preprocess, support_looks: int = 0
) -> tuple[np.ndarray, LoadedPhoto]:
    """What a network sees, uint8 [looks, S, S, 3], and the photo with notes on how it looks.

    So many `support_looks` (photos/support_looks.py) follow the looks that `preprocess` asks for.
    A large photo is shrunk early, to no less than twice the size that is then resampled with care
    and no less than the closest look shows: its features hardly differ from those of the full
    picture. Raises PhotoError.
    """
    closest = round(preprocess.image_size / min(preprocess.look_shares))
    photo = open_photo(source, shortest_side=max(2 * preprocess.resize_side, closest))
    looks = to_looks(photo.image, preprocess)
    if support_looks:
        more = to_support_looks(photo.image, support_looks, preprocess.image_size)
        looks = np.concatenate([looks, more])
    return looks, replace(photo, notes=photo.notes + _quality(looks[0], photo))


def load_pixels(source: Path | bytes, side: int) -> np.ndarray:
    """The centre square, uint8 [s, s, 3], for training: s = `side`, or less if the photo has less.

    A thumbnail is not blown up: that adds bytes and nothing to see. Raises PhotoError.
    """
    image = open_photo(source, shortest_side=side).image
    edge = min(image.size)
    left, top = (image.width - edge) // 2, (image.height - edge) // 2
    box = (left, top, left + edge, top + edge)
    side = min(side, edge)
    return np.asarray(image.resize((side, side), Image.Resampling.BICUBIC, box=box))


def from_pixels(pixels: np.ndarray) -> Image.Image:
    """Pixels uint8 [H, W, 3] as a picture."""
    return Image.fromarray(pixels)


def to_looks(image: Image.Image, preprocess: Preprocess) -> np.ndarray:
    """The looks that `preprocess` asks for, uint8 [looks, S, S, 3]; every other is mirrored."""
    squares = [
        to_square(image, replace(preprocess, crop_pct=share)) for share in preprocess.look_shares
    ]
    return np.stack([s[:, ::-1] if n % 2 else s for n, s in enumerate(squares)])


def to_square(image: Image.Image, preprocess: Preprocess) -> np.ndarray:
    """Resize the short side, cut out the centre: uint8 [S, S, 3], rounded as torchvision does."""
    short, side = preprocess.resize_side, preprocess.image_size
    width, height = image.size
    if width <= height:
        width, height = short, int(short * height / width)
    else:
        width, height = int(short * width / height), short
    left, top = round((width - side) / 2), round((height - side) / 2)
    across, down = image.width / width, image.height / height
    # Only what stays is resized; Pillow's filters still see what lies around the box.
    box = (left * across, top * down, (left + side) * across, (top + side) * down)
    return np.asarray(image.resize((side, side), _FILTERS[preprocess.interpolation], box=box))


def to_input(pixels: np.ndarray, preprocess: Preprocess) -> np.ndarray:
    """Pixels uint8 [..., S, S, 3] -> float32 [..., 3, S, S], (value / 255 - mean) / std."""
    values = np.empty((*pixels.shape[:-3], 3, *pixels.shape[-3:-1]), np.float32)
    np.divide(np.moveaxis(pixels, -1, -3), np.float32(255), out=values)
    values -= np.array(preprocess.mean, np.float32)[:, None, None]
    values /= np.array(preprocess.std, np.float32)[:, None, None]
    return values


def thumbnail_jpeg(image: Image.Image) -> bytes:
    """A small JPEG whose longer side is at most THUMBNAIL_SIDE; the same picture, the same bytes.

    A pixel of it is the mean of four of the picture, evenly spread: of a large one, as good to
    look at as the mean of all, in half the time.
    """
    scale = min(1.0, THUMBNAIL_SIDE / max(image.size))
    width, height = (max(1, round(length * scale)) for length in image.size)
    if scale < 0.5:
        image = image.resize((2 * width, 2 * height), Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    image.resize((width, height), Image.Resampling.BOX).save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def _quality(pixels: np.ndarray, photo: LoadedPhoto) -> tuple[str, ...]:
    """Notes on a square [S, S, 3]: "dark", "bright" or "blurred".

    Blur: neighbouring pixels of a sharp picture differ about half as much as pixels four apart;
    of a smooth ramp, a quarter as much.
    """
    luma = pixels @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    mean = float(luma.mean())
    if mean < DARK:
        return ("dark",)
    if mean > BRIGHT:
        return ("bright",)
    near = np.abs(luma[:, 1:] - luma[:, :-1]).mean() + np.abs(luma[1:] - luma[:-1]).mean()
    far = np.abs(luma[:, 4:] - luma[:, :-4]).mean() + np.abs(luma[4:] - luma[:-4]).mean()
    blurred = near <= BLURRED * far and min(photo.size) >= SMALL_SIDE
    return ("blurred",) if blurred else ()
