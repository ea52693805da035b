"""Training data on disk: a folder of class folders, or the ORBIT benchmark's layout, recognised.

Every DATA folder becomes one source of episodes (ORBIT: one source per user). Only names are read
here; whether each file is a usable photo shows when the pixels are cached (pictures/pixels.py).
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from litecli.errors import ExitCode, LiteError
from litecli.tasks.episodes import Source

PHOTO_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".heic", ".heif", ".avif")
)
SPLITS = ("train", "validation", "test")  # of ORBIT: its users by what they are for
FRAMES_APART = 30  # ORBIT: one frame a second of a 30 fps video is enough for a support set


@dataclass(frozen=True)
class Dataset:
    """Photos by number and the sources whose classes refer to those numbers."""

    paths: tuple[Path, ...]
    sources: tuple[Source, ...]

    def num_classes(self) -> int:
        """Classes of all sources together."""
        return sum(len(source.classes) for source in self.sources)

    def keep(self, usable: np.ndarray) -> "Dataset":
        """The same dataset without the photos where `usable` [len(paths)] is False.

        Classes left with fewer than two photos are dropped, and sources left without classes.
        """
        sources = (_keep_source(source, usable) for source in self.sources)
        return replace(self, sources=tuple(s for s in sources if s.classes))


def read_dataset(folders: Sequence[str | Path]) -> Dataset:
    """List the photos of every folder of class folders (or ORBIT tree) in `folders`.

    Raises LiteError when a folder is missing (USAGE) or holds no classes of two photos (INPUT).
    """
    paths: list[Path] = []
    sources: list[Source] = []
    for folder in folders:
        root = Path(folder)
        if not root.is_dir():
            raise LiteError(f"No folder {folder}.", code=ExitCode.USAGE)
        found = _read_orbit(root, paths) or _read_classes(root, paths)
        if not found:
            raise LiteError(
                f"{folder} has no classes to learn from.",
                "Each class needs its own sub-folder with at least two photos.",
                code=ExitCode.INPUT,
            )
        sources.extend(found)
    return Dataset(tuple(paths), tuple(sources))


def _read_classes(root: Path, paths: list[Path]) -> list[Source]:
    names, pools = [], []
    for class_folder in sorted(p for p in root.iterdir() if p.is_dir() and p.name[0] != "."):
        pool = _add(_photos_below(class_folder), paths)
        if len(pool) >= 2:
            names.append(class_folder.name)
            pools.append(pool)
    return [Source(root.name, tuple(names), tuple(pools))] if names else []


def training_folders(folders: Sequence[str | Path]) -> tuple[list[Path], list[Path], list[Path]]:
    """What of `folders` is to train on, to validate on, and for tests that training never sees.

    Only an ORBIT tree of train, validation and test users says so; any other folder is to train on.
    Raises LiteError (INPUT) for such a tree without train users.
    """
    training, validation, test = [], [], []
    for root in map(Path, folders):
        there = {split: root / split for split in SPLITS if _users_in(root / split)}
        if there and SPLITS[0] not in there:
            raise LiteError(
                f"{root} has no train/ users to learn from.",
                f"It holds ORBIT's {' and '.join(there)} users.",
                f"give the folder of the users to train on: {next(iter(there.values()))}",
                code=ExitCode.INPUT,
            )
        training.append(there.get("train", root))
        validation += [there["validation"]] if "validation" in there else []
        test += [there["test"]] if "test" in there else []
    return training, validation, test


def user_folder(dataset: Dataset, source: Source) -> Path:
    """The folder of an ORBIT user: USER/<object>/clean/<video>/<frame>.jpg."""
    return dataset.paths[source.support[0][0]].parents[3]


def _users_in(root: Path) -> list[Path]:
    """Folders just below `root` that hold objects with clean videos."""
    return sorted({p.parent.parent for p in root.glob("*/*/clean") if p.is_dir()})


def _read_orbit(root: Path, paths: list[Path]) -> list[Source]:
    """ROOT[/train|validation|test]/<user>/<object>/{clean,clutter}/<video>/<frame>.jpg.

    ROOT may also be a user's own folder.
    """
    users = [root] if any(p.is_dir() for p in root.glob("*/clean")) else _users_in(root)
    for split in sorted(p for p in root.iterdir() if p.is_dir()):
        users += _users_in(split)
    sources = []
    for user in users:
        things = []
        for thing in sorted(p for p in user.iterdir() if p.is_dir()):
            clean, clutter = (_video_frames(thing / part) for part in ("clean", "clutter"))
            if clean and clutter:
                things.append((thing.name, clean, clutter))
        if len(things) >= 2:
            names = tuple(name for name, _, _ in things)
            pools = [(_add(clean, paths), _add(clutter, paths)) for _, clean, clutter in things]
            support, query = zip(*pools, strict=True)
            sources.append(Source(user.name, names, support, query))
    return sources


def _video_frames(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    videos = sorted(p for p in folder.iterdir() if p.is_dir())
    return [frame for video in videos for frame in _photos_below(video)[::FRAMES_APART]]


def _photos_below(folder: Path) -> list[Path]:
    found = [
        Path(parent) / name
        for parent, _, names in os.walk(folder)
        for name in names
        if name[0] != "." and Path(name).suffix.lower() in PHOTO_SUFFIXES
    ]
    return sorted(found)


def _add(photos: list[Path], paths: list[Path]) -> tuple[int, ...]:
    start = len(paths)
    paths.extend(photos)
    return tuple(range(start, len(paths)))


def _keep_source(source: Source, usable: np.ndarray) -> Source:
    def kept(pools: tuple[tuple[int, ...], ...]) -> list[tuple[int, ...]]:
        return [tuple(n for n in pool if usable[n]) for pool in pools]

    support = kept(source.support)
    query = None if source.query is None else kept(source.query)
    least = 2 if query is None else 1
    chosen = [
        c
        for c in range(len(support))
        if len(support[c]) >= least and (query is None or len(query[c]) >= 1)
    ]
    whole = Source(
        source.name, source.classes, tuple(support), None if query is None else tuple(query)
    )
    return whole.subset(chosen)
