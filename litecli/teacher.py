"""What teacher networks make of the training images, for a student to imitate.

Two teachers may share the images: a network that is good on large photos is poor on thumbnails
blown up to its size. Their features are computed once for a few crops of each image and kept as
float16 (`KeptTeacher`), or anew for every picture, which may then be a composite (`LiveTeacher`).
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from litecli import images, storage
from litecli.augment import normalise, random_box
from litecli.composites import MOST_PARTS, Part, composite, picture
from litecli.encoder import Encoder
from litecli.model_library import Model
from litecli.pixels import PixelStore

REPORTED = 256  # features between two reports of progress
SMALLEST_CROP = 0.35  # of the area
MEASURED = 1000  # images whose features give a live teacher's mean and spread


class Teacher(Protocol):
    """What the supervised stage asks of its teacher; any thread may call it."""

    width: int  # D, length of one feature vector

    def lesson(
        self, number: int, batch: np.ndarray, rng: np.random.Generator
    ) -> tuple[tuple[Part, ...], np.ndarray]:
        """A picture of image `number`, perhaps with others of `batch`, and its features [D].

        The features have mean 0 and spread 1, so that a cosine compares what differs.
        """
        ...


@dataclass(frozen=True)
class Spread:
    """Each teacher's mean and standard deviation [D], over the images that it sees."""

    mean: np.ndarray  # float32 [teachers, D]
    std: np.ndarray

    @classmethod
    def of(cls, features: Callable[[np.ndarray], np.ndarray], seen_by: np.ndarray) -> "Spread":
        """From at most 20 `MEASURED` images of each teacher; `features` are those of numbers [n].

        `seen_by` int [num_images] is the teacher of each image.
        """
        means, stds = [], []
        for teacher in range(int(seen_by.max(initial=0)) + 1):
            numbers = np.flatnonzero(seen_by == teacher)
            sample = features(numbers if len(numbers) else np.arange(len(seen_by)))  # it saw none
            means.append(sample.mean(axis=0))
            stds.append(sample.std(axis=0) + 1e-3)
        return cls(np.stack(means), np.stack(stds))

    def standard(self, features: np.ndarray, teacher: int) -> np.ndarray:
        """Features [D] of a teacher with mean 0 and spread 1."""
        return (features.astype(np.float32) - self.mean[teacher]) / self.std[teacher]


class Panel:
    """One or two networks and the images they share; raises LiteError as `Encoder`."""

    def __init__(self, models: Sequence[Model], store: PixelStore) -> None:
        self.encoders = [Encoder(model.folder) for model in models]
        self.preprocess = [model.config.preprocess for model in models]
        self.width = models[0].config.num_features
        self.store = store
        self.seen_by = teacher_of_images(models, store)

    def features(self, parts: Sequence[Part]) -> np.ndarray:
        """Features float32 [D] of a picture, by the teacher of its first image."""
        teacher = self.seen_by[parts[0].number]
        preprocess = self.preprocess[teacher]
        pixels = picture(parts, self.store.__getitem__, preprocess.image_size).numpy()
        return self.encoders[teacher].encode(normalise(pixels[None], preprocess))[0]


