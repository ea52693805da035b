"""What teacher networks make of the training pictures, for a student to imitate.

Several teachers stand side by side: the student imitates all of their features at once. They are
computed once for a few crops of each image and kept as float16 (`KeptTeacher`), or anew for every
picture just as the student sees it, same crop, same light (`LiveTeacher`; Beyer et al., "Knowledge
distillation: a good teacher is patient and consistent", 2022). A live teacher also shows its maps,
from before the pooling: a small photo then teaches at as many places as they have (Romero et al.,
"FitNets: hints for thin deep nets", 2015).
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from litecli import storage
from litecli.heads.labelled import unit_rows
from litecli.heads.mahalanobis_gradient import in_double
from litecli.library.model_files import Model
from litecli.networks import backbone
from litecli.networks.devices import depthwise_in_fp32
from litecli.networks.encoder import Encoder
from litecli.networks.inputs import standardised
from litecli.networks.parts import features_and_maps
from litecli.pictures.augment import random_box, resized
from litecli.pictures.composites import Pictures, single_pictures
from litecli.pictures.pixels import PixelStore, no_room, reserve
from litecli.threads import in_order

FEATURES_FILE = "teacher.f16"
REPORTED = 256  # features between two reports of progress
SMALLEST_CROP = 0.35  # of the area, of kept crops
MEASURED = 20_000  # crops, at most, that give kept features' mean and spread
SPREAD_FLOOR = 1e-3  # a feature that hardly varies is not blown up


class KeptTeacher:
    """Features of fixed random crops of every image, float16 [views, num_images, D]."""

    def __init__(self, features: np.ndarray, sides: np.ndarray, seed: int) -> None:
        self.features, self.sides, self.seed = features, sides, seed
        self.width = features.shape[-1]
        numbers = np.flatnonzero(sides)
        sample = features[0, numbers[:: -(-len(numbers) // MEASURED)]].astype(np.float32)
        self.mean, self.std = sample.mean(axis=0), sample.std(axis=0) + SPREAD_FLOOR

    def lessons(self, numbers: np.ndarray, rng: np.random.Generator) -> tuple[Pictures, np.ndarray]:
        """A crop of each image of `numbers` [B] that the teachers saw, and its features [B, D].

        The features have mean 0 and spread 1, so that a cosine compares what differs.
        """
        views = rng.integers(len(self.features), size=len(numbers))
        crops = [
            teacher_box(int(self.sides[n]), self.seed, int(view), int(n))
            for n, view in zip(numbers, views, strict=True)
        ]
        mirrored = rng.random(len(numbers)) < 0.5
        seen = self.features[views, numbers].astype(np.float32)
        pictures = single_pictures(numbers, np.array(crops), mirrored)
        return pictures, (seen - self.mean) / self.std


@dataclass(frozen=True)
class Lesson:
    """What teachers make of a batch: features [B, D], and maps [B, C, h, w] from coarse to fine.

    Every channel has mean 0 and spread 1 over the pictures that were measured.
    """

    features: Tensor
    maps: list[Tensor]


class LiveTeacher:
    """Networks that see every picture as the student does, on its device.

    With `with_maps` their maps are shown too; then LiteError (USAGE) for a network without any.
    """

    def __init__(
        self, models: Sequence[Model], device: torch.device, bf16: bool, with_maps: bool
    ) -> None:
        self.device, self.bf16, self.with_maps = device, bf16, with_maps
        self.preprocess = [model.config.preprocess for model in models]
        self.networks = [
            backbone.from_model(model.folder, model.config).network.eval().requires_grad_(False)
            for model in models
        ]
        for network in self.networks:
            depthwise_in_fp32(network)
            network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.widths = [model.config.num_features for model in models]
        self.width = sum(self.widths)
        self.map_widths: list[int] = []  # channels of each map
        self._means: list[Tensor] = []
        self._stds: list[Tensor] = []

    def measure(self, batches: Iterable[Tensor]) -> None:
        """Set every channel's mean and spread from pictures [B, 3, S, S], 0 to 255."""
        sums: list[list[Tensor]] = []
        for pixels in batches:
            for n, found in enumerate(self._outputs(pixels)):
                rows = in_double(found).movedim(1, -1).flatten(0, -2)
                ones = rows.new_tensor(float(len(rows)))
                parts = [ones, rows.sum(0), rows.square().sum(0)]
                if n == len(sums):
                    sums.append(parts)
                else:
                    sums[n] = [a + b for a, b in zip(sums[n], parts, strict=True)]
        self._means = [total / count for count, total, _ in sums]
        self._stds = [
            (squares / count - mean.square()).clamp(min=0).sqrt() + SPREAD_FLOOR
            for (count, _, squares), mean in zip(sums, self._means, strict=True)
        ]
        self.map_widths = [len(mean) for mean in self._means[1:]]

    def lesson(self, pixels: Tensor) -> Lesson:
        """What the teachers make of pictures [B, 3, S, S] in 0 to 255; `measure` comes first."""
        features, *maps = (
            (found - mean.to(found).view(-1, *[1] * (found.ndim - 2)))
            / std.to(found).view(-1, *[1] * (found.ndim - 2))
            for found, mean, std in zip(self._outputs(pixels), self._means, self._stds, strict=True)
        )
        return Lesson(features, maps)

    def directions(self, pixels: Tensor) -> Tensor:
        """Every teacher's features at length 1, side by side: [B, D] of pictures in 0 to 255.

        An inner product of two pictures is then the sum of the teachers' cosines.
        """
        parts = self._outputs(pixels)[0].split(self.widths, dim=1)
        return torch.cat([unit_rows(part) for part in parts], dim=1)

    @torch.no_grad()
    def _outputs(self, pixels: Tensor) -> list[Tensor]:
        """All teachers' features [B, D], then their maps [B, C, h, w], side by side."""
        seen = []
        for network, preprocess in zip(self.networks, self.preprocess, strict=True):
            inputs = standardised(pixels, preprocess).contiguous(memory_format=torch.channels_last)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
                if self.with_maps:
                    features, maps = features_and_maps(network, inputs)
                else:
                    features, maps = network(inputs), []
            seen.append([features.float(), *(m.float() for m in maps)])
        first = seen[0]
        return [
            torch.cat([fitted(found[n], first[n]) for found in seen], dim=1)
            for n in range(len(first))
        ]


