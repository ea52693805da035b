"""Mahalanobis head: distance to the class mean in the class's own metric (Simple CNAPs).

    d_c(q) = (q - m_c)' Q_c^-1 (q - m_c),   Q_c = l S_c / (n_c - 1) + (1 - l) S / (N - 1) + I

with l = n_c / (n_c + 1), S_c and S the scatter matrices of the class and of all N photos
(Bateni et al., "Improved few-shot visual classification", 2020). One photo has no scatter: its
S_c is zero. Q_c is the identity plus a matrix of rank below N, so few photos need no D x D matrix:
in one eigenbasis of S, the task's part of every Q_c is diagonal and the class's part is n_c rows by
Woodbury's identity. Small, and what profiles keep. Of many photos, as many of each class, the
task's part is the same for all classes: one Cholesky factor whitens it, sooner than an eigenbasis
is found. Of many photos in few classes, torch is sooner with the D x D matrices themselves
(mahalanobis_dense.py). An eigenbasis has no gradient where eigenvalues are equal, but the distance
has one: mahalanobis_gradient.py writes it out.
"""

import numpy as np
from array_api_compat import device

from litecli.heads.labelled import (
    Array,
    array_namespace,
    class_counts,
    class_means,
    directions,
    eigenbasis,
    identity,
    to_numpy,
)

MANY = 0.6  # photos for each feature: where one Cholesky factor is found sooner than an eigenbasis
# Classes whose own Cholesky factors take torch as long, measured with 384 to 1,280 features,
FEW = 14  # as an eigenbasis of as many photos as features
FEW_ALIKE = 5  # as the one factor of many photos, as many of each class, and what comes after it
BLOCK = 48  # rows of a triangular matrix that numpy inverts as any other
TORCH_BLOCK = 400  # and torch as a triangular one


def mahalanobis_classes(features: Array, targets: Array) -> dict[str, Array]:
    """What `mahalanobis_scores` needs of features [N, D], one-hot targets [N, C].

    Where a gradient through `features` is wanted, they are among it.
    """
    if getattr(features, "requires_grad", False):
        known = _low_rank_form(features.detach(), targets)
        return {**known, "features": features, "targets": targets}
    return _low_rank_form(features, targets)


def dense_is_sooner(features: Array, targets: Array) -> bool:
    """Whether mahalanobis_dense.py is the faster form: in torch alone, and without a gradient.

    C factors take C D^3 operations, in a unit in which an eigenbasis takes FEW min(N, D)^2 D.
    """
    if isinstance(features, np.ndarray) or features.requires_grad:
        return False
    num_photos, num_features = features.shape
    counts = to_numpy(class_counts(targets))
    if _one_factor_whitens(set(counts.tolist()), features):
        return len(counts) <= FEW_ALIKE
    return len(counts) * num_features**2 <= FEW * min(num_photos, num_features) ** 2


def mahalanobis_scores(params: dict[str, Array], queries: Array) -> Array:
    """Minus the squared distances [M, C] of queries [M, D]."""
    rows = queries - params["centre"]
    xp = array_namespace(queries)
    basis = params["basis"]
    inside = rows @ basis.T  # [M, K]
    outside = xp.zeros_like(inside[:, 0])
    if basis.shape[0] < basis.shape[1]:  # all metrics are the identity there
        outside = xp.clip(xp.sum(rows * rows, axis=1) - xp.sum(inside * inside, axis=1), 0.0, None)
    along = xp.concat([inside, inside @ params["rows"].T], axis=1)
    squares = (along * along) @ params["weights"].T - 2 * inside @ params["linear"].T
    return -(squares + params["constants"] + outside[:, None])


def mahalanobis_offsets(features: Array, targets: Array, params: dict[str, Array]) -> Array:
    """Expected excess [C] of the distance to a mean of n_c photos: trace(B^-1 W) / n_c.

    W is the pooled covariance within classes, B = I + (1 - l) S / (N - 1) the part of Q_c that
    depends on n_c alone: classes with equal counts get equal offsets. It has no gradient.
    """
    xp = array_namespace(features)
    if "features" in params:
        features = features.detach()
    if "factors" in params:
        params = _low_rank_form(features, targets)
    places = (features - params["centre"]) @ params["basis"].T
    residuals = places - targets @ class_means(places, targets)
    num_photos, num_classes = targets.shape
    within = xp.sum(residuals * residuals, axis=0) / max(num_photos - num_classes, 1)
    inverse = params["weights"][:, : len(within)]  # B^-1 of each class, diagonal in the basis
    return xp.sum(within * inverse, axis=1) / class_counts(targets)


def shares(count: float, num_photos: int) -> tuple[float, float]:
    """The factors of S and S_c in Q_c, for a class with `count` of `num_photos` photos."""
    task = 1 / ((count + 1) * max(num_photos - 1, 1))
    own = count / ((count + 1) * (count - 1)) if count > 1 else 0.0
    return task, own


