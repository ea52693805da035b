"""Labelled images -> few-shot episodes: episode number k is a pure function of (seed, k).

The variable way and shot follow Meta-Dataset's sampler (Triantafillou et al., ICLR 2020,
section 3.2) with its ImageNet hierarchy left out, as in the LITE paper's experiments.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from litecli.config import EpisodeConfig


@dataclass(frozen=True)
class Source:
    """One collection: the image numbers of each class, split into a support and a query pool.

    For an ordinary folder both pools are the same photos; ORBIT draws support from its clean
    videos and queries from its clutter videos.
    """

    name: str
    classes: tuple[str, ...]
    support: tuple[tuple[int, ...], ...]  # per class, image numbers
    query: tuple[tuple[int, ...], ...] | None = None  # None: the support pool serves both

    def subset(self, chosen: Sequence[int]) -> "Source":
        """The same collection with only the classes numbered in `chosen`."""
        return Source(
            self.name,
            tuple(self.classes[c] for c in chosen),
            tuple(self.support[c] for c in chosen),
            None if self.query is None else tuple(self.query[c] for c in chosen),
        )


@dataclass(frozen=True)
class Episode:
    """Image numbers and labels (0 to way-1) of one task; int64 arrays [N], [N], [M], [M]."""

    source: str
    support: np.ndarray
    support_labels: np.ndarray
    query: np.ndarray
    query_labels: np.ndarray

    @property
    def way(self) -> int:
        """Number of classes."""
        return int(self.support_labels.max()) + 1


def sample_episode(sources: Sequence[Source], config: EpisodeConfig, seed: int, k: int) -> Episode:
    """Episode k: a source, then classes, then unequal numbers of support photos per class.

    Way is uniform in [way_min, way_max]; a class needs at least two photos. Classes with more
    photos tend to get more of the support set, times a random factor between 1/2 and 2.
    """
    rng = np.random.default_rng((seed, k))
    source = sources[int(rng.integers(len(sources)))]
    most = min(config.way_max, len(source.classes), config.support_max)
    way = int(rng.integers(min(config.way_min, most), most + 1))
    chosen = np.sort(rng.choice(len(source.classes), size=way, replace=False))
    if source.query is None:
        sizes = np.array([len(source.support[c]) for c in chosen])
        num_query = int(min(config.query, (sizes // 2).min()))
        support_room = sizes - num_query
    else:
        sizes = support_room = np.array([len(source.support[c]) for c in chosen])
        num_query = int(min(config.query, min(len(source.query[c]) for c in chosen)))

    shots = _support_counts(rng, sizes, support_room, config)
    support, query = [], []
    for c, shot in zip(chosen, shots, strict=True):
        pool = rng.permutation(source.support[c])
        support.append(pool[:shot])
        if source.query is None:
            query.append(pool[shot : shot + num_query])
        else:
            query.append(rng.permutation(source.query[c])[:num_query])
    return _episode(source.name, support, query)


def _support_counts(
    rng: np.random.Generator, sizes: np.ndarray, room: np.ndarray, config: EpisodeConfig
) -> np.ndarray:
    """Support photos per class [way]: at least one each, together support_min to support_max.

    100 photos of a class, and weights from a half to two, are Meta-Dataset's numbers.
    """
    way = len(sizes)
    wanted = np.floor(rng.uniform() * np.minimum(100, room) + 1).sum()
    total = max(way, config.support_min, int(min(config.support_max, wanted)))
    weights = sizes * np.exp(rng.uniform(np.log(0.5), np.log(2), size=way))
    share = np.floor(weights / weights.sum() * (total - way)).astype(np.int64) + 1
    shots = np.minimum(share, room)
    # Rounding down takes half a photo a class: a support_min above the classes gets them back,
    # where there are photos left, those with the most first.
    for _ in range(min(config.support_min, int(room.sum())) - int(shots.sum())):
        shots[np.argmax(room - shots)] += 1
    return shots


def sample_fixed(
    source: Source, way: int, shots: int, num_query: int, seed: int, k: int
) -> Episode:
    """Episode k of an evaluation: `way` classes, exactly `shots` + `num_query` photos of each.

    A class with too few photos gives its last ones to the query set (at least one each; where
    queries have a pool of their own, the support set takes what there is).
    """
    rng = np.random.default_rng((seed, k))
    chosen = np.sort(rng.choice(len(source.classes), size=way, replace=False))
    support, query = [], []
    for c in chosen:
        pool = rng.permutation(source.support[c])
        cut = min(shots, len(pool) - (source.query is None))
        support.append(pool[:cut])
        rest = pool[cut:] if source.query is None else rng.permutation(source.query[c])
        query.append(rest[:num_query])
    return _episode(source.name, support, query)


def hold_out_classes(
    sources: Sequence[Source], share: float, seed: int
) -> tuple[list[Source], list[Source]]:
    """Split every source's classes into training and validation classes, at random by `seed`.

    Fewer than five classes make no task worth measuring: five are held out at least, and a source
    of fewer than fifteen stays whole in the training part.
    """
    training, validation = [], []
    for number, source in enumerate(sources):
        count = len(source.classes)
        held = max(5, round(count * share)) if count >= 15 else 0
        order = np.random.default_rng((seed, number)).permutation(count)
        training.append(source.subset(sorted(order[held:].tolist())))
        if held:
            validation.append(source.subset(sorted(order[:held].tolist())))
    return training, validation


def _episode(source: str, support: list[np.ndarray], query: list[np.ndarray]) -> Episode:
    def labels(groups: list[np.ndarray]) -> np.ndarray:
        return np.repeat(np.arange(len(groups)), [len(group) for group in groups])

    return Episode(
        source,
        np.concatenate(support).astype(np.int64),
        labels(support),
        np.concatenate(query).astype(np.int64),
        labels(query),
    )
