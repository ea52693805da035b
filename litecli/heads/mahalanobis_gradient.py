"""Gradient of the Mahalanobis head's distances, written out: no eigenvector is differentiated.

With s = Q_c^-1 (q - m_c), the solution that the low-rank form of mahalanobis.py has anyway,

    dd/dq = 2 s,   dd/dm_c = -2 s,   dd/dQ_c = -s s'

and Q_c is two scatter matrices plus the identity: task X'X, X the photos about their mean, and own
R_c'R_c, R_c those of the class about theirs. So X takes -2 task X s s' and R_c takes
-2 own R_c s s', exactly, whichever eigenvalues are equal.
"""

from typing import Any

import torch
from torch import Tensor

from litecli.heads.mahalanobis import mahalanobis_scores, photos_of_classes, shares


def scores_with_gradient(params: dict[str, Tensor], queries: Tensor) -> Tensor:
    """`mahalanobis_scores` [M, C] of queries [M, D], with a gradient through `features` too."""
    return _Scores.apply(params["features"], queries, params)  # type: ignore[no-any-return]


def in_double(values: Tensor) -> Tensor:
    """`values` in float64, on the processor where their device has none (Apple's mps)."""
    return (values.cpu() if values.device.type == "mps" else values).double()


class _Scores(torch.autograd.Function):
    """Scores of features [N, D] and queries [M, D]; the rest of the parameters follows."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, queries: Tensor, params: dict[str, Tensor]) -> Tensor:
        ctx.save_for_backward(features, queries)
        ctx.params = {name: value.detach() for name, value in params.items() if name != "features"}
        return mahalanobis_scores(ctx.params, queries)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        """Of features [N, D] and queries [M, D], from that of the scores [M, C]."""
        # In float64: a shift of all features has no gradient, and its parts should cancel.
        like = gradient
        features, queries, gradient = (in_double(x) for x in (*ctx.saved_tensors, gradient))
        params = {name: in_double(value) for name, value in ctx.params.items()}
        basis, targets = params["basis"], params["targets"]
        num_inside = len(basis)
        places, inside = ((x - params["centre"]) @ basis.T for x in (features, queries))
        outside = torch.zeros_like(queries)
        if num_inside < len(basis.T):  # all metrics are the identity there
            outside = queries - params["centre"] - inside @ basis
        pulls = -2 * gradient
        to_queries = torch.zeros_like(inside)
        # The photos take `along` [N, K] in the basis and `across` [N, M] times `outside`.
        along, across = torch.zeros_like(places), pulls.new_zeros(len(features), len(queries))
        scatter, crossed = basis.new_zeros(num_inside, num_inside), torch.zeros_like(inside)
        for label, photos in enumerate(photos_of_classes(targets)):
            task, own = shares(len(photos), len(features))
            rows, diagonal = params["rows"][photos], params["weights"][label, :num_inside]
            mean = places[photos].mean(0)
            gaps = inside - mean
            solved = gaps * diagonal - (gaps @ rows.T) @ rows  # [M, K]
            pulled = solved * pulls[:, label, None]
            to_queries += pulled
            scatter.addmm_(pulled.T, solved, alpha=task)
            crossed.add_(pulled, alpha=task)
            seen = own * (places[photos] - mean) @ pulled.T  # [n, M]
            along[photos] = -(seen @ solved) - pulled.sum(0) / len(photos)
            across[photos] = -seen - pulls[:, label] / len(photos)
        along -= places @ scatter
        across -= places @ crossed.T
        to_features = along @ basis + across @ outside
        to_queries = to_queries @ basis + pulls.sum(1, keepdim=True) * outside
        return to_features.to(like), to_queries.to(like), None
