"""How sure an answer is, and whether a photo shows none of the objects. No torch.

Both are learned from the support set alone, by leave-one-out: the temperature that turns scores
into probabilities, and the threshold on `novelty` above which a photo is unknown.
"""

import numpy as np

from litecli.heads.labelled import (
    Basis,
    class_counts,
    eigenbasis,
    held_out_batches,
    one_hot,
    repeated,
    repeated_groups,
    unit_rows,
    with_crops,
)
from litecli.heads.photo_counts import held_out_offsets, spread
from litecli.heads.ridge import USUAL_LAMBDA, ridge_explained, ridge_held_out, ridge_weights

VARIANCE_WEIGHT = 1.5  # of novelty's two parts
MOST_NOVELTY_EXAMPLES = 500  # photos and crops that it learns from: each `classify` fits it anew
KEEP_95 = 1.645  # normal quantile: 95 % lie below
USUAL_SPREAD, PRIOR_PHOTOS = 0.2, 4  # of a known photo's novelty, and the photos this is worth
ONE_PHOTO = 0.65  # threshold with one photo of each object, at most
STRANGER_MARGIN = 0.1  # by which it may lie above the objects' novelty to each other
STRANGERS_KNOWN = 0.05  # of things that are no object of anybody's, the most that are taken for one