def photos_of_classes(targets: Array) -> list[Array]:
    """The indices of every class's photos, by class, of one-hot targets [N, C]."""
    xp = array_namespace(targets)
    labels = to_numpy(targets).argmax(1)
    indices = (np.flatnonzero(labels == label) for label in range(targets.shape[1]))
    return [xp.asarray(photos, device=device(targets)) for photos in indices]


def class_metric(values: Array, residuals: Array, task: float, own: float) -> tuple[Array, Array]:
    """Q^-1 in the eigenbasis as diagonal [K] and rows [..., n, K]: diag(diagonal) - rows' rows.

    `residuals` [..., n, K] are the photos of one class, or of several with as many each.
    """
    xp = array_namespace(values)
    diagonal = 1 / (1 + task * values)
    residuals = residuals * own**0.5
    scaled = residuals * diagonal
    inner = scaled @ xp.matrix_transpose(residuals) + identity(values, residuals.shape[-2])
    return diagonal, xp.linalg.inv(xp.linalg.cholesky(inner)) @ scaled


def _low_rank_form(features: Array, targets: Array) -> dict[str, Array]:
    """The distance as squares along `basis` [K, D] and along `rows` [N, K] in it.

    `weights` [C, K + N] of the squares, `linear` [C, K] = Q_c^-1 m_c and `constants` [C] are those
    of the quadratic in q - `centre`.
    """
    xp = array_namespace(features)
    centre = xp.mean(features, axis=0)
    rows = features - centre
    photos_of = photos_of_classes(targets)
    counts = {len(photos) for photos in photos_of}
    if _one_factor_whitens(counts, rows):
        task, _ = shares(len(photos_of[0]), len(rows))
        basis = _whitening(rows, task)
        places, values = rows @ basis.T, xp.zeros_like(rows[0])
    else:
        basis, places, values = _eigenbasis(rows)
    means = class_means(places, targets)
    scaled, weights, linear = (xp.zeros_like(x) for x in (places, means, means))
    for count in counts:  # the classes of one photo count together
        labels = [label for label, photos in enumerate(photos_of) if len(photos) == count]
        photos = xp.stack([photos_of[label] for label in labels])  # [c, n]
        mean = means[labels]
        task, own = shares(count, len(features))
        diagonal, low = class_metric(values, places[photos] - mean[:, None], task, own)
        along = low @ mean[:, :, None]  # [c, n, 1]
        scaled[photos] = low
        weights[labels] = diagonal
        linear[labels] = mean * diagonal - xp.sum(along * low, axis=1)
    return {
        "centre": centre,
        "basis": basis,
        "rows": scaled,
        "weights": xp.concat([weights, -targets.T], axis=1),
        "linear": linear,
        "constants": xp.sum(linear * means, axis=1),
    }


def _one_factor_whitens(counts: set[int], rows: Array) -> bool:
    return len(counts) == 1 and rows.shape[0] > MANY * rows.shape[1]


def _eigenbasis(rows: Array) -> tuple[Array, Array, Array]:
    """Unit directions [K, D] in which rows' rows is diagonal, rows [N, K] in them, its values."""
    values, places, vectors = eigenbasis(rows)
    basis = directions(rows, values, vectors)
    if len(basis) < basis.shape[1]:
        # Directions of small eigenvalues are not quite at right angles, as their squares are
        # rounded to the largest: a step of Newton and Schulz turns them.
        basis = 1.5 * basis - 0.5 * (basis @ basis.T) @ basis
        places = rows @ basis.T
    return basis, places, values


def _whitening(rows: Array, task: float) -> Array:
    """The basis [D, D] in which 1 + task rows' rows is the identity."""
    xp = array_namespace(rows)
    metric = task * (rows.T @ rows) + identity(rows, rows.shape[1])
    return _inverse_of_lower(xp.linalg.cholesky(metric))


def _inverse_of_lower(factor: Array) -> Array:
    """The inverse of a lower triangular matrix [D, D], by blocks."""
    xp = array_namespace(factor)
    half = len(factor) // 2
    if isinstance(factor, np.ndarray):  # numpy solves no triangular system
        if len(factor) <= BLOCK:
            return xp.linalg.inv(factor)
    elif len(factor) <= TORCH_BLOCK:
        return xp.linalg.solve_triangular(factor, identity(factor, len(factor)), upper=False)
    inverse = xp.zeros_like(factor)
    inverse[:half, :half] = _inverse_of_lower(factor[:half, :half])
    inverse[half:, half:] = _inverse_of_lower(factor[half:, half:])
    below = factor[half:, :half] @ inverse[:half, :half]
    inverse[half:, :half] = -(inverse[half:, half:] @ below)
    return inverse
