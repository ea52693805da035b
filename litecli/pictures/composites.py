"""Training pictures: a crop of one image each, or crops of several put together.

A teacher can be asked about any picture, so a picture need not show one thing: what a student
should do with things it never saw is learnt from pictures unlike its photos (Beyer et al.,
"Knowledge distillation: a good teacher is patient and consistent", 2022; the kinds are those of
mixup, CutMix and mosaics).
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from litecli.pictures.augment import random_boxes, resized
from litecli.pictures.pixels import Squares

TILES = (2, 3)  # mosaics have 2 x 2 or 3 x 3 parts
MOST_PARTS = max(TILES) ** 2
KINDS = len(TILES) + 2  # a mosaic of each size, an inset, a blend
WHOLE = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class Pictures:
    """A batch of B pictures of up to K parts each, every part over those before it."""

    numbers: np.ndarray  # int64 [B, K], the images; the first is in every picture
    crops: np.ndarray  # int64 [B, K, 4], top, left, height, width in pixels of the stored square
    places: np.ndarray  # [B, K, 4], top, left, bottom, right as shares of the picture's side
    opacities: np.ndarray  # [B, K]; 0: there is no such part
    mirrored: np.ndarray  # bool [B]

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def single(self) -> np.ndarray:
        """Which pictures show one image alone, bool [B]."""
        return (self.opacities > 0).sum(axis=1) == 1


def single_pictures(numbers: np.ndarray, crops: np.ndarray, mirrored: np.ndarray) -> Pictures:
    """Pictures of one image each: `numbers` [B], `crops` [B, 4], `mirrored` [B]."""
    places = np.broadcast_to(np.array(WHOLE), (len(numbers), 1, 4))
    return Pictures(numbers[:, None], crops[:, None], places, np.ones((len(numbers), 1)), mirrored)


def draw_pictures(
    numbers: np.ndarray,
    sides: np.ndarray,
    mix: float,
    smallest: float | np.ndarray,
    rng: np.random.Generator,
) -> Pictures:
    """A picture of each image of `numbers` [B]; the share `mix` of them are composites.

    Composites take their other parts from the same batch. Crops keep `smallest` to all of the
    area of a square, one number or one for each image [num_images]; `sides` [num_images] are the
    squares'.
    """
    count, parts = len(numbers), MOST_PARTS if mix else 1
    shown = np.concatenate([numbers[:, None], rng.choice(numbers, (count, parts - 1))], axis=1)
    least = smallest if np.ndim(smallest) == 0 else np.asarray(smallest)[shown]
    crops = random_boxes(sides[shown], least, rng)
    mirrored = rng.random(count) < 0.5
    places = np.zeros((count, parts, 4))
    opacities = np.zeros((count, parts))
    places[:, 0], opacities[:, 0] = WHOLE, 1.0
    everything = Pictures(shown, crops, places, opacities, mirrored)
    if not mix:
        return everything
    kind = np.where(rng.random(count) < mix, rng.integers(KINDS, size=count), -1)
    for number, tiles in enumerate(TILES):
        rows = np.flatnonzero(kind == number)
        places[rows, : tiles**2] = _mosaics(len(rows), tiles, rng)
        opacities[rows, : tiles**2] = 1.0
    rows = np.flatnonzero(kind == KINDS - 2)
    if len(rows):  # one set into another
        size = rng.uniform(0.3, 0.7, (len(rows), 2))
        corner = rng.uniform(0.0, 1.0, (len(rows), 2)) * (1.0 - size)
        places[rows, 1], opacities[rows, 1] = np.concatenate([corner, corner + size], axis=1), 1.0
    rows = np.flatnonzero(kind == KINDS - 1)
    if len(rows):  # one shining through another
        places[rows, 1], opacities[rows, 1] = WHOLE, rng.uniform(0.25, 0.5, len(rows))
    return everything


def _mosaics(count: int, tiles: int, rng: np.random.Generator) -> np.ndarray:
    """Places [count, tiles^2, 4] of mosaics' parts, in random order."""
    inner = np.arange(1, tiles) / tiles
    wander = 0.15 / (tiles - 1)
    edges = np.zeros((count, 2, tiles + 1))
    edges[..., 1:-1] = inner + rng.uniform(-wander, wander, (count, 2, tiles - 1))
    edges[..., -1] = 1.0
    down, across = np.divmod(np.arange(tiles**2), tiles)
    places = np.stack(
        [edges[:, 0, down], edges[:, 1, across], edges[:, 0, down + 1], edges[:, 1, across + 1]],
        axis=-1,
    )
    order = rng.permuted(np.tile(np.arange(tiles**2), (count, 1)), axis=1)
    return np.take_along_axis(places, order[..., None], axis=1)


def picture(pictures: Pictures, row: int, squares: Squares, side: int) -> Tensor:
    """One picture of a batch, uint8 [3, side, side]."""
    canvas = torch.empty((3, side, side), dtype=torch.uint8)
    for k in np.flatnonzero(pictures.opacities[row]):
        top, left, bottom, right = np.rint(pictures.places[row, k] * side).astype(int).tolist()
        square = squares(int(pictures.numbers[row, k]))
        box = tuple(pictures.crops[row, k].tolist())
        crop = resized(square, box, (bottom - top, right - left))
        spot, opacity = canvas[:, top:bottom, left:right], float(pictures.opacities[row, k])
        if opacity < 1:
            crop = torch.lerp(spot.float(), crop.float(), opacity).round().byte()
        spot.copy_(crop)
    return canvas.flip(-1) if pictures.mirrored[row] else canvas