def fit_temperature(loo_scores: np.ndarray, labels: np.ndarray) -> float:
    """The temperature of softmax(scores / temperature), from leave-one-out scores [N, C].

    Guo et al., "On calibration of modern neural networks" (ICML 2017); `labels` are [N].
    The likeliest one, with two corrections. A quarter of a mistake is added to N + 1 photos,
    because few photos without a mistake do not prove that there are none. And a photo of an object
    with n photos was scored from n - 1 of them, worse than a new one will be: times the root of
    (n - 1) / n. Both were chosen on caltech101, cards and textures (MobileNetV2 1.0).
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
    doubt = 0.25 / (int(seen.sum()) + 1)
    return best_temperature(loo_scores[seen], labels[seen], doubt)[0] * float(np.sqrt(pessimism))


def best_temperature(
    scores: np.ndarray, labels: np.ndarray, doubt: float = 0.0
) -> tuple[float, float]:
    """Temperature of the highest mean log-likelihood of labels [M] under scores [M, C], and that.

    A share `doubt` of every label is given to the best other class, which keeps the temperature
    above zero where all labels are right. Every label's own score must be finite.
    """
    step = -(-len(labels) // 2000)  # two thousand photos settle one number
    scores, labels = scores[::step].astype(np.float64), labels[::step]
    rows = np.arange(len(labels))
    own, others = scores[rows, labels], scores.copy()
    others[rows, labels] = -np.inf
    rival = others.max(axis=1)
    target = own + doubt * np.where(np.isfinite(rival), rival - own, 0.0)
    top = scores.max(axis=1, keepdims=True)
    finite = np.where(np.isfinite(scores), scores - top, 0.0)
    target = target - top[:, 0]

    def likelihood(sharpness: float) -> tuple[float, float]:
        """Mean log-likelihood at temperature 1 / sharpness, and its slope."""
        shares = np.exp(sharpness * (scores - top))
        total = shares.sum(axis=1)
        expected = (shares * finite).sum(axis=1) / total
        value = sharpness * target - np.log(total)
        return float(value.mean()), float((target - expected).mean())

    scale = max(float(np.std(finite)), 1e-12)
    low, high = np.log(1e-2 / scale), np.log(1e4 / scale)
    for _ in range(40):  # the likelihood is concave in the sharpness: bisect its slope
        middle = (low + high) / 2
        low, high = (middle, high) if likelihood(np.exp(middle))[1] > 0 else (low, middle)
    sharpness = float(np.exp((low + high) / 2))
    return 1 / sharpness, likelihood(sharpness)[0]


def probabilities(scores: np.ndarray, temperature: float) -> np.ndarray:
    """softmax(scores / temperature) of scores [M, C], in float64; rows sum to 1."""
    scaled = scores.astype(np.float64) / temperature
    shares = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


def fit_novelty(
    features: np.ndarray,
    labels: np.ndarray,
    basis: Basis = eigenbasis,
    crops: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """What `novelty_of` needs of features [N, D], labels [N] (0..C-1), for many queries.

    Ridge regression as a Gaussian process: `weights` [C, D] and `offsets` [C] (the full
    photo-count correction) give its mean for each class, `explained` [min(N, D), D] its variance.
    It learns from `crops` [N, V, D] too.
    """
    known, targets = _support(features, labels)
    examples, each, lam = _examples(known, crops)
    repeats = repeated(targets, each)
    return {
        "weights": ridge_weights(examples, repeats, lam),
        "offsets": spread(known, targets) / class_counts(targets),
        "explained": ridge_explained(examples, repeats, lam, basis),
    }


def novelty_of(params: dict[str, np.ndarray], queries: np.ndarray) -> np.ndarray:
    """Novelty [M] of queries [M, D]: weighted variance less the best class's mean, about -1 to 1.5.

    High when the photo resembles no photo (variance), or several objects and so none of them
    well (mean). Measured, the two together are better than either, than distances to class means
    or photos, and than softmax confidence (tests/benchmarks/unknowns.py).
    """
    rows = unit_rows(queries.astype(np.float64))
    mean = rows @ params["weights"].T + params["offsets"]
    variance = 1 - np.sum((rows @ params["explained"].T) ** 2, axis=1)
    return VARIANCE_WEIGHT * variance - mean.max(axis=1)


def novelty(
    query_features: np.ndarray,
    support_features: np.ndarray,
    support_labels: np.ndarray,
    basis: Basis = eigenbasis,
    crops: np.ndarray | None = None,
) -> np.ndarray:
    """Novelty [M] of queries [M, D] among support features [N, D], labels [N]; see `novelty_of`."""
    return novelty_of(fit_novelty(support_features, support_labels, basis, crops), query_features)


def unknown_threshold(
    support_features: np.ndarray,
    support_labels: np.ndarray,
    groups: np.ndarray | None = None,
    strangers: np.ndarray | None = None,
    basis: Basis = eigenbasis,
    crops: np.ndarray | None = None,
) -> float:
    """The novelty above which a photo is unknown; it keeps about 95 % of the objects' photos.

    The upper end of a normal interval of the photos' own leave-one-out novelty, its spread drawn
    towards USUAL_SPREAD while they are few. With one photo (or one view) of each object there is
    none: then a little above what the objects' photos look like to each other, as strangers, and
    not so high that more than one in twenty of `strangers` [K, D], other things, would be known.
    """
    own, others = held_out_novelty(support_features, support_labels, groups, basis, crops)
    own = own[np.isfinite(own)]
    if len(own):
        squares = float(np.sum((own - own.mean()) ** 2)) + PRIOR_PHOTOS * USUAL_SPREAD**2
        return float(own.mean() + KEEP_95 * np.sqrt(squares / (len(own) - 1 + PRIOR_PHOTOS)))
    limits = [ONE_PHOTO]
    if np.isfinite(others).any():
        limits.append(float(others[np.isfinite(others)].mean()) + STRANGER_MARGIN)
    if strangers is not None:
        level = novelty(strangers, support_features, support_labels, basis, crops)
        limits.append(float(np.quantile(level, STRANGERS_KNOWN)))
    return min(limits)


def held_out_novelty(
    features: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray | None = None,
    basis: Basis = eigenbasis,
    crops: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Novelty [N] of each photo with its group left out, closed form: (own, stranger).

    `own` is NaN where no photo of its class stays, `stranger` where one does: there the photo
    is met by other objects only, or by nothing at all (NaN in both).
    """
    known, targets = _support(features, labels)
    examples, each, lam = _examples(known, crops)
    held = held_out_batches(*repeated_groups(labels, groups, each))
    [(mean, variance)] = ridge_held_out(examples, repeated(targets, each), [lam], held, basis)
    batches = held_out_batches(labels, groups)
    mean, variance = mean[::each], variance[::each]
    mean = mean + held_out_offsets(known, targets, batches)
    counts = class_counts(targets)
    gone = np.zeros(len(labels), dtype=bool)
    for batch in batches:
        for (label, held), (_, columns) in zip(batch.counts, batch.columns(), strict=True):
            if counts[label] == held:
                mean[batch.members, label] = -np.inf
                gone[batch.members[:, columns]] = True
    result = VARIANCE_WEIGHT * variance - mean.max(axis=1)
    return np.where(gone, np.nan, result), np.where(gone & np.isfinite(result), result, np.nan)


def _support(features: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    known = unit_rows(features.astype(np.float64))
    return known, one_hot(labels, int(labels.max()) + 1, known)


def _examples(known: np.ndarray, crops: np.ndarray | None) -> tuple[np.ndarray, int, float]:
    """Photos and their crops [N * each, D], `each`, and the penalty.

    A photo with its crops weighs as one photo. As many looks at few things seem to explain more
    than they do: with the weight that the ridge head gives them (`shared_penalty`), 20 objects of
    5 photos take twice as many far strangers for their own.
    """
    crops = None if crops is None else unit_rows(crops.astype(np.float64))
    examples, each = with_crops(known, crops, MOST_NOVELTY_EXAMPLES)
    return examples, each, USUAL_LAMBDA * each
