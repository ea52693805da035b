"""What evaluations are tried on: classes of plain colours, and a network that is none of timm's."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from litecli.evaluation import evaluation

COLOURS = [
    (210, 40, 40),
    (40, 190, 60),
    (50, 60, 220),
    (210, 200, 40),
    (200, 60, 200),
    (20, 20, 20),
]


@pytest.fixture(autouse=True)
def no_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny model of these tests is no timm network; its cost is a number of the test's own."""
    monkeypatch.setattr(evaluation, "network_macs", lambda model: 1000)


def write_classes(folder: Path, photos: int, noise: bool = False) -> Path:
    """Six classes of plain colours, or of noise alone."""
    rng = np.random.default_rng(0)
    for number, colour in enumerate(COLOURS):
        place = folder / f"class {number}"
        place.mkdir(parents=True)
        for index in range(photos):
            plain = np.broadcast_to(np.array(colour), (40, 40, 3))
            pixels = rng.integers(0, 256, (40, 40, 3)) if noise else plain
            shade = rng.integers(-12, 13, 3)
            picture = np.clip(pixels + shade, 0, 255).astype(np.uint8)
            Image.fromarray(picture).save(place / f"{index}.png")
    return folder
