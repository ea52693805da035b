"""Accuracy on few-shot tasks, with its interval and what adapting costs."""

import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from litecli.errors import ExitCode, LiteError, PhotoError
from litecli.evaluation.defaults import Baseline, EvaluateDefaults
from litecli.evaluation.methods import choose_method
from litecli.evaluation.solvers import TaskSolver
from litecli.library.model_files import Model
from litecli.networks import backbone
from litecli.networks.encoder import Encoder
from litecli.networks.parts import count_macs
from litecli.photos import images
from litecli.tasks.datasets import Dataset, read_dataset, user_folder
from litecli.tasks.episodes import Episode, Source, sample_fixed
from litecli.threads import in_order

Progress = Callable[[int, int], None]
TASKS = EvaluateDefaults()


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
    baseline: str  # "" = the model's own way, or a head
    images: int
    classes: int
    skipped: int
    short_classes: int  # classes with too few photos for `shots` and one query
    adapt_seconds: float  # from decoded support photos to a classifier, median
    adapt_macs: int  # multiply-accumulates of the networks over one task's support set, mean
    adapt_parameters: int  # numbers that adapting sets, median
    passes: int  # over the support set; a gradient step is three forward passes
    looks: int  # at each photo, of the model's own `model_looks`
    model_looks: int
    images_per_second: float  # decoded, and encoded
    encoded: bool  # ahead of the tasks; False: each sends its own photos through the network


def evaluate(
    folder: Path,
    model: Model,
    *,
    way: int = TASKS.way,
    shots: int = TASKS.shots,
    query: int = TASKS.query,
    tasks: int = TASKS.tasks,
    seed: int = 0,
    head: str | None = None,
    lam: float | None = None,
    baseline: Baseline | None = None,
    device: str = "cpu",
    progress: Callable[[str], Progress] | None = None,
) -> Evaluation:
    """Accuracy of `model` on tasks drawn from a folder of class folders.

    Photos go through the loader, the preprocessing and the graph that `adapt` and `classify` use.
    `head` is one of config.HEAD_NAMES or auto (chosen per task by leave-one-out); None is the
    model's own. A `baseline` adapts the model's plain network in its own way instead. Gradient
    steps on photos and FiLM run through torch on `device`, and hold the decoded photos in memory.
    `progress(label)` makes the function that is told (done, total).
    Raises LiteError: too few classes or photos for the task (INPUT).
    """
    dataset = read_dataset([folder])
    one_source(dataset, folder, way)  # too few classes: say so before any photo is read
    encoder = Encoder(model.folder)
    method = choose_method(model, encoder, head, lam, baseline, device)
    started = time.perf_counter()
    shown = progress("Photos") if progress else None
    seen, usable = (
        decode_dataset(dataset, model, shown)
        if method.needs_photos
        else encode_dataset(dataset, encoder, model, shown, method.support_looks)
    )
    rate = int(usable.sum()) / max(time.perf_counter() - started, 1e-9)
    source = one_source(dataset.keep(usable), folder, way)
    check_shots(source, folder, shots)

    solver = method.solver(seen)
    accuracies, seconds, sizes, numbers = [], [], [], []
    shown = progress("Tasks") if progress and method.needs_photos else None
    for k in range(tasks):
        episode = sample_fixed(source, way, shots, query, seed, k)
        accuracy, taken, num_parameters = solve_task(solver, episode)
        accuracies.append(accuracy)
        seconds.append(taken + len(episode.support) * method.seconds_ahead)
        sizes.append(len(episode.support))
        numbers.append(num_parameters)
        if shown is not None:
            shown(k + 1, tasks)
    mean, ci95 = mean_and_interval(accuracies)
    looks = method.looks + method.support_looks
    macs = method.passes * looks * network_macs(model) + method.other_macs
    return Evaluation(
        accuracy=mean,
        ci95=ci95,
        tasks=tasks,
        way=way,
        shots=shots,
        query=query,
        head=method.head,
        baseline=baseline.name if baseline else "",
        images=int(usable.sum()),
        classes=len(source.classes),
        skipped=int((~usable).sum()),
        short_classes=short_classes(source, shots),
        adapt_seconds=float(np.median(seconds)),
        adapt_macs=round(float(np.mean(sizes)) * macs),
        adapt_parameters=int(np.median(numbers)),
        passes=method.passes,
        looks=method.looks,
        model_looks=len(model.config.preprocess.look_shares),
        images_per_second=rate,
        encoded=not method.needs_photos,
    )


