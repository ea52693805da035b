"""The head of CNAPs: a small network turns each class mean into that class's linear classifier.

After VERSA (Gordon et al., 2019) as CNAPs uses it (Requeima et al., 2019): residual, on features
of unit length, so that it starts as nearest class mean by inner product and learns to do better.
The lines run unchanged on torch tensors and numpy arrays.
"""

from collections.abc import Mapping

from litecli.heads.labelled import Array, array_namespace

HIDDEN = 256  # width inside


def generate_weights(parameters: Mapping[str, Array], means: Array) -> Array:
    """A linear classifier [C, D + 1], its last column the bias, from class means [C, D].

    Each row depends on its own class alone: an object added later changes no other's.
    """
    xp = array_namespace(means)
    hidden = means @ parameters["inner_weight"].T + parameters["inner_bias"]
    hidden = xp.clip(hidden, 0.0, None)
    # No bias here: the same for every class, it would change no probability.
    change = hidden @ parameters["outer_weight"].T  # [C, D + 1]
    return xp.concat([means + change[:, :-1], change[:, -1:]], axis=1)


def linear_scores(weights: Array, queries: Array) -> Array:
    """Scores [M, C] of queries [M, D] under `generate_weights`' classifier."""
    return queries @ weights[:, :-1].T + weights[:, -1]
