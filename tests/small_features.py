"""Features of a few photos, such as a network gives, and the heads that learn from them."""

import numpy as np
import torch
from torch import Tensor

from litecli.heads.heads import HEADS

NAMES = tuple(HEADS)


def photos(counts, dim=24, noise=1.0, seed=0):
    """Float32 features and labels of classes around random centres, like a network's."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(counts)), counts)
    centres = rng.normal(size=(len(counts), dim))
    features = 1 + centres[labels] + noise * rng.normal(size=(len(labels), dim))
    return features.astype(np.float32), labels


MAHALANOBIS = HEADS["mahalanobis"]
COUNTS = {
    "one photo": [1],
    "one of each": [1, 1, 1, 1],
    "one class": [6],
    "equal": [4, 4, 4],
    "unequal": [1, 9, 2, 5],
    "60 classes": [1, 2, 3] * 20,
    "many": [31] * 7,  # of 150 features too
    "many in few classes": [10, 40, 50],
}


def dense(features: Tensor, labels: Tensor, queries: Tensor) -> Tensor:
    """The paper's formula, one D x D solve per class; one photo has no covariance."""
    num_photos, num_features = features.shape
    rest = features - features.mean(0)
    task = rest.T @ rest / max(num_photos - 1, 1)
    scores = []
    for label in range(int(labels.max()) + 1):
        own = features[labels == label]
        count, rest = len(own), own - own.mean(0)
        covariance = rest.T @ rest / (count - 1) if count > 1 else torch.zeros_like(task)
        share = count / (count + 1)
        metric = share * covariance + (1 - share) * task + torch.eye(num_features).to(task)
        gap = queries - own.mean(0)
        scores.append(-(gap * torch.linalg.solve(metric, gap.T).T).sum(1))
    return torch.stack(scores, 1)


def task(counts, dim, seed=0, dtype=torch.float64):
    """Support features, labels and queries, far from zero and with loud directions."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    loud = torch.linspace(0.2, 3, dim)
    support, queries = (
        5 + loud * torch.randn(n, dim, generator=generator) for n in (len(labels), 7)
    )
    return support.to(dtype), labels, queries.to(dtype)


def fitted(support, labels):
    return MAHALANOBIS.fit(support, labels, int(labels.max()) + 1, strength=0.0, lam=0.0)


DIM = 48


class World:
    """Objects that are points, their photos noisy copies; some pairs of objects are look-alikes."""

    def __init__(self, objects: int, seed: int, noise: float = 0.75) -> None:
        self.rng = np.random.default_rng(seed)
        self.noise = noise
        self.centres = 1 + self.rng.normal(size=(objects, DIM))
        self.centres[1::4] = self.centres[::4][: len(self.centres[1::4])] + 0.4 * self.rng.normal(
            size=self.centres[1::4].shape
        )

    def shots(self, labels: np.ndarray) -> np.ndarray:
        drawn = self.centres[labels] + self.noise * self.rng.normal(size=(len(labels), DIM))
        return drawn.astype(np.float32)


def greys_of(count: int) -> np.ndarray:
    """Greys of photos of which no two are one view."""
    return np.random.default_rng(5).integers(-64, 64, (count, 256)).astype(np.int8)
