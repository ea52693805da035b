"""The batches of the supervised stage: pictures, lights, labels; a function of their number."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from litecli.config import TrainConfig
from litecli.pictures.atlas import Atlas
from litecli.pictures.composites import draw_pictures, single_pictures
from litecli.pictures.pixels import Squares
from litecli.tasks.episodes import Source
from litecli.training.image_pool import (
    image_shares,
    labelled_images,
    rendered,
    smallest_crops,
    square_sides,
)
from litecli.training.teacher import KeptTeacher, LiveTeacher

NO_LABEL = -1  # of a composite: it shows no one class


class Batch(NamedTuple):
    """Pictures [B, 3, S, S] in 0 to 255, their lights [B, 4], labels [B], kept features [B, D]."""

    pixels: Tensor
    lights: Tensor
    labels: Tensor  # NO_LABEL for composites
    targets: Tensor  # empty without a KeptTeacher


class Batches:
    """Every class of every source, in an order of its own in each epoch, each time another view.

    An `atlas` makes the pictures on its device, else the thread that asks makes them. With a
    KeptTeacher the views are those that it has seen. Without augmentation there is no light, and
    without a teacher no crop.
    """

    def __init__(
        self,
        config: TrainConfig,
        squares: Squares,
        sources: Sequence[Source],
        teacher: KeptTeacher | LiveTeacher | None,
        atlas: Atlas | None = None,
    ) -> None:
        self.config, self.squares, self.teacher, self.atlas = config, squares, teacher, atlas
        self.numbers, self.labels = labelled_images(sources)
        self.num_classes = int(self.labels.max(initial=0)) + 1
        self.num_steps = math.ceil(config.pretrain.images / config.pretrain.batch)
        self._sides = square_sides(self.numbers, squares)
        self._shares = image_shares(sources, config.pretrain.balance)
        self._orders: dict[int, np.ndarray] = {}  # epoch -> its order

    def batch(self, k: int) -> Batch:
        """Batch k, a pure function of its number."""
        side = image_size(self.config.pretrain.image_sizes, k, self.num_steps)
        size, count = self.config.pretrain.batch, len(self.numbers)
        places = np.arange(k * size, (k + 1) * size)
        picked = np.array([self._shuffled(int(place // count))[place % count] for place in places])
        rng = np.random.default_rng((self.config.seed, k, 0))
        targets = np.zeros(0, np.float32)
        if isinstance(self.teacher, KeptTeacher):
            pictures, targets = self.teacher.lessons(self.numbers[picked], rng)
        elif self.teacher is None and not self.config.augment:
            sides = self._sides[self.numbers[picked]]
            whole = np.stack([0 * sides, 0 * sides, sides, sides], axis=1)
            pictures = single_pictures(self.numbers[picked], whole, np.zeros(size, bool))
        else:
            mix, smallest = 0.0, self.config.smallest_crop
            if self.teacher is not None:
                mix, smallest = self.config.pretrain.mix, smallest_crops(self._sides)
            pictures = draw_pictures(self.numbers[picked], self._sides, mix, smallest, rng)
        lights = rng.uniform(-1.0, 1.0, size=(size, 4)).astype(np.float32) * self.config.augment
        labels = np.where(pictures.single, self.labels[picked], NO_LABEL)
        pixels = rendered(pictures, side, self.squares, self.atlas)
        return Batch(pixels, *map(torch.from_numpy, (lights, labels, targets)))

    def _shuffled(self, epoch: int) -> np.ndarray:
        # One epoch's order is asked for by every batch of it: the last two are kept.
        order = self._orders.get(epoch)
        if order is None:  # another thread may drop it again: `order` is what this one uses
            rng = np.random.default_rng((self.config.seed, epoch))
            count = len(self.numbers)
            if self._shares is None:
                order = rng.permutation(count)
            else:
                order = rng.choice(count, count, p=self._shares)
            self._orders[epoch] = order
            self._orders.pop(epoch - 2, None)
        return order


def image_size(sizes: Sequence[int], step: int, num_steps: int) -> int:
    """Side of the images of a step: the last half of the stage goes through `sizes` in turn.

    Small images teach most of what large ones do, in a fraction of the time (Tan and Le, 2021).
    """
    half = num_steps // 2
    late = max(0, step - half) * (len(sizes) - 1) / max(1, num_steps - half)
    return sizes[math.ceil(late)]
