"""Heads: support features and labels -> class parameters; query features -> scores.

    cosine       class means of unit-length features, to unit length; inner product
    euclidean    minus the squared distance to the class means (Snell et al., 2017)
    ridge        ridge regression of unit-length features onto one-hot labels (ridge.py)
    mahalanobis  minus the distance in each class's own metric (Simple CNAPs; mahalanobis.py)

The lines run unchanged on numpy arrays (adapt, classify) and on torch tensors (training, with
gradients through `fit` and `score`). Each head corrects for unequal photo counts
(photo_counts.py) and leaves photos out in closed form. Labels are 0..C-1, every class has a photo.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np

from litecli.labelled import (
    HeldOut,
    array_namespace,
    class_counts,
    held_out_batches,
    normalise,
    one_hot,
    to_numpy,
)
from litecli.mahalanobis import mahalanobis_classes, mahalanobis_offsets, mahalanobis_scores
from litecli.mahalanobis_held_out import mahalanobis_held_out, mahalanobis_held_out_offsets
from litecli.photo_counts import count_correction_strength, held_out_offsets, mean_offsets
from litecli.prototypes import (
    cosine_classes,
    cosine_held_out,
    inner_product,
    mean_classes,
    mean_held_out,
    minus_squared_distance,
)
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
    # features [N, D], one-hot labels [N, C], lam -> parameters; with queries [M, D] -> [M, C]
    classes: Callable[[Array, Array, float], dict[str, Array]]
    similarity: Callable[[dict[str, Array], Array], Array]
    held_out: Callable[[Array, Array, float, list[HeldOut]], Array]  # -> [N, C]
    # what the photo-count correction adds at strength 1, to fit and to leave-one-out
    full_offsets: Callable[[Array, Array, dict[str, Array]], Array] = mean_offsets
    held_out_offsets: Callable[[Array, Array, list[HeldOut]], Array] = held_out_offsets

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
        """Class parameters of features [N, D], labels [N]: `offsets` [C] and the head's own.

        What is None is chosen from the photos (`options`), which costs many fits: training
        passes numbers. `groups` [N] are photos held out together in that choice.
        """
        chosen = self.options(features, labels, num_classes, strength, lam, groups)
        known = self.prepared(features)
        targets = one_hot(labels, num_classes, known)
        params = self.classes(known, targets, chosen["lam"])
        offsets = array_namespace(known).zeros_like(targets[0])
        if chosen["strength"] > 0:
            offsets = self.full_offsets(known, targets, params)
            offsets = offsets * (chosen["strength"] * self.factor)
        return {**params, "offsets": offsets}

    def score(self, params: dict[str, Array], queries: Array) -> Array:
        """Logits [M, C], up to a temperature, of queries [M, D].

        No row depends on another, but a matrix library may round a row otherwise in a batch of
        another size: whoever needs the same bits scores one row at a time.
        """
        return self.similarity(params, self.prepared(queries)) + params["offsets"]

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
            offsets = self.held_out_offsets(known, targets, batches)
            scores = scores + offsets * (chosen["strength"] * self.factor)
        counts = to_numpy(class_counts(targets))
        for batch in batches:
            for label, held in batch.counts:
                if counts[label] == held:
                    scores[xp.asarray(batch.members), label] = -xp.inf
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

    Ties go to the higher leave-one-out log-likelihood at the best temperature, then to ridge; so
    does a set of which nothing can be left out (one photo of each object). Mahalanobis is no
    candidate: measured on three collections, it would be chosen for a third of the tasks, with no
    gain on average.
    """
    labels = to_numpy(labels)
    results = {}
    for name in AUTO_HEADS:
        head = HEADS[name]
        scores = to_numpy(head.leave_one_out(features, labels, num_classes, groups=groups))
        own = scores[np.arange(len(labels)), labels]
        seen = np.isfinite(own)
        if not seen.any():
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


def _ridge(features: Array, targets: Array, lam: float) -> dict[str, Array]:
    return {"weights": ridge_weights(features, targets, lam)}


def _mahalanobis(features: Array, targets: Array, lam: float) -> dict[str, Array]:
    return mahalanobis_classes(features, targets)


def _ridge_held_out(features: Array, targets: Array, lam: float, batches: list[HeldOut]) -> Array:
    return ridge_held_out(features, targets, [lam], batches)[0][0]


def _mahalanobis_scores(params: dict[str, Array], queries: Array) -> Array:
    if "features" not in params:
        return mahalanobis_scores(params, queries)
    # They are torch tensors that want a gradient: only here does a head need torch.
    from litecli.mahalanobis_gradient import scores_with_gradient

    return scores_with_gradient(params, queries)


def _mahalanobis_held_out(
    features: Array, targets: Array, lam: float, batches: list[HeldOut]
) -> Array:
    return mahalanobis_held_out(features, targets, batches)


HEADS: dict[str, Head] = {
    "cosine": Head("cosine", True, 0.5, cosine_classes, inner_product, cosine_held_out),
    "euclidean": Head("euclidean", False, 1.0, mean_classes, minus_squared_distance, mean_held_out),
    # A ridge score is no distance; measured, the same correction fits it with factor 1.
    "ridge": Head("ridge", True, 1.0, _ridge, inner_product, _ridge_held_out),
    "mahalanobis": Head(
        "mahalanobis",
        False,
        0.75,  # measured: its metrics, which differ with the photo count, make up for a part
        _mahalanobis,
        _mahalanobis_scores,
        _mahalanobis_held_out,
        mahalanobis_offsets,
        mahalanobis_held_out_offsets,
    ),
}
AUTO_HEADS = ("cosine", "euclidean", "ridge")  # the candidates of `choose_head`
