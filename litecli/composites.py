"""Training pictures cut from one image or put together from several.

A teacher can be asked about any picture, so a picture need not show one thing: what a student
should do with things it never saw is learnt from pictures unlike its photos (Beyer et al.,
"Knowledge distillation: a good teacher is patient and consistent", 2022; the kinds are those of
mixup, CutMix and mosaics).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from litecli.augment import Box, random_box, resized

WHOLE = (0.0, 0.0, 1.0, 1.0)
MOST_PARTS = 4


@dataclass(frozen=True)
class Part:
    """A crop of one image, and where it goes."""

    number: int  # of the image
    crop: Box  # of its stored square
    place: tuple[float, float, float, float] = WHOLE  # top, left, bottom, right of the picture
    opacity: float = 1.0


def composite(
    numbers: Sequence[int], sides: np.ndarray, smallest: float, rng: np.random.Generator
) -> tuple[Part, ...]:
    """One of three pictures of the MOST_PARTS images `numbers`, the first of them in all three.

    Four in a mosaic; one set into another; one shining through another. Crops keep `smallest` to
    all of the area of a square; `sides` [num_images] are the squares'.
    """
    crops = [random_box(int(sides[n]), rng, smallest) for n in numbers]
    first, second = (Part(n, crop) for n, crop in zip(numbers[:2], crops, strict=False))
    kind = int(rng.integers(3))
    if kind == 0:
        down, across = rng.uniform(0.35, 0.65, size=2).tolist()
        places = [
            (top, left, bottom, right)
            for top, bottom in ((0.0, down), (down, 1.0))
            for left, right in ((0.0, across), (across, 1.0))
        ]
        order = rng.permutation(MOST_PARTS).tolist()
        return tuple(
            Part(n, crop, places[corner])
            for n, crop, corner in zip(numbers, crops, order, strict=True)
        )
    if kind == 1:
        height, width = rng.uniform(0.3, 0.7, size=2).tolist()
        top, left = rng.uniform(0.0, 1.0 - height), rng.uniform(0.0, 1.0 - width)
        inset = (top, left, top + height, left + width)
        return first, Part(second.number, second.crop, inset)
    return first, Part(second.number, second.crop, WHOLE, float(rng.uniform(0.25, 0.5)))


def picture(parts: Sequence[Part], squares: Callable[[int], np.ndarray], side: int) -> Tensor:
    """Put the parts into one picture, uint8 [3, side, side], each over those before it."""
    canvas = torch.empty((3, side, side), dtype=torch.uint8)
    for part in parts:
        top, left, bottom, right = (round(edge * side) for edge in part.place)
        crop = resized(squares(part.number), part.crop, (bottom - top, right - left))
        spot = canvas[:, top:bottom, left:right]
        if part.opacity < 1:
            crop = torch.lerp(spot.float(), crop.float(), part.opacity).round().byte()
        spot.copy_(crop)
    return canvas
