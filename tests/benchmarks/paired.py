"""Two models on the same few-shot tasks: is one better, by how much, within which interval?

    python tests/benchmarks/paired.py BEFORE AFTER COLLECTION... [--tasks 600]

BEFORE and AFTER are models' names or folders. Every task is solved with the features of both; the
differences vary much less than the accuracies do. Printed are both accuracies and the mean
difference in points with its 95 % interval, by the cosine and the ridge head (lambda 0.1).
"""

import argparse
from pathlib import Path

import numpy as np

from litecli.evaluation.baselines import named_head
from litecli.evaluation.evaluation import encode_dataset, mean_and_interval, solve_task
from litecli.evaluation.solvers import FrozenFeatures
from litecli.library.model_library import Model, find_model
from litecli.networks.encoder import Encoder
from litecli.tasks.datasets import Dataset, read_dataset
from litecli.tasks.episodes import Episode, sample_fixed

HEADS = {"cosine": None, "ridge": 0.1}  # and their lambda
QUERY = 5


def shapes(classes: int, photos: int) -> list[tuple[int, int]]:
    """Way and shots of the tasks that a collection allows, its least class having `photos`."""
    wanted = ((5, 1), (5, 5), (min(20, classes), 5)) if photos > 5 else ((5, 1), (classes, 3))
    return [(min(way, classes), shots) for way, shots in wanted]


def features_of(model: Model, dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Features [N, D] of a collection's photos, all readable, and [N, looks, D] of each look."""
    seen, encoder = model.config.preprocess, Encoder(model.folder)
    looks, usable = encode_dataset(dataset, encoder, model, None, support_looks=seen.support_looks)
    assert usable.all(), "a photo cannot be read"
    return looks[:, : len(seen.look_shares)].mean(axis=1), looks


def accuracies(
    features: np.ndarray, looks: np.ndarray, tasks: list[Episode], lam: float | None
) -> np.ndarray:
    """Of each task: the ridge head learns from each look, the cosine head from their mean."""
    fit = named_head("cosine" if lam is None else "ridge", lam)
    several = lam is not None and looks.shape[1] > 1
    solver = FrozenFeatures(features, fit, looks if several else None)
    return np.array([solve_task(solver, task)[0] for task in tasks])


def main() -> None:
    parser = argparse.ArgumentParser(description="Two models on the same tasks.")
    parser.add_argument("before")
    parser.add_argument("after")
    parser.add_argument("collections", nargs="+", type=Path)
    parser.add_argument("--tasks", type=int, default=600)
    arguments = parser.parse_args()
    models = [find_model(name) for name in (arguments.before, arguments.after)]
    print(f"{'collection':>12} {'task':>14} {'head':>7}  before  after  difference, points")
    for folder in arguments.collections:
        dataset = read_dataset([folder])
        source = dataset.sources[0]
        least = min(len(pool) for pool in source.support)
        seen = [features_of(model, dataset) for model in models]
        for way, shots in shapes(len(source.classes), least):
            numbers = range(arguments.tasks)
            tasks = [sample_fixed(source, way, shots, QUERY, 0, k) for k in numbers]
            for head, lam in HEADS.items():
                before, after = (100 * accuracies(*one, tasks, lam) for one in seen)
                mean, interval = mean_and_interval(list(after - before))
                print(
                    f"{folder.name:>12} {way:>3}-way {shots}-shot {head:>7}  {before.mean():>6.1f}"
                    f" {after.mean():>6.1f}  {mean:+.2f} ± {interval:.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
