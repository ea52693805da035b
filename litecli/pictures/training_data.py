"""A run's images: folders or drawn objects, decoded once, split into training and validation."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from litecli import threads
from litecli.config import Preprocess, TrainConfig
from litecli.errors import ExitCode, LiteError
from litecli.pictures import pixels
from litecli.pictures.overlaps import overlaps_of
from litecli.pictures.pixels import PixelStore, ReadAll, Squares
from litecli.tasks.datasets import Dataset, read_dataset, training_folders
from litecli.tasks.drawn_classes import drawn_dataset, drawn_image
from litecli.tasks.episodes import Source, hold_out_classes


@dataclass(frozen=True)
class TrainingData:
    """Decoded squares by number, and the sources of training and validation tasks."""

    store: PixelStore
    key: str  # names these images
    training: tuple[Source, ...]
    validation: tuple[Source, ...]
    warnings: tuple[str, ...]
    overlaps: tuple[str, ...] = ()  # what validation shares with training, in words

    @property
    def squares(self) -> Squares:
        """The decoded images."""
        return self.store.__getitem__

    @property
    def photos(self) -> dict[str, int]:
        """ "SOURCE/CLASS" -> how many photos it has, to train and to validate on."""
        counts: dict[str, int] = {}
        for source in (*self.training, *self.validation):
            queries = source.query or ((),) * len(source.classes)
            for name, *pools in zip(source.classes, source.support, queries, strict=True):
                name = f"{source.name}/{name}"
                counts[name] = counts.get(name, 0) + sum(map(len, pools))
        return counts

    def summary(self) -> str:
        """One line: which collections, how many classes and images."""
        names = ", ".join(source.name for source in self.training[:6])
        more = f" and {len(self.training) - 6} more" if len(self.training) > 6 else ""
        classes = sum(len(source.classes) for source in self.training)
        images = sum(len(pool) for source in self.training for pool in source.support)
        return f"{names}{more} ({classes} classes, {images} images)"


def open_data(
    config: TrainConfig, cache: Path, read_all: ReadAll | None = None
) -> Iterator[tuple[int, int] | TrainingData]:
    """Decode what is not cached yet, yielding (done, total), and at last the TrainingData.

    Photos are decoded by `read_all`, else by the loader. Raises LiteError (INPUT) when no class
    of two usable photos is left to train or validate on.
    """
    dataset, held_out = run_dataset(config)
    workers = threads.workers(config.workers)
    if config.data:
        yield from pixels.cache_photos(dataset.paths, stored_side(config), cache, workers, read_all)
    else:
        draw = partial(drawn_image, seed=config.seed, side=stored_side(config))
        count, key = len(dataset.paths), _key(config, dataset)
        yield from pixels.cache(draw, count, key, cache, workers)
    yield _training_data(config, dataset, held_out, cache)


def shared_data(config: TrainConfig, cache: Path) -> TrainingData:
    """What another process has decoded into `cache`; nothing is decoded, as that one reads it.

    Raises LiteError (MACHINE) where the photos that are here are not those that it found.
    """
    dataset, held_out = run_dataset(config)
    if not pixels.is_whole(cache, _key(config, dataset)):
        raise LiteError(
            "A process of this run finds other photos than the first one.",
            "They have changed since, or each machine has its own.",
            "the same command, once the folders no longer change",
            code=ExitCode.MACHINE,
        )
    return _training_data(config, dataset, held_out, cache)


def run_dataset(config: TrainConfig) -> tuple[Dataset, int]:
    """The images of a run, and how many sources at their end are for validation alone.

    Of an ORBIT tree the train users are trained on and the validation users validated on; its test
    users are left alone. Only names are read. Raises LiteError: no DATA for --val (USAGE), and as
    `read_dataset`.
    """
    if not config.data:
        if config.val:
            raise LiteError(
                f"--val {config.val} needs DATA to train on.",
                "Drawn objects are validated on drawn objects.",
                f"litecli meta-train DATA --val {config.val}",
                code=ExitCode.USAGE,
            )
        return drawn_dataset(), 0
    training, validation, _ = training_folders(config.data)
    if config.val:
        validation = [Path(config.val)]
    held_out = len(read_dataset(validation).sources) if validation else 0
    return read_dataset([*training, *validation]), held_out


def stored_side(config: TrainConfig) -> int:
    """Pixels of a stored square's side; photos leave room for the usual centre crop of adapt."""
    return round(config.image_size / Preprocess.crop_pct) if config.data else config.image_size


