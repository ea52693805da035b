"""The heads there are, by name.

cosine       class means of unit-length features, to unit length; inner product
euclidean    minus the squared distance to the class means (Snell et al., 2017)
ridge        ridge regression of unit-length features onto one-hot labels (ridge.py)
mahalanobis  minus the distance in each class's own metric (Simple CNAPs; mahalanobis.py)
"""

from litecli.heads.head import Head
from litecli.heads.labelled import Array, Basis, HeldOut
from litecli.heads.mahalanobis import (
    dense_is_sooner,
    mahalanobis_classes,
    mahalanobis_offsets,
    mahalanobis_scores,
)
from litecli.heads.mahalanobis_held_out import mahalanobis_held_out, mahalanobis_held_out_offsets
from litecli.heads.prototypes import (
    cosine_classes,
    cosine_held_out,
    inner_product,
    mean_classes,
    mean_held_out,
    minus_squared_distance,
)
from litecli.heads.ridge import choose_lam, ridge_classes, ridge_held_out_scores


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
