"""How sure an answer is, and whether a photo shows none of the objects. No torch.

Both are learned from the support set alone, by leave-one-out: the temperature that turns scores
into probabilities, and the threshold on `novelty` above which a photo is unknown.
"""

import numpy as np

from litecli.heads import best_temperature
from litecli.labelled import class_counts, held_out_batches, normalise, one_hot
from litecli.ridge import USUAL_LAMBDA, ridge_explained, ridge_held_out, ridge_weights


def fit_temperature(loo_scores: np.ndarray, labels: np.ndarray) -> float:
    """The temperature of softmax(scores / temperature), from leave-one-out scores [N, C].

    The likeliest one, with two corrections. Half a mistake is added to N + 1 photos, because few
    photos without a mistake do not prove that there are none. And a photo of an object with n
    photos was scored from n - 1 of them, worse than a new photo will be: times (n - 1) / n.
    With one photo of each object the spread of the other objects' scores sets the scale.
    """
    own = loo_scores[np.arange(len(labels)), labels]
    seen = np.isfinite(own)
    if loo_scores.shape[1] == 1:
        return 1.0
    if not seen.any():
        others = loo_scores[np.isfinite(loo_scores)]
        return float(max(0.6 * np.std(others), 0.1 * np.abs(np.mean(others)), 1e-6))
    counts = np.bincount(labels[seen])
    per_object = float(np.mean(counts[counts > 0]))
    pessimism = (per_object - 1) / per_object if per_object > 1 else 0.5
    doubt = 0.5 / (int(seen.sum()) + 1)
    return best_temperature(loo_scores[seen], labels[seen], doubt)[0] * pessimism


def probabilities(scores: np.ndarray, temperature: float) -> np.ndarray:
    """softmax(scores / temperature) of scores [M, C], in float64; rows sum to 1."""
    scaled = scores.astype(np.float64) / temperature
    shares = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


def fit_novelty(features: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """What `novelty_of` needs of features [N, D], labels [N] (0..C-1), for many queries.

    Ridge regression as a Gaussian process: `weights` [C, D] gives its mean for each class and
    `explained` [min(N, D), D] its variance.
    """
    known = normalise(features.astype(np.float64))
    targets = one_hot(labels, int(labels.max()) + 1, known)
    return {
        "weights": ridge_weights(known, targets, USUAL_LAMBDA),
        "explained": ridge_explained(known, targets, USUAL_LAMBDA),
    }


def novelty_of(params: dict[str, np.ndarray], queries: np.ndarray) -> np.ndarray:
    """Novelty [M] of queries [M, D]: the variance less the best class's mean, about -1 to 1.

    High when the photo resembles no photo (variance), or resembles several objects and so none
    of them well (mean). Measured, it is better than either, than distances, and than softmax.
    """
    rows = normalise(queries.astype(np.float64))
    mean = rows @ params["weights"].T
    variance = 1 - np.sum((rows @ params["explained"].T) ** 2, axis=1)
    return variance - mean.max(axis=1)


def novelty(
    query_features: np.ndarray, support_features: np.ndarray, support_labels: np.ndarray
) -> np.ndarray:
    """Novelty [M] of queries [M, D] among support features [N, D], labels [N]; see `novelty_of`."""
    return novelty_of(fit_novelty(support_features, support_labels), query_features)


def held_out_novelty(
    features: np.ndarray, labels: np.ndarray, groups: np.ndarray | None = None
) -> np.ndarray:
    """Novelty [N] of each photo among the others, its group left out; closed form.

    NaN where that leaves no photo of the photo's own class.
    """
    known = normalise(features.astype(np.float64))
    targets = one_hot(labels, int(labels.max()) + 1, known)
    batches = held_out_batches(labels, groups)
    [(mean, variance)] = ridge_held_out(known, targets, [USUAL_LAMBDA], batches)
    result = variance - mean.max(axis=1)
    counts = class_counts(targets)
    for batch in batches:
        for (label, held), (_, columns) in zip(batch.counts, batch.columns(), strict=True):
            if counts[label] == held:
                result[batch.members[:, columns]] = np.nan
    return result
