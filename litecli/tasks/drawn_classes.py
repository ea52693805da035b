"""The built-in data set: classes of drawn objects, as image numbers."""

from pathlib import Path

import numpy as np

from litecli.drawn import scenes
from litecli.tasks.datasets import Dataset
from litecli.tasks.episodes import Source

DRAWN_CLASSES, DRAWN_VIEWS = 200, 30


def drawn_dataset() -> Dataset:
    """DRAWN_CLASSES classes of DRAWN_VIEWS images each, numbered through; the paths are names."""
    count = DRAWN_CLASSES * DRAWN_VIEWS
    pools = tuple(tuple(range(n, n + DRAWN_VIEWS)) for n in range(0, count, DRAWN_VIEWS))
    names = tuple(f"drawn {c}" for c in range(DRAWN_CLASSES))
    paths = tuple(Path(f"drawn/{n}") for n in range(count))
    return Dataset(paths, (Source("drawn objects", names, pools),))


def drawn_image(number: int, seed: int, side: int) -> np.ndarray:
    """Image `number` of the data set, uint8 [side, side, 3]."""
    return scenes.class_view(number // DRAWN_VIEWS, number % DRAWN_VIEWS, seed, side)