def _key(config: TrainConfig, dataset: Dataset) -> str:
    """Names the stored squares."""
    if config.data:
        return pixels.photos_key(dataset.paths, stored_side(config))
    return f"drawn {config.seed} {config.image_size} {len(dataset.paths)}"


def _training_data(
    config: TrainConfig, dataset: Dataset, held_out: int, cache: Path
) -> TrainingData:
    """The decoded images, split into training and validation."""
    store = PixelStore(cache)
    parts = divided(config, dataset, held_out, store.usable)
    warnings, unread = list(parts.warnings), int((~store.usable).sum())
    if unread:
        warnings.append(f"{unread} files could not be read as photos and are left out")
    key = json.loads((cache / "index.json").read_text())["key"]
    return TrainingData(
        store, key, parts.training, parts.validation, tuple(warnings), parts.overlaps
    )


@dataclass(frozen=True)
class Parts:
    """What is trained on and what is validated on, of the photos that can be used."""

    training: tuple[Source, ...]
    validation: tuple[Source, ...]
    overlaps: tuple[str, ...]  # what the two share, in words
    warnings: tuple[str, ...]


def divided(config: TrainConfig, dataset: Dataset, held_out: int, usable: np.ndarray) -> Parts:
    """The parts of a run's data, of photos that are `usable` [len(paths)].

    Raises LiteError: too few classes (INPUT), a split that is not strict (USAGE).
    """
    training, validation, overlaps = _split(config, dataset, usable, held_out)
    alone = [source.name for source in (*training, *validation) if len(source.classes) < 2]
    training, validation = (
        [source for source in part if len(source.classes) > 1] for part in (training, validation)
    )
    if not training or not validation:
        raise LiteError(
            f"{dataset.keep(usable).num_classes()} usable classes are too few to train and "
            "validate on.",
            "Classes are held out of every folder of fifteen classes or more.",
            "--val DATA with other classes",
            code=ExitCode.INPUT,
        )
    warnings = [f"{overlap}: its accuracy will flatter" for overlap in overlaps]
    warnings += [f"{name}: one class has no other to be told from, left out" for name in alone]
    warnings += [f"{folder} is for tests: left out" for folder in training_folders(config.data)[2]]
    warnings += _too_few_classes(config, training)
    return Parts(tuple(training), tuple(validation), tuple(overlaps), tuple(warnings))


def _split(
    config: TrainConfig, dataset: Dataset, usable: np.ndarray, held_out: int
) -> tuple[list[Source], list[Source], list[str]]:
    """Training sources, validation sources (the last `held_out`), and what the two share."""
    if held_out:
        first = len(dataset.sources) - held_out
        training, validation = (
            list(replace(dataset, sources=part).keep(usable).sources)
            for part in (dataset.sources[:first], dataset.sources[first:])
        )
    else:  # of one source never the same class; of several, a class of this name may be in another
        sources = dataset.keep(usable).sources
        training, validation = hold_out_classes(sources, config.val_share, config.seed)
    overlaps = list(overlaps_of(dataset.paths, training, validation, held_out > 0))
    if overlaps and config.strict_split:
        raise LiteError(
            f"With --strict-split, {overlaps[0]}.",
            fix="--val DATA that the training does not see",
            code=ExitCode.USAGE,
        )
    return training, validation, overlaps


def _too_few_classes(config: TrainConfig, training: Sequence[Source]) -> list[str]:
    """A warning where no training source has as many classes as tasks ask for."""
    most = max(len(source.classes) for source in training)
    if config.episodes.way_min > config.episodes.support_max:
        few = config.episodes.support_max
        return [f"tasks have at most {few} classes, a photo each, not {config.episodes.way_min}"]
    if config.episodes.way_min > most:
        return [f"tasks have at most {most} classes, not {config.episodes.way_min}"]
    if config.data and config.episodes.way_max > most:
        return [f"tasks have at most {most} classes, not {config.episodes.way_max}"]
    return []
