"""FiLM on any timm network: which norm layers it has, the set encoder, and the generator's weights.

A support set's images go through a small set encoder; the mean of its outputs, the task vector,
becomes new scales and shifts for the network's norm layers (generator.py has the formula), and
`torch.func.functional_call` runs the network with them. No hooks, no code for any architecture.
FiLM is Perez et al., "FiLM: visual reasoning with a general conditioning layer" (AAAI 2018); what
makes it of a support set here is CNAPs' (Requeima et al., NeurIPS 2019).
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from litecli.errors import ExitCode, LiteError
from litecli.networks.generator import FilmLayer, film_values, generated_sizes, vector_of_channel

SET_FEATURES = 64  # d, length of the task vector, as in CNAPs
SET_BLOCKS = 5
# The set encoder sees the image at about this side: a task's look needs no fine print, and at
# full size its 64 channels would cost more than the network itself.
SET_SIDE = 84
PENALTY = 1e-3  # of the sum of squares of the FiLM strengths, once per task

_KINDS: tuple[tuple[str, tuple[type[nn.Module], ...]], ...] = (
    ("batch", (nn.modules.batchnorm._BatchNorm,)),
    ("group", (nn.GroupNorm,)),
    ("layer", (nn.LayerNorm,)),
    ("rms", (nn.RMSNorm,)),
)


def film_layers(network: nn.Module) -> list[FilmLayer]:
    """Every affine batch, layer, group or rms norm layer of a network, in its own order."""
    layers = []
    for name, module in network.named_modules():
        weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
        kind = norm_kind(module)
        if kind and isinstance(weight, nn.Parameter) and weight.ndim == 1:
            layers.append(FilmLayer(name, kind, len(weight), isinstance(bias, nn.Parameter)))
    return layers


def norm_kind(module: nn.Module) -> str:
    """batch, group, layer or rms; "" for a module that is no norm layer."""
    for kind, types in _KINDS:
        if isinstance(module, types):
            return kind
    # timm's own rms norms share no base class with torch's.
    return "rms" if "rmsnorm" in type(module).__name__.lower() else ""


def check_film(network: nn.Module, name: str) -> list[FilmLayer]:
    """The norm layers that FiLM can steer; LiteError (USAGE) when there are none."""
    layers = film_layers(network)
    if not layers:
        raise LiteError(
            f"{name} has no norm layers with weights, so FiLM has nothing to adapt.",
            "FiLM gives the batch, layer, group or rms norms of a network new scales and shifts.",
            "another --backbone, or --film off --learner protonets",
            code=ExitCode.USAGE,
        )
    return layers


def coverage(network: nn.Module) -> str:
    """One line on what FiLM reaches: "FiLM on 49 of 49 norm layers (batch), 21008 channels"."""
    layers = film_layers(network)
    norms = sum(1 for module in network.modules() if norm_kind(module))
    kinds = ", ".join(sorted({layer.kind for layer in layers}))
    channels = sum(layer.channels for layer in layers)
    return f"FiLM on {len(layers)} of {norms} norm layers ({kinds}), {channels} channels"


class SetEncoder(nn.Module):
    """Images [B, 3, S, S] -> outputs [B, 64]: convolution, norm, ReLU and pooling, five times.

    As in CNAPs (Requeima et al., 2019), but with group norm: batch norm would make an image's
    output depend on the images beside it, and then neither LITE nor chunking is exact.
    """

    def __init__(self) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        for number in range(SET_BLOCKS):
            width = SET_FEATURES if number else 3
            blocks += [
                nn.Conv2d(width, SET_FEATURES, 3, padding=1, bias=False),
                nn.GroupNorm(8, SET_FEATURES),
                nn.ReLU(),
                # torch calls its way back on CUDA not deterministic: where windows overlap, several
                # gradients add up in any order. These do not overlap.
                nn.MaxPool2d(2, ceil_mode=True),
            ]
        self.blocks = nn.Sequential(*blocks)

    def forward(self, images: Tensor) -> Tensor:
        images = functional.avg_pool2d(images, max(1, images.shape[-1] // SET_SIDE))
        return self.blocks(images).mean((2, 3))


class Generator(nn.Module):
    """Set encoder's outputs [N, 64] -> FiLM values; at the start they are the network's own."""

    def __init__(self, layers: Sequence[FilmLayer]) -> None:
        super().__init__()
        self.layers = tuple(layers)
        vectors, channels = len(generated_sizes(layers)), sum(generated_sizes(layers))
        inner = torch.empty(vectors, SET_FEATURES, SET_FEATURES)
        nn.init.uniform_(inner, -(SET_FEATURES**-0.5), SET_FEATURES**-0.5)
        self.inner_weight = nn.Parameter(inner)
        self.inner_bias = nn.Parameter(torch.zeros(vectors, SET_FEATURES))
        self.norm_weight = nn.Parameter(torch.ones(vectors, SET_FEATURES))
        self.norm_bias = nn.Parameter(torch.zeros(vectors, SET_FEATURES))
        # Zero here and not in `strength`: the values are exactly the network's own at first, and
        # the strengths, which are not zero, let a gradient through to these.
        self.outer_weight = nn.Parameter(torch.zeros(channels, SET_FEATURES))
        self.outer_bias = nn.Parameter(torch.zeros(channels))
        self.strength = nn.Parameter(torch.randn(channels) * 1e-3)
        self.vector_of_channel: Tensor
        self.register_buffer("vector_of_channel", torch.from_numpy(vector_of_channel(layers)))

    def forward(self, outputs: Tensor, norms: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """New values of the `norms` (see `generator.film_values`)."""
        parameters = {**dict(self.named_parameters()), "vector_of_channel": self.vector_of_channel}
        return film_values(self.layers, parameters, norms, outputs)

    def penalty(self) -> Tensor:
        """0.001 x the sum of squares of the strengths (CNAPs' regulariser)."""
        return PENALTY * self.strength.square().sum()
