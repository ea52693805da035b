"""The heads that a model can adapt with: those of heads/heads.py, and CNAPs' own, a part of it."""

from collections.abc import Mapping
from functools import partial

import numpy as np

from litecli.errors import ExitCode, LiteError
from litecli.heads.generated import generate_weights, linear_scores
from litecli.heads.head import Head
from litecli.heads.heads import HEADS
from litecli.heads.labelled import Basis, HeldOut, class_counts, class_means, held_out_means
from litecli.library.data_folder import learn_again
from litecli.library.model_files import Model
from litecli.library.model_tensors import model_tensors, unfit
from litecli.library.profile import Profile
from litecli.library.profile_library import damaged_profile

GENERATED = "generated"
_PREFIX = "head_generator."  # of the tensors that make CNAPs' classifier
_PARTS = ("inner_weight", "inner_bias", "outer_weight")


def head_of(model: Model, name: str) -> Head:
    """The head of a profile or a config: a key of heads.heads.HEADS, or "generated".

    Raises LiteError (MISSING) when there is none of that name, or the model lacks its parts, or
    they do not fit together.
    """
    if name == GENERATED:
        parameters = model_tensors(model, _PREFIX, _PARTS)
        means = np.zeros((1, model.config.num_features), np.float32)
        try:
            fits = generate_weights(parameters, means).shape == (1, means.shape[1] + 1)
        except (ValueError, IndexError, TypeError):
            fits = False
        if not fits:
            raise unfit(model)
        return generated_head(parameters)
    if name not in HEADS:
        raise LiteError(
            f"This litecli has no head {name}.",
            fix="pip install --upgrade litecli",
            code=ExitCode.MISSING,
        )
    return HEADS[name]


def profile_head(profile: Profile, model: Model) -> Head:
    """The head of a profile, tried on its first photo.

    Raises LiteError (MISSING) when the head's parameters, features and objects do not fit.
    """
    head = head_of(model, profile.head)
    try:
        scores = head.score(profile.head_params, profile.embeddings[:1])
        fits = scores.shape == (1, len(profile.labels)) and bool(np.isfinite(scores).all())
    except (KeyError, ValueError, IndexError):
        fits = False
    if not fits or profile.embeddings.shape[1] != model.config.num_features:
        fix = learn_again(profile.folder, profile.name, profile.file)
        raise damaged_profile(profile.name, "Its numbers do not fit together.", fix)
    return head


def generated_head(parameters: Mapping[str, np.ndarray]) -> Head:
    """CNAPs' head (heads/generated.py) with its trained `parameters`, as adapt and classify use it.

    Means of unit-length features; the photo-count correction is that of an inner product.
    """
    return Head(
        name=GENERATED,
        unit_length=True,
        factor=0.5,
        fit_classes=partial(_classes, parameters),
        similarity=_similarity,
        held_out=partial(_held_out, parameters),
    )


def _classes(
    parameters: Mapping[str, np.ndarray], features: np.ndarray, targets: np.ndarray, lam: float
) -> dict[str, np.ndarray]:
    return {"weights": generate_weights(parameters, class_means(features, targets))}


def _similarity(params: dict[str, np.ndarray], queries: np.ndarray) -> np.ndarray:
    return linear_scores(params["weights"], queries)


def _held_out(
    parameters: Mapping[str, np.ndarray],
    features: np.ndarray,
    targets: np.ndarray,
    lam: float,
    batches: list[HeldOut],
    basis: Basis,
) -> np.ndarray:
    """Scores [N, C] with each group taken out: a class's weights depend on its own mean alone."""
    means, counts = class_means(features, targets), class_counts(targets)
    scores = linear_scores(generate_weights(parameters, means), features)
    for batch in batches:
        for label, columns in batch.columns():
            taken = features[batch.members[:, columns]]  # [groups, photos, D]
            kept = held_out_means(means[label], counts[label], taken)
            weights = generate_weights(parameters, kept)  # [groups, D + 1]
            own = features[batch.members]
            products = np.einsum("gpd,gd->gp", own, weights[:, :-1])
            scores[batch.members, label] = products + weights[:, -1:]
    return scores
