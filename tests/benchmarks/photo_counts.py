"""Recall of an object with one photo beside objects with ten, and what the correction costs.

    python tests/benchmarks/photo_counts.py DATA MODEL [--tasks 600] [--way 5] [--head NAME ...]

DATA is a folder of class folders, MODEL a model's name or folder. Every task draws its objects
and photos at random, asks five new photos of each object, and is answered by every head without
the photo-count correction and with it. Then the same with five photos of every object.
"""

import argparse
from pathlib import Path

import numpy as np

from litecli.evaluation.evaluation import encode_dataset, one_source
from litecli.heads.heads import HEADS
from litecli.library.model_library import find_model
from litecli.networks.encoder import Encoder
from litecli.tasks.datasets import read_dataset

ASKED = 5  # new photos of each object


def draw(
    photos: list[np.ndarray], counts: list[int], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Support and query photos: object n of the task, drawn at random, gives counts[n] photos."""
    support, query = [], []
    for label, count in zip(rng.permutation(len(photos)), counts, strict=False):
        order = rng.permutation(photos[label])
        support.append(order[:count])
        query.append(order[count : count + ASKED])
    return np.concatenate(support), np.concatenate(query)


def measure(
    features: np.ndarray,
    looks: np.ndarray,
    photos: list[np.ndarray],
    counts: list[int],
    heads: list[str],
    tasks: int,
) -> dict[tuple[str, bool], np.ndarray]:
    """(head, corrected) -> [tasks, 2]: accuracy of all objects, and recall of the first one.

    `features` [n, D] are those of the photos, `looks` [n, V, D] those of each look at them.
    """
    results: dict[tuple[str, bool], list[tuple[float, float]]] = {}
    rng = np.random.default_rng(9)
    labels = np.repeat(np.arange(len(counts)), counts)
    asked = np.repeat(np.arange(len(counts)), ASKED)
    for _ in range(tasks):
        support, query = draw(photos, counts, rng)
        for name in heads:
            crops = looks[support] if looks.shape[1] > 1 else None
            task = (features[support], labels, len(counts))
            lam = HEADS[name].options(*task, strength=0.0, crops=crops)["lam"]
            for strength in (0.0, None):
                params = HEADS[name].fit(*task, strength=strength, lam=lam, crops=crops)
                scores = HEADS[name].score(params, features[query])
                right = scores.argmax(1) == asked
                found = (float(right.mean()), float(right[:ASKED].mean()))
                results.setdefault((name, strength is None), []).append(found)
    return {key: np.array(values) for key, values in results.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description="Recall of an object with few photos.")
    parser.add_argument("data", type=Path)
    parser.add_argument("model")
    parser.add_argument("--tasks", type=int, default=600)
    parser.add_argument("--way", type=int, default=5)
    parser.add_argument("--head", nargs="+", default=list(HEADS), choices=list(HEADS))
    arguments = parser.parse_args()
    model = find_model(arguments.model)
    dataset = read_dataset([arguments.data])
    seen, encoder = model.config.preprocess, Encoder(model.folder)
    looks, usable = encode_dataset(dataset, encoder, model, None, support_looks=seen.support_looks)
    features = looks[:, : len(seen.look_shares)].mean(axis=1)
    source = one_source(dataset.keep(usable), arguments.data, arguments.way)
    print(
        f"{arguments.data.name}, {model.name}, {arguments.tasks} tasks of {arguments.way} objects"
    )
    print(f"{'photos':>8} {'head':<12} {'plain':>6} {'recall':>7} {'corrected':>10} {'recall':>7}")
    for counts in ([1] + [10] * (arguments.way - 1), [5] * arguments.way):
        most = max(counts) + ASKED
        photos = [np.array(pool) for pool in source.support if len(pool) >= most]
        found = measure(features, looks, photos, counts, arguments.head, arguments.tasks)
        for name in arguments.head:
            plain, corrected = (100 * found[name, chosen].mean(0) for chosen in (False, True))
            shown = f"{counts[0]},{counts[1]},..."
            print(
                f"{shown:>8} {name:<12} {plain[0]:>6.1f} {plain[1]:>7.1f} "
                f"{corrected[0]:>10.1f} {corrected[1]:>7.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
