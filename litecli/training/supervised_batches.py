"""The batches of the supervised stage: pictures, lights, labels; a function of their number."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from litecli.config import TrainConfig
from litecli.pictures.atlas import Atlas
from litecli.pictures.composites import Pictures, draw_pictures, picture, single_pictures
from litecli.tasks.episodes import Source
from litecli.threads import in_order
from litecli.training.stages import Squares
from litecli.training.teacher import KeptTeacher, LiveTeacher

NO_LABEL = -1  # of a composite: it shows no one class
# With a live teacher, a crop is never fewer pixels of an image than this square has, but of a
# large image it may be a small part: a model's closer looks show no more.
SMALLEST_SIDE, SMALLEST_SHARE, LARGEST_SMALLEST = 40, 0.12, 0.4


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


def square_sides(numbers: np.ndarray, squares: Squares) -> np.ndarray:
    """Sides of the squares of images `numbers` [n], by number; 0 of the others."""
    sides = np.zeros(int(numbers.max(initial=-1)) + 1, np.int64)
    sides[numbers] = [len(squares(int(n))) for n in numbers]
    return sides


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


def smallest_crops(sides: np.ndarray) -> np.ndarray:
    """Least share of the area that a crop of each square keeps, for squares of `sides` [n]."""
    share = (SMALLEST_SIDE / np.maximum(sides, 1)) ** 2
    return np.clip(share, SMALLEST_SHARE, LARGEST_SMALLEST)


def image_size(sizes: Sequence[int], step: int, num_steps: int) -> int:
    """Side of the images of a step: the last half of the stage goes through `sizes` in turn.

    Small images teach most of what large ones do, in a fraction of the time (Tan and Le, 2021).
    """
    half = num_steps // 2
    late = max(0, step - half) * (len(sizes) - 1) / max(1, num_steps - half)
    return sizes[math.ceil(late)]


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
