"""Time of the Mahalanobis head against the usual dense form, by batched Cholesky.

    python tests/benchmarks/mahalanobis_head.py [--way 5 10 20 50] [--photos 1 5 10 20 50]
                                                [--features 384 768 1280] [--backward]

A cell fits C classes of n photos with D features and scores one batch of 5 C queries. `dense` is
torch: covariances [C, D, D], one batched Cholesky, one triangular solve; `numpy` is the same by
numpy, whose solve of all classes at once is faster than its Cholesky and solve. `profile` is the
low-rank form that `adapt` uses (numpy: it never loads torch), and how many times faster than
`dense` and than `numpy` it is; `training` the form that gradients flow through (torch), against
`dense`. Unequal counts run evenly from 1 to 2 n - 1. One thread, processor seconds, the median of
interleaved runs. With --backward the gradient of the scores' sum is part of `dense` and `training`.
"""

import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from litecli.heads import HEADS

HEAD = HEADS["mahalanobis"]
QUERIES = 5  # of each class


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
    """Median processor seconds of each run, in turn, after one warm-up."""
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    while min(len(times) for times in taken.values()) < 3 or (
        sum(map(sum, taken.values())) < seconds and len(taken["dense"]) < 50
    ):
        for name, run in runs.items():
            started = time.process_time()
            run()
            taken[name].append(time.process_time() - started)
    return {name: float(np.median(times)) for name, times in taken.items()}


def measure(
    counts: list[int], num_features: int, seconds: float, backward: bool
) -> tuple[dict[str, float], float]:
    """Seconds by form, and the largest relative difference of a score from the dense form's."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(len(counts)), counts)
    centres = rng.normal(size=(len(counts), num_features))
    asked = np.repeat(np.arange(len(counts)), QUERIES)
    features, queries = (
        (centres[which] + rng.normal(size=(len(which), num_features))).astype(np.float32)
        for which in (labels, asked)
    )
    leaves = torch.from_numpy(features).requires_grad_()
    there, new = torch.from_numpy(labels), torch.from_numpy(queries)

    def profile() -> np.ndarray:
        params = HEAD.fit(features, labels, len(counts), strength=0.0, lam=0.0)
        return HEAD.score(params, queries)

    def training() -> Tensor:
        params = HEAD.fit(leaves, there, len(counts), strength=0.0, lam=0.0)
        return HEAD.score(params, new)

    def baseline() -> Tensor:
        return dense(leaves, counts, new)

    def with_gradient(run: Callable[[], Tensor]) -> Callable[[], None]:
        def both() -> None:
            leaves.grad = None
            run().sum().backward()

        return both

    expected = baseline().detach().numpy()
    found = (profile(), training().detach().numpy(), dense_numpy(features, counts, queries))
    difference = max(float(np.abs(scores / expected - 1).max()) for scores in found)
    runs: dict[str, Callable[[], object]] = {"dense": baseline, "training": training}
    if backward:
        runs = {
            name: with_gradient(run) for name, run in (("dense", baseline), ("training", training))
        }
    runs["numpy"] = lambda: dense_numpy(features, counts, queries)
    return medians(runs | {"profile": profile}, seconds), difference


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed of the Mahalanobis head.")
    parser.add_argument("--way", type=int, nargs="+", default=[5, 10, 20, 50])
    parser.add_argument("--photos", type=int, nargs="+", default=[1, 5, 10, 20, 50])
    parser.add_argument("--features", type=int, nargs="+", default=[384, 768, 1280])
    parser.add_argument("--seconds", type=float, default=1.0, help="of repetitions, each cell")
    parser.add_argument("--backward", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(
        f"{'D':>5} {'C':>3} {'n':>3} {'counts':>8} {'dense ms':>9} {'numpy':>9} {'profile':>23} "
        f"{'training':>15}"
    )
    for num_features in arguments.features:
        for way in arguments.way:
            for count in arguments.photos:
                unequal = np.linspace(1, 2 * count - 1, way).round().astype(int).tolist()
                for name, counts in (("equal", [count] * way), ("unequal", unequal)):
                    if name == "unequal" and count == 1:
                        continue
                    taken, difference = measure(
                        counts, num_features, arguments.seconds, arguments.backward
                    )
                    dense_ms, numpy_ms, profile_ms, training_ms = (
                        1e3 * taken[form] for form in ("dense", "numpy", "profile", "training")
                    )
                    print(
                        f"{num_features:>5} {way:>3} {count:>3} {name:>8} {dense_ms:>9.2f} "
                        f"{numpy_ms:>9.2f} {profile_ms:>7.2f} {dense_ms / profile_ms:>6.1f}x "
                        f"{numpy_ms / profile_ms:>6.1f}x {training_ms:>7.2f} "
                        f"{dense_ms / training_ms:>6.1f}x"
                        + ("" if difference < 1e-5 else f"  differs by {difference:.0e}"),
                        flush=True,
                    )


if __name__ == "__main__":
    main()
