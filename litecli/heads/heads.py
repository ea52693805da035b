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
from typing import TypedDict

from litecli.heads.labelled import (
    Array,
    Basis,
    HeldOut,
    array_namespace,
    class_counts,
    eigenbasis,
    held_out_batches,
    one_hot,
    repeated,
    repeated_groups,
    to_numpy,
    unit_rows,
)
from litecli.heads.mahalanobis import (
    dense_is_sooner,
    mahalanobis_classes,
    mahalanobis_offsets,
    mahalanobis_scores,
)
from litecli.heads.mahalanobis_held_out import mahalanobis_held_out, mahalanobis_held_out_offsets
from litecli.heads.photo_counts import count_correction_strength, held_out_offsets, mean_offsets
from litecli.heads.prototypes import (
    cosine_classes,
    cosine_held_out,
    inner_product,
    mean_classes,
    mean_held_out,
    minus_squared_distance,
)
from litecli.heads.ridge import choose_lam, ridge_classes, ridge_held_out_scores

MOST_WITH_CROPS = 500  # photos


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
    fit_classes: Callable[[Array, Array, float], dict[str, Array]]
    similarity: Callable[[dict[str, Array], Array], Array]
    held_out: Callable[[Array, Array, float, list[HeldOut], Basis], Array]  # -> [N, C]
    # what the photo-count correction adds at strength 1, to fit and to leave-one-out
    full_offsets: Callable[[Array, Array, dict[str, Array]], Array] = mean_offsets
    held_out_offsets: Callable[[Array, Array, list[HeldOut]], Array] = held_out_offsets
    # examples [N, D], labels [N], C, groups [N], examples a photo -> lam, where the head has one
    choose_lam: Callable[[Array, Array, int, Array | None, int, Basis], float] | None = None
    learns_crops: bool = False  # a photo's crops are examples of their own, beside the photo

    def fit(
        self,
        features: Array,
        labels: Array,
        num_classes: int,
        *,
        strength: float | None = None,
        lam: float | None = None,
        groups: Array | None = None,
        crops: Array | None = None,
    ) -> dict[str, Array]:
        """Class parameters of features [N, D], labels [N]: `offsets` [C] and the head's own.

        What is None is chosen from the photos (`options`), which costs many fits: training
        passes numbers. `groups` [N] are photos held out together in that choice. `crops`
        [N, V, D] are features of parts of each photo, for a head that learns from them.
        """
        chosen = self.options(features, labels, num_classes, strength, lam, groups, crops)
        known = self.prepared(features)
        targets = one_hot(labels, num_classes, known)
        examples, each = self.examples(known, crops)
        params = self.fit_classes(examples, repeated(targets, each), chosen["lam"])
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
        crops: Array | None = None,
        basis: Basis = eigenbasis,
    ) -> Array:
        """Scores [N, C]: row i by the head fitted without photo i and the rest of its group.

        Closed form, computed in float64; equals as many new fits with the same strength and the
        same lam / (mean photo count). A class that loses its last photo scores -inf in that row.
        `basis` may remember (`labelled.Eigenbases`), for whoever asks more than once.
        """
        xp = array_namespace(features)
        chosen = self.options(features, labels, num_classes, strength, lam, groups, crops, basis)
        known = self.prepared(xp.astype(features, xp.float64))
        targets = one_hot(labels, num_classes, known)
        batches = held_out_batches(labels, groups)
        examples, each = self.examples(known, crops)
        held = held_out_batches(*repeated_groups(labels, groups, each)) if each > 1 else batches
        scores = self.held_out(examples, repeated(targets, each), chosen["lam"], held, basis)
        scores = scores[::each]
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
        crops: Array | None = None,
        basis: Basis = eigenbasis,
    ) -> Options:
        """`strength` and `lam`; what is None is chosen from the support photos alone."""
        if lam is None:
            lam = 0.0
            if self.choose_lam is not None:
                examples, each = self.examples(self.prepared(features), crops)
                same = repeated_groups(labels, groups, each)
                lam = self.choose_lam(examples, same[0], num_classes, same[1], each, basis)
        if strength is None:
            strength = count_correction_strength(
                self, features, labels, num_classes, lam=lam, groups=groups, crops=crops
            )
        return {"strength": strength, "lam": lam}

    def prepared(self, features: Array) -> Array:
        """Features [..., D] as this head uses them."""
        return unit_rows(features) if self.unit_length else features

    def examples(self, known: Array, crops: Array | None) -> tuple[Array, int]:
        """What the head learns from, [N * each, D] of prepared photos [N, D], and `each`.

        Every photo is followed by its crops [N, V, D], where there are any, the head learns from
        them, and they do not make it slow: it is the few photos that they help.
        """
        if crops is None or not self.learns_crops or known.shape[0] > MOST_WITH_CROPS:
            return known, 1
        xp = array_namespace(known)
        crops = self.prepared(xp.astype(crops, known.dtype))
        rows = xp.concat([known[:, None, :], crops], axis=1)
        return xp.reshape(rows, (-1, rows.shape[2])), rows.shape[1]


def _mahalanobis(features: Array, targets: Array, lam: float) -> dict[str, Array]:
    # Two forms are of torch tensors alone: only in these two functions does a head need torch.
    if dense_is_sooner(features, targets):
        from litecli.heads.mahalanobis_dense import dense_classes

        return dense_classes(features, targets)
    return mahalanobis_classes(features, targets)


def _mahalanobis_scores(params: dict[str, Array], queries: Array) -> Array:
    if "features" in params:
        from litecli.heads.mahalanobis_gradient import scores_with_gradient

        return scores_with_gradient(params, queries)
    if "factors" in params:
        from litecli.heads.mahalanobis_dense import dense_scores

        return dense_scores(params, queries)
    return mahalanobis_scores(params, queries)


def _mahalanobis_held_out(
    features: Array, targets: Array, lam: float, batches: list[HeldOut], basis: Basis
) -> Array:
    return mahalanobis_held_out(features, targets, batches)


HEADS: dict[str, Head] = {
    "cosine": Head(
        name="cosine",
        unit_length=True,
        factor=0.5,
        fit_classes=cosine_classes,
        similarity=inner_product,
        held_out=cosine_held_out,
    ),
    "euclidean": Head(
        name="euclidean",
        unit_length=False,
        factor=1.0,
        fit_classes=mean_classes,
        similarity=minus_squared_distance,
        held_out=mean_held_out,
    ),
    "ridge": Head(
        name="ridge",
        unit_length=True,
        factor=1.0,  # its score is no distance; measured, the same correction fits it
        fit_classes=ridge_classes,
        similarity=inner_product,
        held_out=ridge_held_out_scores,
        choose_lam=choose_lam,
        learns_crops=True,
    ),
    "mahalanobis": Head(
        name="mahalanobis",
        unit_length=False,
        factor=0.75,  # measured: its metrics, which differ with the photo count, make up for a part
        fit_classes=_mahalanobis,
        similarity=_mahalanobis_scores,
        held_out=_mahalanobis_held_out,
        full_offsets=mahalanobis_offsets,
        held_out_offsets=mahalanobis_held_out_offsets,
    ),
}
