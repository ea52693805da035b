"""Accuracy on few-shot tasks, with its interval and what adapting costs."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from litecli import heads, images
from litecli.datasets import Dataset, read_dataset
from litecli.encoder import Encoder
from litecli.episodes import Episode, Source, sample_fixed
from litecli.errors import ExitCode, LiteError, PhotoError
from litecli.model_library import Model

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Evaluation:
    """Mean query accuracy of the tasks (a fraction), its 95 % interval, and the cost to adapt."""

    accuracy: float
    ci95: float  # 1.96 x sample standard deviation / sqrt(tasks)
    tasks: int
    way: int
    shots: int
    query: int
    head: str
    images: int
    classes: int
    skipped: int
    adapt_seconds: float  # encode and fit one task's support set, mean
    adapt_macs: int  # multiply-accumulates of one task's support set
    passes: int  # forward passes over the support set
    images_per_second: float  # decoded and encoded


def evaluate(
    folder: Path,
    model: Model,
    *,
    way: int = 5,
    shots: int = 5,
    query: int = 15,
    tasks: int = 600,
    seed: int = 0,
    head: str | None = None,
    lam: float | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Accuracy of `model` on tasks drawn from a folder of class folders.

    Photos go through the loader, the preprocessing and the graph that `adapt` and `classify` use.
    `head` is cosine, euclidean, ridge or auto (chosen per task by leave-one-out); None is the
    model's own. Raises LiteError: too few classes or photos for the task (INPUT).
    """
    dataset = read_dataset([folder])
    one_source(dataset, folder, way)  # too few classes: say so before any photo is read
    encoder = Encoder(model.folder)
    started = time.perf_counter()
    features, usable = encode_dataset(dataset, encoder, model, progress)
    rate = int(usable.sum()) / max(time.perf_counter() - started, 1e-9)
    kept = dataset.keep(usable)
    source = one_source(kept, folder, way)
    check_shots(source, folder, shots)
    chosen = head or model.config.head
    accuracies = [
        task_accuracy(features, sample_fixed(source, way, shots, query, seed, k), chosen, lam)
        for k in range(tasks)
    ]
    seconds, macs = adapt_cost(model, encoder, features, source, (way, shots, seed), chosen)
    mean, ci95 = mean_and_interval(accuracies)
    return Evaluation(
        accuracy=mean,
        ci95=ci95,
        tasks=tasks,
        way=way,
        shots=shots,
        query=query,
        head=chosen,
        images=int(usable.sum()),
        classes=len(source.classes),
        skipped=int((~usable).sum()),
        adapt_seconds=seconds,
        adapt_macs=macs,
        passes=1,
        images_per_second=rate,
    )


def one_source(dataset: Dataset, folder: Path, way: int) -> Source:
    """The folder's classes, or LiteError (INPUT) when there are fewer than `way`."""
    found, people = dataset.num_classes(), len(dataset.sources)
    if people > 1:
        raise LiteError(
            f"{folder} holds the objects of {people} people, not one collection.",
            "Tasks are drawn from one folder of class folders.",
            f"litecli evaluate {folder / dataset.sources[0].name}",
            code=ExitCode.INPUT,
        )
    if found < way:
        raise LiteError(
            f"{folder} has {found} usable classes; a {way}-way task needs {way}.",
            fix=f"--way {found}" if found >= 2 else "",
            code=ExitCode.INPUT,
        )
    return dataset.sources[0]


def check_shots(source: Source, folder: Path, shots: int) -> None:
    """LiteError (INPUT) when no class has a photo to ask about beside its `shots`."""
    most = max(len(pool) for pool in source.support)
    if most <= shots:
        raise LiteError(
            f"No class in {folder} has more than {shots} photos; a {shots}-shot task needs that.",
            fix=f"--shots {most - 1}",
            code=ExitCode.INPUT,
        )


def encode_dataset(
    dataset: Dataset, encoder: Encoder, model: Model, progress: Progress | None
) -> tuple[np.ndarray, np.ndarray]:
    """Features float32 [n, D] of every photo, and which could be read, bool [n]."""

    def read(path: Path) -> np.ndarray | None:
        try:
            return images.load_input(path, model.config.preprocess)[0]
        except PhotoError:
            return None

    count = len(dataset.paths)
    features = np.zeros((count, model.config.num_features), np.float32)
    usable = np.zeros(count, bool)
    for n, pixels in enumerate(images.in_order(read, dataset.paths, workers=2, ahead=16)):
        if pixels is not None:
            features[n] = encoder.encode(pixels[None])[0]
            usable[n] = True
        if progress is not None:
            progress(n + 1, count)
    return features, usable


def task_accuracy(
    features: np.ndarray, episode: Episode, head: str, lam: float | None = None
) -> float:
    """Share of an episode's query photos that the head names rightly, after seeing its support."""
    support, labels = features[episode.support], episode.support_labels
    if head == "auto":
        head = heads.choose_head(support, labels, episode.way)
    options = {"lam": lam} if head == "ridge" and lam is not None else {}
    params = heads.HEADS[head].fit(support, labels, episode.way, **options)
    scores = heads.HEADS[head].score(params, features[episode.query])
    return float((scores.argmax(axis=1) == episode.query_labels).mean())


def adapt_cost(
    model: Model,
    encoder: Encoder,
    features: np.ndarray,
    source: Source,
    shape: tuple[int, int, int],
    head: str,
    repeats: int = 3,
) -> tuple[float, int]:
    """Median seconds to encode and fit one task's support set, and its multiply-accumulates."""
    way, shots, seed = shape
    size = model.config.preprocess.image_size
    blank = np.zeros((1, 3, size, size), np.float32)
    seconds = []
    for k in range(repeats):
        episode = sample_fixed(source, way, shots, 1, seed, k)
        started = time.perf_counter()
        for _ in episode.support:
            encoder.encode(blank)
        task_accuracy(features, episode, head)
        seconds.append(time.perf_counter() - started)
    return float(np.median(seconds)), way * shots * network_macs(model)


def network_macs(model: Model) -> int:
    """Multiply-accumulates of the model's network for one image."""
    from litecli import backbone

    network = backbone.rebuild(model.config.architecture, model.config.architecture_args)
    return backbone.count_macs(network.eval(), model.config.preprocess.image_size)


def mean_and_interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean and the half-width of its 95 % interval, 1.96 s / sqrt(n)."""
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return float(np.mean(values)), 1.96 * spread / len(values) ** 0.5
