"""Heads: support features and labels -> class parameters; query features -> scores.

    cosine     class means of unit-length features, to unit length; inner product
    euclidean  minus the squared distance to the class means (Snell et al., 2017)
    ridge      ridge regression of unit-length features onto one-hot labels (ridge.py)

The lines run unchanged on numpy arrays (adapt, classify) and on torch tensors (training, with
gradients through `fit` and `score`). Each head corrects for unequal photo counts
(photo_counts.py) and leaves photos out in closed form. Labels are 0..C-1, every class has a photo.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
from array_api_compat import device

from litecli.labelled import (
    HeldOut,
    array_namespace,
    class_counts,
    class_means,
    held_out_batches,
    normalise,
    one_hot,
    to_numpy,
)
from litecli.photo_counts import count_correction_strength, held_out_offsets, spread
from litecli.ridge import choose_lam, ridge_held_out, ridge_weights

Array = Any  # a numpy array or a torch tensor


class Options(TypedDict):
    """What a head is fitted with; `HEADS[name].fit(..., **options)`."""

    strength: float  # of the photo-count correction
    lam: float  # ridge's penalty; the other heads leave it unread


@dataclass(frozen=True)
class Head:
    """One way to turn photos into classes; pure functions, no state."""

    name: str
    unit_length: bool  # features are scaled to length 1 first
    factor: float  # of the photo-count correction; a half where a score is half a distance
    weights: Callable[[Array, Array, float], Array]  # features, one-hot labels, lam -> [C, D]
    similarity: Callable[[Array, Array], Array]  # weights [C, D], queries [M, D] -> [M, C]
    held_out: Callable[[Array, Array, float, list[HeldOut]], Array]  # -> [N, C]

    def fit(
        self,
        features: Array,
        labels: Array,
        num_classes: int,
        *,
        strength: float | None = None,
        lam: float | None = None,
        groups: Array | None = None,
    ) -> dict[str, Array]:
        """Class parameters `weights` [C, D] and `offsets` [C] of features [N, D], labels [N].

        What is None is chosen from the photos (`options`), which costs many fits: training
        passes numbers. `groups` [N] are photos held out together in that choice.
        """
        chosen = self.options(features, labels, num_classes, strength, lam, groups)
        known = self.prepared(features)
        targets = one_hot(labels, num_classes, known)
        offsets = spread(known, targets) / class_counts(targets)
        return {
            "weights": self.weights(known, targets, chosen["lam"]),
            "offsets": offsets * (chosen["strength"] * self.factor),
        }

    def score(self, params: dict[str, Array], queries: Array) -> Array:
        """Logits [M, C], up to a temperature, of queries [M, D].

        No row depends on another, but a matrix library may round a row otherwise in a batch of
        another size: whoever needs the same bits scores one row at a time.
        """
        return self.similarity(params["weights"], self.prepared(queries)) + params["offsets"]

    def leave_one_out(
        self,
        features: Array,
        labels: Array,
        num_classes: int,
        *,
        strength: float | None = None,
        lam: float | None = None,
        groups: Array | None = None,
    ) -> Array:
        """Scores [N, C]: row i by the head fitted without photo i and the rest of its group.

        Closed form, computed in float64; equals as many new fits with the same strength and the
        same lam / (mean photo count). A class that loses its last photo scores -inf in that row.
        """
        xp = array_namespace(features)
        chosen = self.options(features, labels, num_classes, strength, lam, groups)
        known = self.prepared(xp.astype(features, xp.float64))
        targets = one_hot(labels, num_classes, known)
        batches = held_out_batches(labels, groups)
        scores = self.held_out(known, targets, chosen["lam"], batches)
        if chosen["strength"] > 0:
            offsets = held_out_offsets(known, targets, batches)
            scores = scores + offsets * (chosen["strength"] * self.factor)
        counts = to_numpy(class_counts(targets))
        for batch in batches:
            for label, held in batch.counts:
                if counts[label] == held:
                    scores[xp.asarray(batch.members, device=device(scores)), label] = -xp.inf
        return xp.astype(scores, features.dtype)

    def options(
        self,
        features: Array,
        labels: Array,
        num_classes: int,
        strength: float | None = None,
        lam: float | None = None,
        groups: Array | None = None,
    ) -> Options:
        """`strength` and `lam`; what is None is chosen from the support photos alone."""
        if lam is None:
            lam = 0.0
            if self.name == "ridge":
                lam = choose_lam(self.prepared(features), labels, num_classes, groups)
        if strength is None:
            strength = count_correction_strength(
                self, features, labels, num_classes, lam=lam, groups=groups
            )
        return {"strength": strength, "lam": lam}

    def prepared(self, features: Array) -> Array:
        """Features [N, D] as this head uses them."""
        return normalise(features) if self.unit_length else features


def choose_head(features: Array, labels: Array, num_classes: int, groups: Array | None = None):
    """The head with the better leave-one-out accuracy (mean over objects) on its own photos.

    Ties go to the higher leave-one-out log-likelihood at the best temperature; where nothing can
    be left out (one photo of each object), to ridge.
    """
    labels = to_numpy(labels)
    results = {}
    for name, head in HEADS.items():
        scores = to_numpy(head.leave_one_out(features, labels, num_classes, groups=groups))
        own = scores[np.arange(len(labels)), labels]
        seen = np.isfinite(own)
        if num_classes == 1 or not seen.any():
            return "ridge"
        right = scores[seen].argmax(1) == labels[seen]
        classes = np.unique(labels[seen])
        accuracy = np.mean([right[labels[seen] == label].mean() for label in classes])
        results[name] = (float(accuracy), best_temperature(scores[seen], labels[seen])[1])
    return max(results, key=lambda name: (*results[name], name == "ridge"))


def best_temperature(
    scores: np.ndarray, labels: np.ndarray, doubt: float = 0.0
) -> tuple[float, float]:
    """Temperature of the highest mean log-likelihood of labels [M] under scores [M, C], and that.

    A share `doubt` of every label is given to the best other class, which keeps the temperature
    above zero where all labels are right. Every label's own score must be finite.
    """
    step = -(-len(labels) // 2000)  # two thousand photos settle one number
    scores, labels = scores[::step].astype(np.float64), labels[::step]
    rows = np.arange(len(labels))
    own, others = scores[rows, labels], scores.copy()
    others[rows, labels] = -np.inf
    rival = others.max(axis=1)
    target = own + doubt * np.where(np.isfinite(rival), rival - own, 0.0)
    top = scores.max(axis=1, keepdims=True)
    finite = np.where(np.isfinite(scores), scores - top, 0.0)
    target = target - top[:, 0]

    def likelihood(sharpness: float) -> tuple[float, float]:
        """Mean log-likelihood at temperature 1 / sharpness, and its slope."""
        shares = np.exp(sharpness * (scores - top))
        total = shares.sum(axis=1)
        expected = (shares * finite).sum(axis=1) / total
        value = sharpness * target - np.log(total)
        return float(value.mean()), float((target - expected).mean())

    scale = max(float(np.std(finite)), 1e-12)
    low, high = np.log(1e-2 / scale), np.log(1e4 / scale)
    for _ in range(40):  # the likelihood is concave in the sharpness: bisect its slope
        middle = (low + high) / 2
        low, high = (middle, high) if likelihood(np.exp(middle))[1] > 0 else (low, middle)
    sharpness = float(np.exp((low + high) / 2))
    return 1 / sharpness, likelihood(sharpness)[0]


def _inner_product(weights: Array, queries: Array) -> Array:
    return queries @ weights.T


def _minus_squared_distance(weights: Array, queries: Array) -> Array:
    """-|q - m|^2 by inner products: no [M, C, D] array."""
    xp = array_namespace(queries)
    lengths = xp.sum(queries * queries, axis=1)[:, None] + xp.sum(weights * weights, axis=1)
    return 2 * (queries @ weights.T) - lengths


def _cosine_weights(features: Array, targets: Array, lam: float) -> Array:
    return normalise(targets.T @ features)


def _mean_weights(features: Array, targets: Array, lam: float) -> Array:
    return class_means(features, targets)


def _cosine_held_out(features: Array, targets: Array, lam: float, batches: list[HeldOut]) -> Array:
    return _means_held_out(features, targets, batches, unit_length=True)


def _mean_held_out(features: Array, targets: Array, lam: float, batches: list[HeldOut]) -> Array:
    return _means_held_out(features, targets, batches, unit_length=False)


def _means_held_out(
    features: Array, targets: Array, batches: list[HeldOut], unit_length: bool
) -> Array:
    """Leave-one-out of class means: only the means of the group's own classes change."""
    xp = array_namespace(features)
    means, counts = class_means(features, targets), class_counts(targets)
    if unit_length:
        scores = _inner_product(normalise(means), features)
    else:
        scores = _minus_squared_distance(means, features)
    for batch in batches:
        members = xp.asarray(batch.members, device=device(features))
        for label, columns in batch.columns():
            taken = features[members[:, columns]]
            left = max(float(counts[label]) - taken.shape[1], 1.0)
            kept = means[label] * float(counts[label]) - xp.sum(taken, axis=1)
            kept = (kept / left)[:, None, :]  # [groups, 1, D]
            own = features[members]  # [groups, photos, D]
            if unit_length:
                scores[members, label] = xp.sum(own * normalise(kept), axis=2)
            else:
                scores[members, label] = -xp.sum((own - kept) ** 2, axis=2)
    return scores


def _ridge_held_out(features: Array, targets: Array, lam: float, batches: list[HeldOut]) -> Array:
    return ridge_held_out(features, targets, [lam], batches)[0][0]


HEADS: dict[str, Head] = {
    "cosine": Head("cosine", True, 0.5, _cosine_weights, _inner_product, _cosine_held_out),
    "euclidean": Head(
        "euclidean", False, 1.0, _mean_weights, _minus_squared_distance, _mean_held_out
    ),
    # A ridge score is no distance; measured, the same correction fits it with factor 1.
    "ridge": Head("ridge", True, 1.0, ridge_weights, _inner_product, _ridge_held_out),
}
