"""All the images that a run trains on: which they are, how often each comes, how much of it shows.

What supervised batches and pictures without labels have in common.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from litecli.pictures.atlas import Atlas
from litecli.pictures.composites import Pictures, picture
from litecli.pictures.pixels import Squares
from litecli.tasks.episodes import Source
from litecli.threads import in_order

# Where a live teacher answers, or no label is asked for, a crop is never fewer pixels of an image
# than this square has, but of a large image it may be a small part: closer looks show no more.
SMALLEST_SIDE, SMALLEST_SHARE, LARGEST_SMALLEST = 40, 0.12, 0.4


def labelled_images(sources: Sequence[Source]) -> tuple[np.ndarray, np.ndarray]:
    """Image numbers [n] and class labels [n] of all classes of all sources, numbered through."""
    numbers: list[int] = []
    labels: list[int] = []
    label = 0
    for source in sources:
        for pool in source.support:
            numbers.extend(pool)
            labels.extend([label] * len(pool))
            label += 1
    return np.array(numbers, dtype=np.int64), np.array(labels, dtype=np.int64)


def image_shares(sources: Sequence[Source], balance: float) -> np.ndarray | None:
    """How often each of `labelled_images` comes, [n], sum 1: as its collection's size ^ -balance.

    A collection of many small pictures would otherwise drown those of few large ones. None: all
    equally often.
    """
    if not balance:
        return None
    sizes = [sum(map(len, source.support)) for source in sources]
    weights = np.repeat(np.array(sizes, np.float64) ** -balance, sizes)
    return weights / weights.sum()


def square_sides(numbers: np.ndarray, squares: Squares) -> np.ndarray:
    """Sides of the squares of images `numbers` [n], by number; 0 of the others."""
    sides = np.zeros(int(numbers.max(initial=-1)) + 1, np.int64)
    sides[numbers] = [len(squares(int(n))) for n in numbers]
    return sides


def smallest_crops(sides: np.ndarray) -> np.ndarray:
    """Least share of the area that a crop of each square keeps, for squares of `sides` [n]."""
    share = (SMALLEST_SIDE / np.maximum(sides, 1)) ** 2
    return np.clip(share, SMALLEST_SHARE, LARGEST_SMALLEST)


def rendered(
    pictures: Pictures, side: int, squares: Squares, atlas: Atlas | None, threads: int = 1
) -> Tensor:
    """Pictures as pixels [B, 3, side, side] in 0 to 255: made by the atlas, or in `threads`."""
    if atlas is not None:
        return atlas.render(pictures, side)

    def made(row: int) -> Tensor:
        return picture(pictures, row, squares, side)

    rows = range(len(pictures))
    return torch.stack(list(map(made, rows) if threads == 1 else in_order(made, rows, threads)))
