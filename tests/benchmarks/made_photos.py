"""Photos as large as a phone's, made on the spot for the benchmarks of whole commands."""

import os
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image

from litecli.drawn.scenes import class_view
from litecli.threads import workers

MEGAPIXELS_12 = (4032, 3024)
MANY = 200  # photos: from so many on, each core makes some


def write_photos(
    folder: Path,
    objects: int,
    photos: int,
    size: tuple[int, int] = MEGAPIXELS_12,
    kind: str = "jpg",
) -> list[Path]:
    """Write `photos` JPEG (or "heic") files of each of `objects` drawn things into `folder`."""
    if kind == "heic":
        import pillow_heif

        pillow_heif.register_heif_opener()
    wanted = [(thing, view) for thing in range(objects) for view in range(photos)]
    for thing in range(objects):
        (folder / f"thing{thing:03}").mkdir(parents=True, exist_ok=True)
    make = partial(_write_photo, folder, size, kind)
    if len(wanted) < MANY:
        return [make(one) for one in wanted]
    with ProcessPoolExecutor(workers(), get_context("spawn")) as pool:
        return list(pool.map(make, wanted, chunksize=8))


def _write_photo(folder: Path, size: tuple[int, int], kind: str, which: tuple[int, int]) -> Path:
    thing, view = which
    grain = _grain(size)
    drawn = Image.fromarray(class_view(thing, view, 0, 512)).resize(size)
    noisy = np.clip(np.asarray(drawn, np.int16)[: len(grain)] + grain, 0, 255)
    path = folder / f"thing{thing:03}" / f"IMG_{view:04}.{kind}"
    Image.fromarray(noisy.astype(np.uint8)).save(path, quality=90)
    return path


@cache
def _grain(size: tuple[int, int]) -> np.ndarray:
    """A sensor's noise int16 [H, W, 3], smoothed by the phone."""
    grain = np.random.default_rng(0).normal(0, 4, (size[1] // 8, size[0] // 8, 3))
    return np.kron(grain, np.ones((8, 8, 1))).astype(np.int16)


def environment(home: Path) -> Mapping[str, str]:
    """The environment of a command with a data folder of its own.

    Bytecode is kept, as an installed package keeps it: else each start compiles every module.
    """
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "LITECLI_HOME": str(home)}