class KeptTeacher:
    """Features of fixed random crops of every image, float16 [views, num_images, D]."""

    def __init__(
        self, features: np.ndarray, seen_by: np.ndarray, sides: np.ndarray, seed: int
    ) -> None:
        self.features, self.seen_by, self.sides, self.seed = features, seen_by, sides, seed
        self.width = features.shape[-1]

        def sample(numbers: np.ndarray) -> np.ndarray:
            return features[0, numbers[:: -(-len(numbers) // (20 * MEASURED))]].astype(np.float32)

        self.spread = Spread.of(sample, seen_by)

    def lesson(
        self, number: int, batch: np.ndarray, rng: np.random.Generator
    ) -> tuple[tuple[Part, ...], np.ndarray]:
        """See `Teacher`: one of the image's crops."""
        view = int(rng.integers(len(self.features)))
        box = teacher_box(int(self.sides[number]), self.seed, view, number)
        target = self.spread.standard(self.features[view, number], self.seen_by[number])
        return (Part(number, box),), target


class LiveTeacher:
    """Features of every picture as it comes; the share `mix` of the pictures are composites."""

    def __init__(self, panel: Panel, mix: float, seed: int, workers: int) -> None:
        self.panel, self.mix = panel, mix
        self.width = panel.width
        sides, usable = panel.store.sides, panel.store.usable

        def plain(number: int) -> np.ndarray:
            return panel.features([Part(number, teacher_box(int(sides[number]), seed, 0, number))])

        def sample(numbers: np.ndarray) -> np.ndarray:
            numbers = numbers[usable[numbers]]
            few = numbers[:: -(-len(numbers) // MEASURED)].tolist()
            return np.stack(list(images.in_order(plain, few, threads=workers)))

        self.spread = Spread.of(sample, panel.seen_by)

    def lesson(
        self, number: int, batch: np.ndarray, rng: np.random.Generator
    ) -> tuple[tuple[Part, ...], np.ndarray]:
        """See `Teacher`: a new crop of the image, or a composite with others."""
        sides = self.panel.store.sides
        if rng.random() < self.mix:
            others = rng.choice(batch, MOST_PARTS - 1).tolist()
            parts = composite([number, *others], sides, SMALLEST_CROP, rng)
        else:
            parts = (Part(number, random_box(int(sides[number]), rng, SMALLEST_CROP)),)
        features = self.panel.features(parts)
        return parts, self.spread.standard(features, self.panel.seen_by[number])


def teacher_box(side: int, seed: int, view: int, number: int) -> tuple[int, int, int, int]:
    """The crop of image `number` that is the teacher's view `view`; the student gets the same."""
    return random_box(side, np.random.default_rng((seed, view, number)), SMALLEST_CROP)


def teacher_of_images(models: Sequence[Model], store: PixelStore) -> np.ndarray:
    """Which of one or two teachers sees each image, int [num_images].

    The second sees those that are larger than the first would see them.
    """
    if len(models) == 1:
        return np.zeros(len(store), np.int64)
    return (store.sides > models[0].config.preprocess.image_size).astype(np.int64)


def cache_features(
    models: Sequence[Model],
    store: PixelStore,
    key: str,
    folder: Path,
    views: int,
    seed: int,
    workers: int,
) -> Iterator[tuple[int, int]]:
    """Write the teachers' features [views, num_images, D] to `folder`, unless they are there.

    `key` names the images; the teachers' features have the same length. Yields (done, total).
    """
    facts = " ".join([key, *(model.fingerprint for model in models), f"{views} {seed}"])
    digest = hashlib.sha256(facts.encode()).hexdigest()
    count = len(store)
    key_path = folder / "teacher.key"
    if key_path.exists() and key_path.read_text() == digest:
        yield views * count, views * count
        return
    key_path.unlink(missing_ok=True)
    panel = Panel(models, store)
    wanted = [(view, n) for view in range(views) for n in range(count) if store.usable[n]]

    def features(which: tuple[int, int]) -> np.ndarray:
        view, n = which
        return panel.features([Part(n, teacher_box(int(store.sides[n]), seed, view, n))])

    out = np.memmap(folder / "teacher.f16", np.float16, "w+", shape=(views, count, panel.width))
    seen = images.in_order(features, wanted, threads=workers)
    for done, ((view, n), row) in enumerate(zip(wanted, seen, strict=True), start=1):
        out[view, n] = row
        if done % REPORTED == 0:
            yield done, len(wanted)
    out.flush()
    storage.atomic_write(key_path, digest.encode())
    yield len(wanted), len(wanted)


def read_features(folder: Path, views: int, count: int, size: int) -> np.ndarray:
    """The cached features, float16 [views, count, size], memory-mapped."""
    return np.memmap(folder / "teacher.f16", np.float16, "r", shape=(views, count, size))
