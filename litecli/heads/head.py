"""A head: support features and labels -> class parameters; query features -> scores.

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
    shared_penalty,
    to_numpy,
    unit_rows,
    with_crops,
)
from litecli.heads.photo_counts import count_correction_strength, held_out_offsets, mean_offsets


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
        lam = shared_penalty(chosen["lam"], each)
        params = self.fit_classes(examples, repeated(targets, each), lam)
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
        lam = shared_penalty(chosen["lam"], each)
        scores = self.held_out(examples, repeated(targets, each), lam, held, basis)
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
                double = array_namespace(features).float64  # as in `leave_one_out`: one eigenbasis
                known = self.prepared(array_namespace(features).astype(features, double))
                examples, each = self.examples(known, crops)
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

        Every photo is followed by its crops [N, V, D], or the first of them (`crops_learned`),
        where there are any and the head learns from them.
        """
        if crops is None or not self.learns_crops:
            return known, 1
        crops = array_namespace(known).astype(crops, known.dtype)
        return with_crops(known, self.prepared(crops))
