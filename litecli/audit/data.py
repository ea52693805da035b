"""The tasks of an audit: from a folder of class folders, or of the built-in drawn objects.

Tasks are drawn as in training; only the photos that they hold are read.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from litecli.audit.settings import AuditSettings
from litecli.config import EpisodeConfig
from litecli.errors import ExitCode, LiteError, PhotoError
from litecli.photos import images
from litecli.tasks.datasets import Dataset, read_dataset
from litecli.tasks.drawn_classes import drawn_dataset, drawn_image
from litecli.tasks.episodes import Episode, Source, sample_episode

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class AuditData:
    """The tasks, and their photos by number as uint8 squares [side, side, 3]."""

    name: str
    episodes: tuple[Episode, ...]
    squares: Mapping[int, np.ndarray]
    skipped: int = 0  # photos that could not be read; other photos take their places

    def summary(self) -> str:
        """One line: the tasks as they came out."""
        ways, support, query = (
            _span([size(episode) for episode in self.episodes])
            for size in (lambda e: e.way, lambda e: len(e.support), lambda e: len(e.query))
        )
        many = f"{len(self.episodes)} tasks" if len(self.episodes) > 1 else "1 task"
        return f"{many} of {self.name}: {ways} classes, {support} support and {query} query photos"


def drawn_tasks(settings: AuditSettings, side: int) -> AuditData:
    """Tasks of drawn objects, `side` pixels wide."""
    episodes = _episodes(drawn_dataset().sources, settings)
    squares = {n: drawn_image(n, settings.seed, side) for n in _numbers(episodes)}
    return AuditData("drawn objects", episodes, squares)


def photo_tasks(
    folder: Path, settings: AuditSettings, side: int, progress: Progress | None = None
) -> AuditData:
    """Tasks of a folder's photos, read at `side` pixels.

    A task that holds an unreadable photo is drawn again without it. Raises LiteError as
    `read_dataset`, and INPUT when no two classes with two usable photos are left.
    """
    dataset = read_dataset([folder])
    usable = np.ones(len(dataset.paths), dtype=bool)
    squares: dict[int, np.ndarray] = {}
    while True:
        episodes = _episodes(_sources(dataset, usable, folder), settings)
        wanted = [n for n in _numbers(episodes) if n not in squares]
        if not wanted:
            return AuditData(folder.name, episodes, squares, int((~usable).sum()))
        for done, number in enumerate(wanted, start=1):
            try:
                squares[number] = images.load_pixels(dataset.paths[number], side)
            except PhotoError:
                usable[number] = False
            if progress is not None:
                progress(done, len(wanted))


def _sources(dataset: Dataset, usable: np.ndarray, folder: Path) -> list[Source]:
    sources = [s for s in dataset.keep(usable).sources if len(s.classes) >= 2]
    if not sources:
        raise LiteError(
            f"{folder} has no two classes to tell apart.",
            "A task needs two classes, each with at least two usable photos.",
            "litecli audit, which draws objects of its own",
            code=ExitCode.INPUT,
        )
    return sources


def _episodes(sources: Sequence[Source], settings: AuditSettings) -> tuple[Episode, ...]:
    shape = EpisodeConfig(
        settings.way, settings.way, settings.support, settings.support, settings.query
    )
    return tuple(sample_episode(sources, shape, settings.seed, k) for k in range(settings.tasks))


def _numbers(episodes: Sequence[Episode]) -> list[int]:
    numbers = np.concatenate([part for e in episodes for part in (e.support, e.query)])
    return np.unique(numbers).tolist()


def _span(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return f"{low}" if low == high else f"{low} to {high}"
