"""Weights files: reading them without running anything, fitting them to a network."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from litecli import storage
from litecli.config import BACKBONE_PREFIX, MODEL_KEY
from litecli.errors import ExitCode, LiteError

# Weights, the network that they are for -> the same weights in its form.
Fit = Callable[[dict[str, Tensor], nn.Module], dict[str, Tensor]]


def load_into(network: nn.Module, path: Path, fit: Fit | None = None) -> None:
    """Load weights, classifier rows ignored; refuse pickled code and other architectures.

    Weights that do not fit as they are may be brought into form by `fit`: renamed, and their
    position tables at another size; any other tensor of another shape is of another network.
    """
    state = read_weights(path)
    wanted = without_counters(network.state_dict())
    missing, odd = _unfit(state, wanted)
    if fit is not None and (missing or odd) and all("pos" in name for name in odd):
        fitted = fit(state, network)
        if _unfit(fitted, wanted) == ([], []):
            state, missing, odd = fitted, [], []
    if missing or odd:
        names = ", ".join((odd + missing)[:3])
        raise LiteError(
            f"{path.name} holds weights of another network: {len(missing) + len(odd)} of "
            f"{len(wanted)} tensors do not fit.",
            f"The first are {names}.",
            "give the name of the network that they are of",
            code=ExitCode.MISSING,
        )
    network.load_state_dict({name: state[name] for name in wanted}, strict=False)


def _unfit(
    state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]
) -> tuple[list[str], list[str]]:
    """Names of the tensors that are missing, and of those with another shape."""
    missing = [name for name in wanted if name not in state]
    odd = [n for n in wanted if n in state and state[n].shape != wanted[n].shape]
    return missing, odd


def read_weights(path: Path) -> dict[str, Tensor]:
    """A state dict from safetensors or a `weights_only` torch file; LiteError MISSING otherwise."""
    if path.suffix == ".safetensors":
        tensors, metadata = storage.read_tensors(path)
        own = BACKBONE_PREFIX if MODEL_KEY in metadata else ""  # a litecli model holds more
        return {
            name.removeprefix(own): torch.from_numpy(value.copy())
            for name, value in tensors.items()
            if name.startswith(own)
        }
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling refuses in many ways; the user's answer is one
        raise LiteError(
            f"{path} cannot be loaded as plain weights.",
            "It is damaged or contains code, which litecli never runs.",
            "convert it to safetensors on a machine where you trust it",
            code=ExitCode.MISSING,
        ) from error
    state = loaded if isinstance(loaded, dict) else {}  # anything else fits no network
    for key in ("state_dict_ema", "state_dict", "model"):
        if isinstance(state.get(key), dict):
            state = state[key]
            break
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}


def without_counters(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict without batch norm's step counters: files leave them out, nothing needs them."""
    return {n: value for n, value in state.items() if not n.endswith("num_batches_tracked")}