def one_source(dataset: Dataset, folder: Path, way: int) -> Source:
    """The folder's classes, or LiteError (INPUT) when there are fewer than `way`."""
    found, people = dataset.num_classes(), len(dataset.sources)
    if people > 1:
        raise LiteError(
            f"{folder} holds the objects of {people} people, not one collection.",
            "Tasks are drawn from one folder of class folders.",
            f"litecli evaluate {shlex.quote(str(user_folder(dataset, dataset.sources[0])))}",
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
    kept = 1 if source.query is None else 0  # ORBIT asks about photos of other videos
    most = max(len(pool) for pool in source.support) - kept
    if most < shots:
        least = "more than" if kept else "as many as"
        raise LiteError(
            f"No class in {folder} has {least} {shots} photos; a {shots}-shot task needs that.",
            fix=f"--shots {most}",
            code=ExitCode.INPUT,
        )


def short_classes(source: Source, shots: int) -> int:
    """How many classes give a task fewer than `shots` support photos."""
    kept = 1 if source.query is None else 0  # one photo is always left to ask about
    return sum(len(pool) - kept < shots for pool in source.support)


def encode_dataset(
    dataset: Dataset,
    encoder: Encoder,
    model: Model,
    progress: Progress | None,
    support_looks: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Features float32 [n, looks, D] of every photo, and which could be read, bool [n].

    So many `support_looks` follow the model's own looks.
    """
    preprocess = model.config.preprocess

    def encoded(path: Path) -> np.ndarray:
        looks, _ = images.load_looks(path, preprocess, support_looks)
        return encoder.encode(images.to_input(looks, preprocess))

    count, num_looks = len(dataset.paths), len(preprocess.look_shares) + support_looks
    features = np.zeros((count, num_looks, model.config.num_features), np.float32)
    usable = np.zeros(count, bool)
    for n, found in _each_usable(encoded, dataset.paths, progress):
        features[n], usable[n] = found, True
    return features, usable


def decode_dataset(
    dataset: Dataset, model: Model, progress: Progress | None
) -> tuple[dict[int, np.ndarray], np.ndarray]:
    """The model's first look at every photo, uint8 [S, S, 3] by number; and as `encode_dataset`."""

    def square(path: Path) -> np.ndarray:
        return images.load_looks(path, model.config.preprocess)[0][0]

    squares = dict(_each_usable(square, dataset.paths, progress))
    usable = np.zeros(len(dataset.paths), bool)
    usable[list(squares)] = True
    return squares, usable


def _each_usable(
    read: Callable[[Path], np.ndarray], paths: Sequence[Path], progress: Progress | None
) -> Iterator[tuple[int, np.ndarray]]:
    """The number of every photo that can be used, and what `read`, in threads, makes of it."""

    def attempt(path: Path) -> np.ndarray | None:
        try:
            return read(path)
        except PhotoError:
            return None

    for n, found in enumerate(in_order(attempt, paths)):
        if found is not None:
            yield n, found
        if progress is not None:
            progress(n + 1, len(paths))


def solve_task(solver: TaskSolver, episode: Episode) -> tuple[float, float, int]:
    """Share of an episode's query photos that are named rightly after learning its support set.

    Also the seconds that learning took, and how many numbers it set.
    """
    started = time.perf_counter()
    classifier = solver.adapt(episode.support, episode.support_labels)
    seconds = time.perf_counter() - started
    scores = classifier.scores(episode.query)
    # What has diverged names nothing; the first class is what `argmax` makes of NaN.
    named = np.where(np.isfinite(scores).all(axis=1), scores.argmax(axis=1), -1)
    return float((named == episode.query_labels).mean()), seconds, classifier.num_parameters


def network_macs(model: Model) -> int:
    """Multiply-accumulates of the model's network for one look at a photo."""
    network = backbone.rebuild(model.config)
    return count_macs(network.eval(), model.config.preprocess.image_size)


def mean_and_interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean and the half-width of its 95 % interval, 1.96 s / sqrt(n)."""
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return float(np.mean(values)), 1.96 * spread / len(values) ** 0.5
