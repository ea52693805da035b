"""FiLM values from a task vector: the generator of CNAPs (Requeima et al., 2019), for any network.

FiLM after a norm layer, gamma * (w * x + b) + beta, is that layer with other parameters:
gamma * w as its weight and gamma * b + beta as its bias. So the generator's answer is a set of
plain weights, and a network that uses them costs what it cost before.

The lines run unchanged on torch tensors (training) and numpy arrays (`adapt`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from litecli.heads.labelled import Array, array_namespace

EPSILON = 1e-5  # of the normalisation inside the generator


@dataclass(frozen=True)
class FilmLayer:
    """One affine norm layer of a network; `bias` is False where it has no shift (rms norms)."""

    name: str  # in the network
    kind: str  # batch, layer, group or rms
    channels: int
    bias: bool

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """Names of its parameters in the network: the scale, then the shift where it has one."""
        return (f"{self.name}.weight", f"{self.name}.bias")[: 1 + self.bias]


def generated_sizes(layers: Sequence[FilmLayer]) -> list[int]:
    """Channels of each generated vector: a scale for every layer, then a shift where it has one."""
    return [layer.channels for layer in layers for _ in range(1 + layer.bias)]


def vector_of_channel(layers: Sequence[FilmLayer]) -> np.ndarray:
    """For every generated number, the vector it belongs to: int64 [T]."""
    sizes = generated_sizes(layers)
    return np.repeat(np.arange(len(sizes)), sizes)


def film_values(
    layers: Sequence[FilmLayer],
    parameters: Mapping[str, Array],
    norms: Mapping[str, Array],
    outputs: Array,
) -> dict[str, Any]:
    """New norm parameters by name, from the set encoder's outputs [N, d] of a support set.

    `parameters` are the generator's: a small network for each of K vectors (Linear, layer norm,
    ReLU) and one row for each of T channels. `norms` are the network's own norm parameters.
    gamma = 1 + r * g(z) and beta = r * g(z), z being the mean of the outputs.
    """
    xp = array_namespace(outputs)
    task_vector = xp.mean(outputs, axis=0)
    hidden = xp.sum(parameters["inner_weight"] * task_vector, axis=-1) + parameters["inner_bias"]
    centred = hidden - xp.mean(hidden, axis=-1, keepdims=True)
    variance = xp.mean(centred * centred, axis=-1, keepdims=True)
    hidden = centred / xp.sqrt(variance + EPSILON)
    hidden = xp.clip(hidden * parameters["norm_weight"] + parameters["norm_bias"], 0.0, None)
    vectors = hidden[parameters["vector_of_channel"]]  # [T, d]
    change = xp.sum(parameters["outer_weight"] * vectors, axis=-1) + parameters["outer_bias"]
    change = change * parameters["strength"]

    values, start = {}, 0
    for layer in layers:
        middle, end = start + layer.channels, start + layer.channels * (1 + layer.bias)
        gamma = 1.0 + change[start:middle]
        weight, *shift = layer.parameter_names
        values[weight] = gamma * norms[weight]
        for bias in shift:
            values[bias] = gamma * norms[bias] + change[middle:end]
        start = end
    return values
