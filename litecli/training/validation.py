"""Accuracy of a model in training on few-shot tasks of classes that it is not trained on."""

from collections.abc import Generator
from dataclasses import replace

import numpy as np
import torch

from litecli.config import TrainConfig
from litecli.evaluation import baselines, solvers
from litecli.evaluation.defaults import Baseline
from litecli.evaluation.evaluation import solve_task
from litecli.evaluation.solvers import FrozenFeatures, TaskSolver
from litecli.heads.ridge import USUAL_LAMBDA
from litecli.image_stream import ImagesByNumber
from litecli.lite import encode_all
from litecli.networks.model import FewShotModel
from litecli.pictures.augment import View
from litecli.pictures.training_data import TrainingData
from litecli.tasks.episodes import Source, sample_fixed
from litecli.threads import workers
from litecli.training.events import Validating

VAL_WAY, VAL_SHOTS, VAL_QUERY = 20, 5, 5  # hard enough to show progress
VAL_IMAGES_PER_CLASS = 20
VAL_CLASSES = 60
COSTLY_TASKS = 20  # at most, of a learner whose tasks share no features


def validate(
    model: FewShotModel, data: TrainingData, config: TrainConfig, bf16: bool
) -> Generator[Validating, None, tuple[int, list[float]]]:
    """Accuracies of validation tasks, each adapted to as the learner does, and their largest way.

    Both are returned; what is yielded tells how far it is, where that takes long. The validation
    sources share `val_tasks` evenly, to a task; the tasks are the same each time. With FiLM or MAML
    each task sends its own photos through the network, so all sources together get at most
    COSTLY_TASKS: fewer, but still the same ones each time, so that models compare. Of more sources
    than tasks, some get none.
    """
    accuracies: list[float] = []
    largest = 0
    costly = model.has_film or config.learner == "maml"
    wanted = min(config.val_tasks, COSTLY_TASKS) if costly else config.val_tasks
    num_sources = len(data.validation)
    for number, source in enumerate(data.validation):
        share = (number + 1) * wanted // num_sources - number * wanted // num_sources
        if not share:
            continue
        reduced, numbers = _thinned(source)
        cores, device = workers(config.workers), model.log_scale.device
        view = View(data.squares, model.backbone.preprocess, threads=cores, device=device)
        solver = _solver(model, view, numbers, config, bf16)
        way = min(VAL_WAY, len(reduced.classes))
        largest = max(largest, way)
        for k in range(share):
            episode = sample_fixed(reduced, way, VAL_SHOTS, VAL_QUERY, config.seed + number, k)
            accuracies.append(solve_task(solver, episode)[0])
            if costly:
                yield Validating(len(accuracies), wanted)
    return largest, accuracies


def _solver(
    model: FewShotModel, view: View, numbers: list[int], config: TrainConfig, bf16: bool
) -> TaskSolver:
    """What solves tasks of the photos 0 to n-1, `numbers` [n] being theirs in the data."""
    rows = np.array(numbers)

    def inputs(chosen: np.ndarray) -> torch.Tensor:
        return view(rows[chosen].tolist())

    if config.learner == "maml":
        steps = Baseline("maml", config.inner_steps, config.inner_lr)
        return baselines.maml_solver(model, inputs, steps, config.chunk, bf16)
    if model.head == "generated":
        fit = baselines.own_head(model)
    else:
        fit = baselines.named_head(model.head, USUAL_LAMBDA if model.head == "ridge" else None)
    everything = np.arange(len(rows))
    if model.has_film:
        return solvers.film_features(model, inputs, everything, fit, config.chunk, bf16)
    features = encode_all(
        lambda images: model.features(images, bf16),
        ImagesByNumber(inputs, everything),
        config.chunk,
        model.log_scale.device,
    )
    return FrozenFeatures(features.cpu().numpy(), fit)


def _thinned(source: Source) -> tuple[Source, list[int]]:
    """At most VAL_CLASSES classes of VAL_IMAGES_PER_CLASS photos, renumbered, and their numbers."""
    numbers: list[int] = []

    def renumber(pool: tuple[int, ...]) -> tuple[int, ...]:
        kept = pool[:VAL_IMAGES_PER_CLASS]
        numbers.extend(kept)
        return tuple(range(len(numbers) - len(kept), len(numbers)))

    source = source.subset(range(min(VAL_CLASSES, len(source.classes))))
    support = tuple(renumber(pool) for pool in source.support)
    query = None if source.query is None else tuple(renumber(pool) for pool in source.query)
    return replace(source, support=support, query=query), numbers
