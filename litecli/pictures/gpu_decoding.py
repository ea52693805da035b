"""Photos to training squares with a GPU: large JPEGs by torchvision's nvJPEG, all else as ever.

Threads read files and their headers ahead, and the loader's part of the photos; the device then
decodes a group of pictures at once. A square is shrunk in the loader's own two steps, so that it
hardly matters who decoded it.
"""

import io
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from litecli.errors import PhotoError
from litecli.photos import images
from litecli.photos.decoding import MAX_PIXELS_AT_ONCE, Jpeg, read_file
from litecli.threads import in_order

TOGETHER = 32  # pictures, at most, that the device decodes at once
MOST_HELD = 256  # squares and pictures, at most, that wait for the device
MIN_PIXELS = 1_000_000  # a smaller one is decoded by the time it would have reached the device
# EXIF orientations whose upright picture counts stored columns, or rows, from the other end
_FROM_RIGHT, _FROM_BELOW = (2, 3, 7, 8), (3, 4, 6, 7)
_JPEG, _END_OF_IMAGE = b"\xff\xd8\xff", b"\xff\xd9"


@dataclass(frozen=True)
class _Waiting:
    """A JPEG that the device is to decode: the file's bytes, and Pillow's picture, not loaded."""

    data: bytes
    header: Jpeg

    @property
    def pixels(self) -> int:
        return self.header.width * self.header.height


def read_all(
    paths: Sequence[Path], side: int, workers: int, *, device: torch.device
) -> Iterator[np.ndarray | None]:
    """The centre squares, uint8 [s, s, 3], in order; None of a photo that cannot be used.

    They are those of `images.load_pixels`, those of large JPEGs but for a grey level or two. What
    nvJPEG refuses, or would show otherwise than the loader, the loader reads.
    """
    decoder = _Decoder(side, device)

    def read(path: Path) -> np.ndarray | _Waiting | None:
        try:
            data = read_file(path)
            return _for_the_device(data, side) or images.load_pixels(data, side)
        except PhotoError:
            return None

    group: list[np.ndarray | _Waiting | None] = []  # what follows the first that waits
    waiting = pixels = 0
    for found in in_order(read, paths, workers, ahead=2 * max(TOGETHER, workers)):
        more = found.pixels if isinstance(found, _Waiting) else 0
        full = waiting == TOGETHER or pixels + more > MAX_PIXELS_AT_ONCE
        if group and (full or len(group) == MOST_HELD):
            yield from decoder.squares(group)
            group, waiting, pixels = [], 0, 0
        if not group and not isinstance(found, _Waiting):
            yield found
            continue
        group.append(found)
        waiting, pixels = waiting + bool(more), pixels + more
    yield from decoder.squares(group)


def _for_the_device(data: bytes, side: int) -> _Waiting | None:
    """A large plain JPEG, which nvJPEG shows as the loader does; None for everything else.

    The loader refuses what is cut off, and nvJPEG may make it up: so a file must end as a picture
    does. Progressive files, and colours that are not the usual three, are the loader's. So is what
    is not shrunk by two at least: most files store half as many colours as pixels a side, which the
    loader smooths over and nvJPEG repeats (6 grey levels of 255 were seen between the two).
    """
    if not data.startswith(_JPEG) or not data.endswith(_END_OF_IMAGE):
        return None
    try:
        header = Jpeg(io.BytesIO(data))
    except Exception:  # the loader says what is wrong with it
        return None
    colours = header.mode == "RGB" and header.info.get("adobe_transform", 1) == 1
    photo = _Waiting(data, header)
    fits = MIN_PIXELS <= photo.pixels <= MAX_PIXELS_AT_ONCE
    fits = fits and min(header.size) >= 2 * side
    return photo if colours and fits and "progressive" not in header.info else None


class _Decoder:
    """The device's part, which it is given up for the rest where the device has no decoder."""

    def __init__(self, side: int, device: torch.device) -> None:
        self.side, self.device = side, device
        self.works = True

    def squares(self, group: Sequence[np.ndarray | _Waiting | None]) -> Iterator[np.ndarray | None]:
        """The group's squares, those that wait decoded together."""
        waiting = [item for item in group if isinstance(item, _Waiting)]
        decoded = iter(self._decoded(waiting))
        for item in group:
            yield next(decoded) if isinstance(item, _Waiting) else item

    def _decoded(self, photos: Sequence[_Waiting]) -> list[np.ndarray | None]:
        if not photos or not self.works:
            return [self._by_loader(photo) for photo in photos]
        try:
            pictures = self._by_device(photos)
        except (ImportError, AttributeError, OSError, NotImplementedError):  # not in this build
            self.works = False
            return [self._by_loader(photo) for photo in photos]
        except RuntimeError:  # one odd file fails them all, or the device's memory is used up
            return [self._by_loader(photo) for photo in photos]
        return [
            np.asarray(images.upright(images.from_pixels(pixels), photo.header.info))
            for pixels, photo in zip(pictures, photos, strict=True)
        ]

    def _by_device(self, photos: Sequence[_Waiting]) -> list[np.ndarray]:
        """Squares uint8 [s, s, 3], as the files store them: not turned, in their own colours."""
        from torchvision.io import ImageReadMode, decode_jpeg

        files = [torch.frombuffer(bytearray(photo.data), dtype=torch.uint8) for photo in photos]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a successor that decodes no JPEG on a GPU yet
            pictures = decode_jpeg(files, mode=ImageReadMode.RGB, device=self.device)
        squares = [
            centre_square(picture, self.side, images.orientation(photo.header.info))
            for picture, photo in zip(pictures, photos, strict=True)
        ]
        if len({square.shape for square in squares}) == 1:
            return list(torch.stack(squares).cpu().numpy())  # one copy: each waits for the device
        return [square.cpu().numpy() for square in squares]

    def _by_loader(self, photo: _Waiting) -> np.ndarray | None:
        try:
            return images.load_pixels(photo.data, self.side)
        except PhotoError:
            return None


def centre_square(picture: Tensor, side: int, orientation: int = 1) -> Tensor:
    """The centre square of uint8 [3, H, W], both at least 2 * `side`, as uint8 [side, side, 3].

    Shrunk as `images.load_pixels` does it: by 8, 4 or 2, as JPEGs can be while they are decoded,
    by the mean of whole blocks, and then with care. Of an odd margin the upright picture has the
    larger half right and below.
    """
    shortest = min(picture.shape[1:])
    values = picture[None].float()
    halved = max(factor for factor in (2, 4, 8) if shortest >= factor * side)
    for factor in (halved, -(-shortest // halved) // side):
        values = functional.avg_pool2d(values, factor, ceil_mode=True)
    height, width = values.shape[2:]
    edge = min(height, width)
    top = (height - edge + (orientation in _FROM_BELOW)) // 2
    left = (width - edge + (orientation in _FROM_RIGHT)) // 2
    square = values[..., top : top + edge, left : left + edge]
    if edge > side:
        size = (side, side)
        square = functional.interpolate(square, size, mode="bicubic", antialias=True)
    return square[0].round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).contiguous()
