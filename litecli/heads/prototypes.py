"""Class means and their two similarities: cosine, and squared distance (Snell et al., 2017).

The lines run unchanged on numpy arrays and torch tensors.
"""

from array_api_compat import device

from litecli.heads.labelled import (
    Array,
    Basis,
    HeldOut,
    array_namespace,
    class_counts,
    class_means,
    held_out_means,
    unit_rows,
)


def inner_product(params: dict[str, Array], queries: Array) -> Array:
    """Inner products [M, C] of queries [M, D] with `weights` [C, D]."""
    return queries @ params["weights"].T


def minus_squared_distance(params: dict[str, Array], queries: Array) -> Array:
    """-|q - m|^2 [M, C] of queries [M, D], `weights` [C, D]: no [M, C, D] array."""
    xp, weights = array_namespace(queries), params["weights"]
    lengths = xp.sum(queries * queries, axis=1)[:, None] + xp.sum(weights * weights, axis=1)
    return 2 * (queries @ weights.T) - lengths


def cosine_classes(features: Array, targets: Array, lam: float) -> dict[str, Array]:
    """`weights` [C, D]: class means to unit length. `lam` is ridge's."""
    return {"weights": unit_rows(targets.T @ features)}


def mean_classes(features: Array, targets: Array, lam: float) -> dict[str, Array]:
    """`weights` [C, D]: class means."""
    return {"weights": class_means(features, targets)}


def cosine_held_out(
    features: Array, targets: Array, lam: float, batches: list[HeldOut], basis: Basis
) -> Array:
    """Cosines [N, C], row i without photo i and the rest of its group."""
    return _held_out(features, targets, batches, unit_length=True)


def mean_held_out(
    features: Array, targets: Array, lam: float, batches: list[HeldOut], basis: Basis
) -> Array:
    """Minus squared distances [N, C], row i without photo i and the rest of its group."""
    return _held_out(features, targets, batches, unit_length=False)


def _held_out(features: Array, targets: Array, batches: list[HeldOut], unit_length: bool) -> Array:
    """Only the means of the group's own classes change."""
    xp = array_namespace(features)
    means, counts = class_means(features, targets), class_counts(targets)
    if unit_length:
        scores = inner_product({"weights": unit_rows(means)}, features)
    else:
        scores = minus_squared_distance({"weights": means}, features)
    for batch in batches:
        members = xp.asarray(batch.members, device=device(features))
        for label, columns in batch.columns():
            kept = held_out_means(means[label], counts[label], features[members[:, columns]])
            kept = kept[:, None, :]  # [groups, 1, D]
            own = features[members]  # [groups, photos, D]
            if unit_length:
                scores[members, label] = xp.sum(own * unit_rows(kept), axis=2)
            else:
                scores[members, label] = -xp.sum((own - kept) ** 2, axis=2)
    return scores
