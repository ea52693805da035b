"""Time of the Mahalanobis head against the usual dense form, in each library.

    python tests/benchmarks/mahalanobis_head.py [--way 5 10 20 50] [--photos 1 5 10 20 50]
                                                [--features 384 768 1280]

A cell fits C classes of n photos with D features and scores one batch of 5 C queries, and times
the dense form and ours three times:

    numpy      as `adapt` does it, which never loads torch. Dense: covariances [C, D, D] and one
               solve of all classes at once (faster than numpy's Cholesky and solve)
    torch      without a gradient. Dense: one batched Cholesky, one triangular solve
    gradient   torch, with the gradient of the scores' sum: training

Each shows the milliseconds of ours and how many times faster than its dense form it is. Unequal
counts run evenly from 1 to 2 n - 1. One thread, processor seconds, medians of interleaved runs.
"""

import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from litecli.heads.heads import HEADS

HEAD = HEADS["mahalanobis"]
QUERIES = 5  # of each class
LIBRARIES = ("numpy", "torch", "gradient")


def dense(features: Tensor, counts: list[int], queries: Tensor) -> Tensor:
    """Scores [M, C] by covariances [C, D, D]; features [N, D] sorted by class."""
    num_photos, num_features = features.shape
    rest = features - features.mean(0)
    task = rest.T @ rest / max(num_photos - 1, 1)
    eye = torch.eye(num_features)
    means, metrics = [], []
    for rows in features.split(counts):
        count, mean = len(rows), rows.mean(0)
        metric = eye + task / (count + 1)
        if count > 1:
            rest = rows - mean
            metric = torch.addmm(metric, rest.T, rest, alpha=count / ((count + 1) * (count - 1)))
        means.append(mean)
        metrics.append(metric)
    factors = torch.linalg.cholesky(torch.stack(metrics))
    gaps = (queries - torch.stack(means)[:, None]).mT
    return -torch.linalg.solve_triangular(factors, gaps, upper=False).square().sum(1).T


def dense_numpy(features: np.ndarray, counts: list[int], queries: np.ndarray) -> np.ndarray:
    """The same without torch."""
    num_photos, num_features = features.shape
    rest = features - features.mean(0)
    task = rest.T @ rest / max(num_photos - 1, 1)
    eye = np.eye(num_features, dtype=features.dtype)
    means, metrics = [], []
    for rows in np.split(features, np.cumsum(counts)[:-1]):
        count, mean = len(rows), rows.mean(0)
        metric = eye + task / (count + 1)
        if count > 1:
            rest = rows - mean
            metric += (rest.T @ rest) * np.float32(count / ((count + 1) * (count - 1)))
        means.append(mean)
        metrics.append(metric)
    gaps = (queries - np.stack(means)[:, None]).swapaxes(1, 2)  # [C, D, M]
    return -(gaps * np.linalg.solve(np.stack(metrics), gaps)).sum(1).T


def medians(runs: dict[str, Callable[[], object]], seconds: float) -> dict[str, float]:
    """Median processor milliseconds of each run, in turn, after one warm-up."""
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    while min(len(times) for times in taken.values()) < 3 or (
        sum(map(sum, taken.values())) < seconds and len(taken["numpy"]) < 50
    ):
        for name, run in runs.items():
            started = time.process_time()
            run()
            taken[name].append(time.process_time() - started)
    return {name: 1e3 * float(np.median(times)) for name, times in taken.items()}


def ours(features: Tensor | np.ndarray, labels: Tensor | np.ndarray, way: int, queries: Any) -> Any:
    params = HEAD.fit(features, labels, way, strength=0.0, lam=0.0)
    return HEAD.score(params, queries)


def measure(counts: list[int], num_features: int, seconds: float) -> tuple[dict[str, float], float]:
    """Milliseconds by library and form, and the largest relative difference of a score."""
    rng, way = np.random.default_rng(0), len(counts)
    labels = np.repeat(np.arange(way), counts)
    centres = rng.normal(size=(way, num_features))
    features, queries = (
        (centres[which] + rng.normal(size=(len(which), num_features))).astype(np.float32)
        for which in (labels, np.repeat(np.arange(way), QUERIES))
    )
    known, there, new = map(torch.from_numpy, (features, labels, queries))
    leaves = known.clone().requires_grad_()

    def with_gradient(score: Callable[[], Tensor]) -> None:
        leaves.grad = None
        score().sum().backward()

    runs: dict[str, Callable[[], Any]] = {
        "numpy": lambda: ours(features, labels, way, queries),
        "numpy dense": lambda: dense_numpy(features, counts, queries),
        "torch": lambda: ours(known, there, way, new),
        "torch dense": lambda: dense(known, counts, new),
        "gradient": lambda: with_gradient(lambda: ours(leaves, there, way, new)),
        "gradient dense": lambda: with_gradient(lambda: dense(leaves, counts, new)),
    }
    expected = runs["torch dense"]().numpy()
    found = [np.asarray(runs[name]()) for name in ("numpy", "numpy dense", "torch")]
    difference = max(float(np.abs(scores / expected - 1).max()) for scores in found)
    return medians(runs, seconds), difference


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed of the Mahalanobis head.")
    parser.add_argument("--way", type=int, nargs="+", default=[5, 10, 20, 50])
    parser.add_argument("--photos", type=int, nargs="+", default=[1, 5, 10, 20, 50])
    parser.add_argument("--features", type=int, nargs="+", default=[384, 768, 1280])
    parser.add_argument("--seconds", type=float, default=1.0, help="of repetitions, each cell")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    heads = "".join(f"{library:>17}" for library in LIBRARIES)
    print(f"{'D':>5} {'C':>3} {'n':>3} {'counts':>8}{heads}")
    for num_features in arguments.features:
        for way in arguments.way:
            for count in arguments.photos:
                unequal = np.linspace(1, 2 * count - 1, way).round().astype(int).tolist()
                for name, counts in (("equal", [count] * way), ("unequal", unequal)):
                    if name == "unequal" and count == 1:
                        continue
                    taken, difference = measure(counts, num_features, arguments.seconds)
                    cells = "".join(
                        f"{taken[library]:>9.2f}{taken[f'{library} dense'] / taken[library]:>7.2f}x"
                        for library in LIBRARIES
                    )
                    odd = "" if difference < 1e-5 else f"  differs by {difference:.0e}"
                    print(
                        f"{num_features:>5} {way:>3} {count:>3} {name:>8}{cells}{odd}", flush=True
                    )


if __name__ == "__main__":
    main()
