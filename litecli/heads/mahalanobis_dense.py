"""The Mahalanobis head's metrics as matrices [D, D] in torch: one Cholesky factor of each.

Of many photos in few classes they are found sooner than the low-rank form of mahalanobis.py, which
chooses (`dense_is_sooner`). They are C D^2 numbers, and numpy has no triangular solve: so no
profile keeps them. Nor does training, whose gradient the low-rank form has sooner at every size.
"""

import torch
from torch import Tensor

from litecli.heads.labelled import class_means
from litecli.heads.mahalanobis import photos_of_classes, shares


def dense_classes(features: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """`means` [C, D] from `centre` [D] and `factors` [C, D, D], lower ones of each Q_c."""
    centre = features.mean(0)
    rows = features - centre
    means = class_means(rows, targets)
    scatter, metrics = rows.T @ rows, rows.new_empty(len(means), *rows.shape[1:] * 2)
    for metric, mean, photos in zip(metrics, means, photos_of_classes(targets), strict=True):
        task, own = shares(len(photos), len(rows))
        away = rows[photos] - mean
        torch.addmm(scatter, away.T, away, beta=task, alpha=own, out=metric)
        metric.diagonal().add_(1)
    return {"centre": centre, "means": means, "factors": torch.linalg.cholesky(metrics)}


def dense_scores(params: dict[str, Tensor], queries: Tensor) -> Tensor:
    """Minus the squared distances [M, C] of queries [M, D]."""
    gaps = (queries - params["centre"] - params["means"][:, None]).mT  # [C, D, M]
    gaps = torch.linalg.solve_triangular(params["factors"], gaps, upper=False)
    return -gaps.square().sum(1).T
