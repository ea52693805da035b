"""Stored squares -> network inputs, on tensors: the plain view, and augmented views for training.

The augmentation of image n in episode (or epoch) k is a function of (seed, k, n) alone, so that
both passes of a support gradient see the same pixels whatever the chunking.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from litecli.config import Preprocess
from litecli.image_stream import CPU
from litecli.networks.inputs import standardised
from litecli.pictures.pixels import Squares
from litecli.threads import in_order

Box = tuple[int, int, int, int]  # top, left, height, width in pixels of the stored square


class View:
    """Turns stored squares into inputs [B, 3, S, S]; `augment` = the (seed, k) of random views.

    `threads` cut out the images of a batch together; None = one for each core. The light is put
    on, and values are standardised, on `device`: a GPU receives bytes, a quarter of the inputs.
    """

    def __init__(
        self,
        squares: Squares,
        preprocess: Preprocess,
        augment: tuple[int, ...] | None = None,
        smallest_crop: float = 0.4,
        threads: int | None = None,
        device: torch.device = CPU,
    ) -> None:
        self.squares = squares
        self.device = device
        self.threads = threads
        self.preprocess = preprocess
        self.augment = augment
        self.smallest_crop = smallest_crop

    def __call__(self, numbers: Sequence[int] | np.ndarray) -> Tensor:
        """Inputs [B, 3, S, S] float32 of the images with these numbers, on the view's device."""
        if self.augment is None:
            plain = list(in_order(self._plain, map(int, numbers), self.threads))
            return standardised(self._sent(plain), self.preprocess)
        seen = list(in_order(self._augmented, map(int, numbers), self.threads))
        lights = torch.from_numpy(np.array([light for _, light in seen], dtype=np.float32))
        pixels = self._sent([crop for crop, _ in seen]).float()
        return standardised(colour_jitter(pixels, lights.to(self.device)), self.preprocess)

    def _sent(self, crops: list[Tensor]) -> Tensor:
        """uint8 [B, 3, S, S] of crops [3, S, S], on the device."""
        batch = torch.stack(crops)
        if self.device.type != "cuda":
            return batch.to(self.device)
        return batch.pin_memory().to(self.device, non_blocking=True)

    def _augmented(self, number: int) -> tuple[Tensor, np.ndarray]:
        """A random crop and the light it is seen in."""
        assert self.augment is not None
        rng = np.random.default_rng((*self.augment, number))
        crop = self._random_crop(self.squares(number), rng)
        return crop, rng.uniform(-1.0, 1.0, size=4)

    def _plain(self, number: int) -> Tensor:
        """The centre crop that adapt and classify see (the stored square is the short side)."""
        square = self.squares(number)
        side = len(square)
        kept = min(side, round(side * self.preprocess.image_size / self.preprocess.resize_side))
        edge = (side - kept) // 2
        box, size = (edge, edge, kept, kept), self.preprocess.image_size
        return resized(square, box, size, self.preprocess.interpolation)

    def _random_crop(self, square: np.ndarray, rng: np.random.Generator) -> Tensor:
        crop = resized(
            square, random_box(len(square), rng, self.smallest_crop), self.preprocess.image_size
        )
        return crop.flip(-1) if rng.random() < 0.5 else crop


def random_box(side: int, rng: np.random.Generator, smallest: float) -> Box:
    """A crop of `smallest` to all of the area with an aspect ratio of 3:4 to 4:3."""
    area = rng.uniform(smallest, 1.0) * side * side
    ratio = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
    height = int(np.clip(round((area / ratio) ** 0.5), 1, side))
    width = int(np.clip(round((area * ratio) ** 0.5), 1, side))
    top, left = int(rng.integers(side - height + 1)), int(rng.integers(side - width + 1))
    return top, left, height, width


def random_boxes(
    sides: np.ndarray, smallest: float | np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """`random_box` of many squares at once: int64 [..., 4] for sides (and `smallest`) [...]."""
    area = rng.uniform(smallest, 1.0, sides.shape) * sides**2
    ratio = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3), sides.shape))
    height, width = (
        np.clip(np.rint(length), 1, sides).astype(np.int64)
        for length in ((area / ratio) ** 0.5, (area * ratio) ** 0.5)
    )
    top, left = rng.integers(sides - height + 1), rng.integers(sides - width + 1)
    return np.stack([top, left, height, width], axis=-1)


def resized(
    square: np.ndarray, box: Box, size: int | tuple[int, int], mode: str = "bicubic"
) -> Tensor:
    """Cut `box` out of uint8 [s, s, 3] and resize it, antialiased, to uint8 [3, height, width].

    One number stands for both.
    """
    top, left, height, width = box
    crop = torch.from_numpy(np.array(square[top : top + height, left : left + width]))
    size = (size, size) if isinstance(size, int) else size
    batch = crop.permute(2, 0, 1)[None]
    return functional.interpolate(batch, size, mode=mode, antialias=True)[0]


def colour_jitter(pixels: Tensor, amounts: Tensor) -> Tensor:
    """Brightness, contrast, saturation and warmth as a phone's light varies.

    `pixels` is float [B, 3, S, S] in 0 to 255, `amounts` [B, 4] in -1 to 1; returns the same shape.
    """
    brightness, contrast, saturation, warmth = (
        amounts[:, i, None, None, None] for i in range(amounts.shape[1])
    )
    grey = pixels.mean(dim=1, keepdim=True)
    pixels = grey + (pixels - grey) * (1 + 0.4 * saturation)
    mean = grey.mean(dim=(2, 3), keepdim=True)
    pixels = mean + (pixels - mean) * (1 + 0.4 * contrast)
    tint = torch.cat([1 + 0.1 * warmth, torch.ones_like(warmth), 1 - 0.1 * warmth], dim=1)
    return (pixels * (1 + 0.3 * brightness) * tint).clamp(0, 255)
