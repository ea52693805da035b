"""Accuracy of a model in training on few-shot tasks of classes that it is not trained on."""

import math
from dataclasses import replace

import numpy as np
import torch

from litecli.augment import View
from litecli.config import HEADS, TrainConfig
from litecli.episodes import Source, sample_fixed
from litecli.evaluation import task_accuracy
from litecli.model import FewShotModel
from litecli.training_data import TrainingData

VAL_WAY, VAL_SHOTS, VAL_QUERY = 20, 5, 5  # hard enough to show progress
VAL_IMAGES_PER_CLASS = 20
VAL_CLASSES = 60


def validate(
    model: FewShotModel, data: TrainingData, config: TrainConfig, bf16: bool
) -> tuple[int, list[float]]:
    """Accuracies of validation tasks (nearest class mean by cosine) and their largest way.

    Every validation source gets its share of `val_tasks`; the tasks are the same each time.
    """
    accuracies: list[float] = []
    largest = 0
    head = model.head if model.head in HEADS else "cosine"
    for number, source in enumerate(data.validation):
        reduced, numbers = _thinned(source)
        view = View(data.squares, model.backbone.preprocess)
        with torch.no_grad():
            batches = [
                model.features(view(numbers[i : i + config.chunk]), bf16).cpu().numpy()
                for i in range(0, len(numbers), config.chunk)
            ]
        way = min(VAL_WAY, len(reduced.classes))
        largest = max(largest, way)
        tasks = math.ceil(config.val_tasks / len(data.validation))
        features = np.concatenate(batches)
        for k in range(tasks):
            episode = sample_fixed(reduced, way, VAL_SHOTS, VAL_QUERY, config.seed + number, k)
            lam = 0.1 if head == "ridge" else None
            accuracies.append(task_accuracy(features, episode, head, lam))
    return largest, accuracies


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
