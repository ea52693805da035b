"""Leave-one-out of the Mahalanobis head in closed form: no photo costs a new fit.

Taking photos out changes the metric of every class: the task's scatter, the numbers of photos,
and for the photos' own class its mean and scatter too. In the eigenbasis of mahalanobis.py,
Q_c = P_c - V' D V: P_c has the new numbers but the scatter of *all* photos, so that all groups of
one size share it; V are the few rows that go. Woodbury's identity does the rest. A sum of squares
about a mean that loses rows V loses V' (1 + 1 1' / rows left) V.
"""

from typing import NamedTuple

import numpy as np
from array_api_compat import device

from litecli.heads.labelled import Array, HeldOut, array_namespace, class_means, eigenbasis
from litecli.heads.mahalanobis import class_metric, photos_of_classes, shares


class _Support(NamedTuple):
    """The photos in the eigenbasis of the task's scatter."""

    values: Array  # [K]
    places: Array  # [N, K], from the mean of all photos
    residuals: Array  # [N, K], from the class means
    means: Array  # [C, K]
    photos: list[Array]  # of each class, the indices of its photos


def mahalanobis_held_out(features: Array, targets: Array, batches: list[HeldOut]) -> Array:
    """Minus the squared distances [N, C], row i without photo i and the rest of its group.

    Where a class loses its last photo the entry means nothing.
    """
    xp = array_namespace(features)
    support = _support(features, targets)
    scores = xp.zeros_like(targets)
    for size in {batch.members.shape[1] for batch in batches}:
        same = [batch.members for batch in batches if batch.members.shape[1] == size]
        members, left = _indices(np.concatenate(same), features), len(targets) - size
        taken = support.places[members]  # [groups, size, K]
        for label, photos in enumerate(support.photos):
            task, own = shares(len(photos), left)
            metric = class_metric(support.values, support.residuals[photos], task, own)
            gaps = taken - support.means[label]
            lost = _blocks(features, (task, size, left))
            scores[members, label] = -_distances(metric, taken, lost, gaps)
    for batch in batches:
        members, size = _indices(batch.members, features), batch.members.shape[1]
        taken, left = support.places[members], len(targets) - size
        for label, columns in batch.columns():
            photos, away = support.photos[label], support.residuals[members[:, columns]]
            held, kept = away.shape[1], len(photos) - away.shape[1]
            if kept == 0:
                continue
            task, own = shares(kept, left)
            metric = class_metric(support.values, support.residuals[photos], task, own)
            mean = support.means[label] - xp.sum(away, axis=1, keepdims=True) / kept
            rows = xp.concat([taken, away], axis=1)
            lost = _blocks(features, (task, size, left), (own, held, kept))
            scores[members, label] = -_distances(metric, rows, lost, taken - mean)
    return scores


def mahalanobis_held_out_offsets(features: Array, targets: Array, batches: list[HeldOut]) -> Array:
    """`mahalanobis_offsets` [N, C], row i of the photos that stay without photo i's group."""
    xp = array_namespace(features)
    support = _support(features, targets)
    scatter = support.residuals.T @ support.residuals
    counts = np.array([len(photos) for photos in support.photos])
    result = xp.zeros_like(targets)
    for batch in batches:
        members, size = _indices(batch.members, features), batch.members.shape[1]
        left, kept = len(targets) - size, counts.copy()
        for label, held in batch.counts:
            kept[label] -= held
        within = _blocks(features, *((1.0, held, kept[label]) for label, held in batch.counts))
        taken, away = support.places[members], support.residuals[members]
        freedom = max(left - np.count_nonzero(kept), 1)
        for count in set(kept[kept > 0].tolist()):
            task, _ = shares(count, left)
            diagonal = 1 / (1 + task * support.values)
            scaled = taken * diagonal
            lost = _blocks(features, (task, size, left))
            gain = _gain(lost, scaled @ _transposed(taken), lost)
            cross = scaled @ _transposed(away)
            spread = _each(scaled, scatter) @ _transposed(scaled)
            spread = spread - cross @ within @ _transposed(cross)
            trace = xp.sum(diagonal * xp.linalg.diagonal(scatter)) + xp.sum(
                gain * spread, axis=(1, 2)
            )
            trace = trace - xp.sum(within * ((away * diagonal) @ _transposed(away)), axis=(1, 2))
            offsets = xp.clip(trace, 0.0, None) / (freedom * count)
            for label in np.flatnonzero(kept == count).tolist():
                result[members, label] = offsets[:, None] + xp.zeros_like(result[members, label])
    return result


def _support(features: Array, targets: Array) -> _Support:
    xp = array_namespace(features)
    values, places, _ = eigenbasis(features - xp.mean(features, axis=0))
    means = class_means(places, targets)
    return _Support(values, places, places - targets @ means, means, photos_of_classes(targets))


def _distances(metric: tuple[Array, Array], rows: Array, lost: Array, gaps: Array) -> Array:
    """gap' (P - rows' lost rows)^-1 gap, [G, M] of gaps [G, M, K], rows [G, R, K], lost [R, R]."""
    xp = array_namespace(rows)
    diagonal, low = metric
    number, both = rows.shape[1], xp.concat([rows, gaps], axis=1)
    along = _each(both, low.T)
    inner = (both * diagonal) @ _transposed(both) - along @ _transposed(along)
    cross = inner[:, :number, number:]
    gain = _gain(lost, inner[:, :number, :number], lost @ cross)
    own = xp.linalg.diagonal(inner[:, number:, number:])
    return own + xp.sum(cross * gain, axis=1)


def _gain(lost: Array, inner: Array, right: Array) -> Array:
    """(1 - lost inner)^-1 right, by group: what the identity of Woodbury adds."""
    xp = array_namespace(inner)
    eye = xp.eye(lost.shape[0], dtype=inner.dtype, device=device(inner))
    return xp.linalg.solve(eye - lost @ inner, right + xp.zeros_like(inner[:, :, :1]))


def _each(stack: Array, matrix: Array) -> Array:
    """stack [G, R, K] @ matrix [K, L], as one product instead of G small ones."""
    xp = array_namespace(stack)
    groups, rows, width = stack.shape
    product = xp.reshape(stack, (groups * rows, width)) @ matrix
    return xp.reshape(product, (groups, rows, matrix.shape[1]))


def _blocks(like: Array, *blocks: tuple[float, int, int]) -> Array:
    """factor * (1 + 1 1' / left), of each (factor, size, left), as a block diagonal matrix."""
    matrix = np.zeros((sum(size for _, size, _ in blocks),) * 2)
    start = 0
    for factor, size, left in blocks:
        end = start + size
        # Where nothing is left the rows sum to zero, and what is added to 1 does not matter.
        matrix[start:end, start:end] = factor * (np.eye(size) + 1 / max(left, 1))
        start = end
    return array_namespace(like).asarray(matrix, dtype=like.dtype, device=device(like))


def _indices(values: np.ndarray, like: Array) -> Array:
    return array_namespace(like).asarray(values, device=device(like))


def _transposed(matrices: Array) -> Array:
    return array_namespace(matrices).matrix_transpose(matrices)
