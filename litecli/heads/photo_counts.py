"""Photo-count correction: so that an object with one photo is named as often as one with ten.

The squared distance to a mean of n photos is expected to be too large by trace(S) / n, S being
the pooled covariance within classes. Every head adds `strength * factor * trace(S) / n` to its
scores. The full correction overshoots, so the strength is chosen from the photos: every object in
turn is cut to the rarest's count, and the rest of its photos are the test. (Leave-one-out cannot
do it: it never sees an object with a single photo.)
"""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from array_api_compat import device

from litecli.heads.labelled import (
    Array,
    HeldOut,
    array_namespace,
    class_counts,
    class_means,
    distinct,
    to_numpy,
)

STRENGTHS = np.linspace(0.0, 1.5, 13)
USUAL = 1.125  # a step above the theory's 1: measured, it finds rare objects and costs no others
CAUTION = 0.1  # accuracy given up per squared distance of the strength from USUAL
FOLDS, CUTS, TEST_PHOTOS = 10, 40, 3000  # objects are cut in so many turns; enough cuts, tests
CROPS = 3  # of each photo, that its heads learn from: eleven take four times as long, for the same


class Corrected(Protocol):
    """What is corrected: a head, as far as the choice of its strength needs it."""

    def fit(
        self,
        features: Array,
        labels: Array,
        num_classes: int,
        *,
        strength: float | None,
        lam: float | None,
        crops: Array | None,
    ) -> dict[str, Array]: ...

    def score(self, params: dict[str, Array], queries: Array) -> Array: ...


def spread(features: Array, targets: Array) -> Array:
    """trace(S): the pooled variance within classes; 0 where every class has one photo."""
    xp = array_namespace(features)
    freedom = targets.shape[0] - targets.shape[1]
    return xp.sum(_scatter(features, targets)) / max(freedom, 1)


def mean_offsets(features: Array, targets: Array, params: dict[str, Array]) -> Array:
    """trace(S) / n [C], what the squared distance to a mean of n photos is too large by."""
    return spread(features, targets) / class_counts(targets)


def held_out_offsets(features: Array, targets: Array, batches: list[HeldOut]) -> Array:
    """trace(S) / n [N, C], row i of the photos that stay when photo i's group is taken out."""
    xp = array_namespace(features)
    counts, means = class_counts(targets), class_means(features, targets)
    scatter = _scatter(features, targets)
    num_photos, num_classes = targets.shape
    result = xp.zeros_like(targets) + 1 / counts
    for batch in batches:
        members = xp.asarray(batch.members, device=device(features))
        total = xp.sum(scatter) + xp.zeros_like(features[members[:, 0], 0])  # [groups]
        freedom = num_photos - members.shape[1] - num_classes
        for label, columns in batch.columns():
            residual = features[members[:, columns]] - means[label]
            left = float(counts[label]) - residual.shape[1]
            if left == 0:
                total = total - scatter[label]
                freedom += 1
                continue
            shift = xp.sum(residual, axis=1)
            total = total - xp.sum(residual * residual, axis=(1, 2))
            total = total - xp.sum(shift * shift, axis=1) / left
            result[members, label] = 1 / left
        share = xp.clip(total, 0.0, None) / max(freedom, 1)
        result[members] = result[members] * share[:, None, None]
    return result


def count_correction_strength(
    head: Corrected,
    features: Array,
    labels: Array,
    num_classes: int,
    *,
    lam: float | None = None,
    groups: Array | None = None,
    crops: Array | None = None,
) -> float:
    """The strength of the correction for features [N, D], labels [N]; 0 when counts are equal.

    The best of STRENGTHS by accuracy on the cuts. The cut objects together weigh the square root
    of their share of all objects: a half where one of four is cut, a fifth where one of 25 is, so
    that a rare object counts among many without outweighing them.
    """
    labels = to_numpy(labels)
    counts = np.bincount(labels, minlength=num_classes)
    if counts.min() == counts.max():
        return 0.0
    groups = np.arange(len(labels)) if groups is None else to_numpy(groups)
    gains = []
    for kept, test, rare in _cuts(labels, counts):
        fresh = ~np.isin(groups[test], groups[kept])  # the twin of a kept photo is no test
        test, rare = test[fresh], rare[fresh]
        if len(test) == 0:
            continue
        params = head.fit(
            features[kept],
            labels[kept],
            num_classes,
            strength=1.0,
            lam=lam,
            crops=None if crops is None else crops[kept, :CROPS],
        )
        scores, offsets = to_numpy(head.score(params, features[test])), to_numpy(params["offsets"])
        named = np.stack([np.argmax(scores + (s - 1) * offsets, axis=1) for s in STRENGTHS])
        gains.append(_accuracy(named == labels[test], labels[test], rare))
    if not gains:
        return USUAL
    gain = np.mean(gains, axis=0) - CAUTION * (STRENGTHS - USUAL) ** 2
    return float(STRENGTHS[int(np.argmax(gain))])


def _scatter(features: Array, targets: Array) -> Array:
    """Sum of squared distances to the class mean, per class [C]."""
    xp = array_namespace(features)
    residual = features - targets @ class_means(features, targets)
    return xp.sum(residual * residual, axis=1) @ targets


def _cuts(
    labels: np.ndarray, counts: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Kept photos, test photos, and whether each test photo's object was cut.

    One photo of every other object (with more than the rarest's) is a test photo too: a strength
    that names the cut object everywhere must lose there what it wins.
    """
    rarest = int(counts.min())
    larger = np.flatnonzero(counts > rarest)
    folds = min(len(larger), FOLDS)
    photos = [np.flatnonzero(labels == label) for label in range(len(counts))]
    tested = 0
    for turn in range(min(int(counts.max()), max(CUTS // folds, 1))):
        for fold in range(folds):
            cut = np.isin(np.arange(len(counts)), larger[fold::folds])
            keep = np.where(cut, rarest, np.where(counts > rarest, counts - 1, counts))
            turned = [np.roll(own, -turn) for own in photos]
            pairs = list(zip(turned, keep, strict=True))
            test = np.concatenate([own[count:] for own, count in pairs])
            yield np.concatenate([own[:count] for own, count in pairs]), test, cut[labels[test]]
            tested += len(test)
            if tested > TEST_PHOTOS:
                return


def _accuracy(right: np.ndarray, labels: np.ndarray, rare: np.ndarray) -> np.ndarray:
    """Accuracy [S] of right [S, M]: the mean of cut objects weighted with that of uncut ones."""
    classes = distinct(labels)
    per_class = np.stack([right[:, labels == label].mean(1) for label in classes])  # [C, S]
    is_cut = np.array([rare[labels == label].any() for label in classes])
    if is_cut.all() or not is_cut.any():
        return per_class.mean(0)
    weight = np.sqrt(is_cut.mean())
    return weight * per_class[is_cut].mean(0) + (1 - weight) * per_class[~is_cut].mean(0)
