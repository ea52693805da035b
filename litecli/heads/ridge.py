"""Ridge regression onto one-hot labels: closed form, class-balanced, differentiable (R2-D2).

    minimise over W:  sum_n (1 / p_n) |W x_n - y_n|^2 + |W|^2,    p_n = lam * (n_c / mean count)

(Bertinetto et al., "Meta-learning with differentiable closed-form solvers", 2019.) A photo's
penalty p_n grows with its class's photo count n_c, so every class weighs the same; with equal
counts it is plain ridge regression of strength `lam`. The held-out predictions follow from one
factorisation: no fit is repeated.
"""

from collections.abc import Iterable

from array_api_compat import device

from litecli.heads.labelled import (
    Array,
    Basis,
    HeldOut,
    array_namespace,
    class_counts,
    directions,
    eigenbasis,
    held_out_batches,
    identity,
    one_hot,
    shared_penalty,
)

LAMBDAS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
USUAL_LAMBDA = 0.1


def ridge_weights(features: Array, targets: Array, lam: float) -> Array:
    """Class weights [C, D] for unit-length features [N, D] and one-hot targets [N, C].

    Solves in the smaller of the two spaces, N x N (dual) or D x D (primal).
    """
    xp = array_namespace(features)
    scale = _balance(targets)[:, None]
    rows, targets = features * scale, targets * scale
    num_photos, num_features = features.shape
    if num_photos <= num_features:
        duals = xp.linalg.solve(rows @ rows.T + lam * identity(rows, num_photos), targets)
        return duals.T @ rows
    return xp.linalg.solve(rows.T @ rows + lam * identity(rows, num_features), rows.T @ targets).T


def ridge_held_out(
    features: Array,
    targets: Array,
    lams: Iterable[float],
    batches: list[HeldOut],
    basis: Basis = eigenbasis,
) -> list[tuple[Array, Array]]:
    """Held-out scores [N, C] and variances [N] for each lam, photo i's group left out of row i.

    The variance is the part of the unit-length photo that the others do not explain, the
    predictive variance of the Gaussian process whose mean is the score. The classes' balance
    changes with what is taken out, exactly as in a new fit; lam / (mean count) is kept.

    With M the penalised inner products and a = M^-1 Y, the held-out prediction of a group g is
    Y_g - (M^-1)_gg^-1 a_g; the new balance changes M on the diagonal of the touched classes A
    only, so (I + (M^-1)_AA Delta)^-1 brings M^-1 and a up to date on A.
    """
    xp = array_namespace(features)
    scale = _balance(targets)[:, None]
    rows, scaled_targets = features * scale, targets * scale
    values, places, _ = basis(rows)
    touched = [_touched(targets, batch) for batch in batches]
    results = []
    for lam in lams:
        hat = places / xp.sqrt(values + lam)  # hat @ hat.T maps targets to fitted values
        duals = (scaled_targets - hat @ (hat.T @ scaled_targets)) / lam
        scores, variances = xp.zeros_like(targets), xp.zeros_like(targets[:, 0])
        for photos, lost_share, held in touched:
            number = photos.shape[0]
            eye = identity(rows, number)
            inverse = (eye - hat[photos] @ hat[photos].T) / lam
            both = xp.concat([inverse, duals[photos]], axis=1)
            both = xp.linalg.solve(eye - inverse * (lam * lost_share), both)
            inverse, changed = both[:, :number], both[:, number:]
            block = xp.linalg.inv(inverse[held[:, :, None], held[:, None, :]])
            members = photos[held]
            scores[members] = targets[members] - (block @ changed[held]) / scale[members]
            own = xp.sum(block * identity(rows, block.shape[1]), axis=2)  # the diagonals
            noise = lam * (1 - lost_share[held])
            variances[members] = (own - noise) / scale[members][:, :, 0] ** 2
        results.append((scores, variances))
    return results


def ridge_explained(
    features: Array, targets: Array, lam: float, basis: Basis = eigenbasis
) -> Array:
    """B [min(N, D), D]: |B q|^2 is the part of a unit-length query q that the photos explain.

    1 - |B q|^2 is the variance of `ridge_held_out`, for a new photo.
    """
    xp = array_namespace(features)
    rows = features * _balance(targets)[:, None]
    values, _, vectors = basis(rows)
    return directions(rows, values, vectors) * xp.sqrt(values / (values + lam))[:, None]


def ridge_classes(features: Array, targets: Array, lam: float) -> dict[str, Array]:
    """`weights` [C, D]; see `ridge_weights`."""
    return {"weights": ridge_weights(features, targets, lam)}


def ridge_held_out_scores(
    features: Array, targets: Array, lam: float, batches: list[HeldOut], basis: Basis
) -> Array:
    """Scores [N, C] with one `lam`, row i without photo i and the rest of its group."""
    return ridge_held_out(features, targets, [lam], batches, basis)[0][0]


def choose_lam(
    features: Array,
    labels: Array,
    num_classes: int,
    groups: Array | None = None,
    each: int = 1,
    basis: Basis = eigenbasis,
) -> float:
    """The lam of LAMBDAS with the least squared leave-one-out error, every class weighing the same.

    Features [N, D] have unit length; only every `each`-th is asked for, as the others are crops of
    it. Where no photo can be left out: USUAL_LAMBDA.
    """
    xp = array_namespace(features)
    rows = xp.astype(features, xp.float64)
    targets = one_hot(labels, num_classes, rows)
    batches = held_out_batches(labels, groups)
    weight = 1 / (targets @ class_counts(targets))
    weight = xp.where(xp.arange(len(labels), device=device(rows)) % each == 0, weight, 0 * weight)
    for batch in batches:
        for label, held in batch.counts:
            if float(class_counts(targets)[label]) == held:  # says nothing about lam
                weight[xp.asarray(batch.members, device=device(rows))] = 0.0
    if not bool(xp.any(weight > 0)):
        return USUAL_LAMBDA
    penalties = [shared_penalty(lam, each) for lam in LAMBDAS]
    errors = [
        float(xp.sum(xp.sum((scores - targets) ** 2, axis=1) * weight))
        for scores, _ in ridge_held_out(rows, targets, penalties, batches, basis)
    ]
    return LAMBDAS[errors.index(min(errors))]


def _touched(targets: Array, batch: HeldOut) -> tuple[Array, Array, Array]:
    """Photos of the batch's classes [A], the share their class loses [A], members' places in A."""
    xp = array_namespace(targets)
    in_class = xp.zeros_like(targets[:, 0])
    share = xp.zeros_like(targets[:, 0])
    for label, held_out in batch.counts:
        column = targets[:, label]
        in_class = in_class + column
        share = share + column * (held_out / xp.sum(column))
    (photos,) = xp.nonzero(in_class)
    share = share[photos]
    share = xp.where(share < 1, share, xp.zeros_like(share))  # a class that goes whole
    place = xp.cumulative_sum(xp.astype(in_class, xp.int64)) - 1
    return photos, share, place[xp.asarray(batch.members, device=device(place))]


def _balance(targets: Array) -> Array:
    """Square root of the inverse relative photo count of each photo's class, [N]."""
    xp = array_namespace(targets)
    mean_count = targets.shape[0] / targets.shape[1]
    return xp.sqrt(mean_count / (targets @ class_counts(targets)))