def fitted(found: Tensor, like: Tensor) -> Tensor:
    """Maps [B, C, h, w] at the height and width of others; features stay as they are."""
    if found.ndim < 4 or found.shape[2:] == like.shape[2:]:
        return found
    height, width = like.shape[2:]
    return functional.adaptive_avg_pool2d(found, (height, width))


def teacher_box(side: int, seed: int, view: int, number: int) -> tuple[int, int, int, int]:
    """The crop of image `number` that is the teachers' view `view`; the student gets the same."""
    return random_box(side, np.random.default_rng((seed, view, number)), SMALLEST_CROP)


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

    `key` names the images; D is the sum of the teachers' lengths. Yields (done, total). Raises
    LiteError (MACHINE) where the disk has no room for them.
    """
    facts = " ".join([key, *(model.fingerprint for model in models), f"{views} {seed}"])
    digest = hashlib.sha256(facts.encode()).hexdigest()
    count = len(store)
    key_path = folder / "teacher.key"
    width = sum(model.config.num_features for model in models)
    path, size = folder / FEATURES_FILE, 2 * views * count * width
    whole = path.exists() and path.stat().st_size == size
    if whole and key_path.exists() and key_path.read_text() == digest:
        yield views * count, views * count
        return
    key_path.unlink(missing_ok=True)
    try:
        reserve(path, size)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise no_room(folder, error, size) from error
    encoders = [(Encoder(model.folder), model.config.preprocess) for model in models]
    wanted = [(view, n) for view in range(views) for n in range(count) if store.usable[n]]

    def features(which: tuple[int, int]) -> np.ndarray:
        view, n = which
        box, parts = teacher_box(int(store.sides[n]), seed, view, n), []
        for encoder, preprocess in encoders:
            crop = resized(store[n], box, preprocess.image_size)
            parts.append(encoder.encode(standardised(crop[None], preprocess).numpy())[0])
        return np.concatenate(parts)

    out = np.memmap(path, np.float16, "r+", shape=(views, count, width))
    seen = in_order(features, wanted, threads=workers)
    for done, ((view, n), row) in enumerate(zip(wanted, seen, strict=True), start=1):
        out[view, n] = row
        if done % REPORTED == 0:
            yield done, len(wanted)
    out.flush()
    storage.atomic_write(key_path, digest.encode())
    yield len(wanted), len(wanted)


def read_features(folder: Path, views: int, count: int, size: int) -> np.ndarray:
    """The cached features, float16 [views, count, size], memory-mapped."""
    return np.memmap(folder / FEATURES_FILE, np.float16, "r", shape=(views, count, size))
