"""Photos as large as a phone's, made on the spot for the benchmarks of whole commands."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from litecli.drawn import class_view

MEGAPIXELS_12 = (4032, 3024)


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
    grain = np.random.default_rng(0).normal(0, 4, (size[1] // 8, size[0] // 8, 3))
    grain = np.kron(grain, np.ones((8, 8, 1))).astype(np.int16)  # a sensor's, smoothed by the phone
    written = []
    for thing in range(objects):
        place = folder / f"thing{thing:03}"
        place.mkdir(parents=True, exist_ok=True)
        for view in range(photos):
            drawn = Image.fromarray(class_view(thing, view, 0, 512)).resize(size)
            noisy = np.clip(np.asarray(drawn, np.int16)[: len(grain)] + grain, 0, 255)
            path = place / f"IMG_{view:04}.{kind}"
            Image.fromarray(noisy.astype(np.uint8)).save(path, quality=90)
            written.append(path)
    return written


def environment(home: Path) -> Mapping[str, str]:
    """The environment of a command with a data folder of its own.

    Bytecode is kept, as an installed package keeps it: else each start compiles every module.
    """
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "LITECLI_HOME": str(home)}
