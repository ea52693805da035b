"""Pictures of any training image, whatever its class: drawn, cropped and lit."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from litecli import threads
from litecli.config import Preprocess, TrainConfig
from litecli.networks.inputs import standardised
from litecli.pictures.atlas import Atlas
from litecli.pictures.augment import colour_jitter
from litecli.pictures.composites import draw_pictures
from litecli.pictures.pixels import Squares
from litecli.tasks.episodes import Source
from litecli.training.image_pool import (
    image_shares,
    labelled_images,
    rendered,
    smallest_crops,
    square_sides,
)


@dataclass(frozen=True)
class LitPictures:
    """`Images` under their lights: float [B, 3, S, S] in 0 to 255, or inputs with `preprocess`."""

    pixels: Tensor  # [N, 3, S, S], bytes where threads made them
    lights: Tensor  # [N, 4]
    device: torch.device
    preprocess: Preprocess | None = None

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, indices: Tensor) -> Tensor:
        pixels = self.pixels[indices.to(self.pixels.device)].to(self.device).float()
        lit = colour_jitter(pixels, self.lights[indices].to(self.device))
        return lit if self.preprocess is None else standardised(lit, self.preprocess)


class UnlabelledImages:
    """The images of all `sources`, from which pictures are made; `balance`: see `image_shares`."""

    def __init__(
        self,
        config: TrainConfig,
        squares: Squares,
        sources: Sequence[Source],
        balance: float,
        atlas: Atlas | None,
    ) -> None:
        self.config, self.squares, self.atlas = config, squares, atlas
        self.numbers, _ = labelled_images(sources)
        self.shares = image_shares(sources, balance)
        self.sides = square_sides(self.numbers, squares)

    def draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Numbers [count] of images, some perhaps more than once."""
        return rng.choice(self.numbers, count, p=self.shares)

    def pictures(
        self, numbers: np.ndarray, mix: float, side: int, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """A picture of each image [N], a share `mix` of them composed of several.

        Pixels [N, 3, side, side] in 0 to 255 and lights [N, 4], which are 0 without augmentation.
        """
        pictures = draw_pictures(numbers, self.sides, mix, smallest_crops(self.sides), rng)
        amounts = rng.uniform(-1.0, 1.0, size=(len(numbers), 4)).astype(np.float32)
        lights = torch.from_numpy(amounts if self.config.augment else 0 * amounts)
        cores = threads.workers(self.config.workers)
        return rendered(pictures, side, self.squares, self.atlas, cores), lights
