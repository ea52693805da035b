"""What a timm network is made of: its maps, its head layers, its batch norms, its cost."""

import torch
from torch import Tensor, nn

from litecli.errors import ExitCode, LiteError
from litecli.memory import is_out_of_memory

TINY = 1e-6  # below any value of a feature that means something


def leave_out_head(network: nn.Module) -> nn.Module:
    """The network without the layers that follow its last stage: features are the map's mean.

    Many convolutional networks widen the pooled map once more, for the classes of their
    classifier; what comes before carries over better to other things (as before the projection
    of SimCLR, Chen et al., 2020). Changes `network`, also returned. Raises LiteError (USAGE) for a
    network that timm cannot cut there.
    """
    try:
        network.prune_intermediate_layers(1, prune_norm=False, prune_head=True)  # type: ignore[operator]
        network.reset_classifier(0, "avg")  # type: ignore[operator]  # pruning took the pooling too
    except (AttributeError, TypeError, ValueError, AssertionError) as error:
        raise LiteError(
            f"{type(network).__name__} cannot be cut behind its last stage.",
            "timm does not say where its head begins.",
            "the same without --pooled",
            code=ExitCode.USAGE,
        ) from error
    return network


def projection_name(network: nn.Module) -> str:
    """Where timm's classifier would be, from which the features come: a projection's place.

    Raises LiteError (USAGE) for a network that has no one such place.
    """
    place = network.get_classifier()  # type: ignore[operator]
    names = [name for name, module in network.named_modules() if module is place and name]
    if len(names) != 1:
        raise LiteError(
            f"{type(network).__name__} has no one place for a projection.",
            "timm does not say where its classifier would be.",
            "the same without --projection",
            code=ExitCode.USAGE,
        )
    return names[0]


class Projection(nn.Linear):
    """A linear map of features [B, D] to as many, at first the identity, behind a signed power.

    A power below 1 keeps few large values from deciding the cosine of two photos (Perronnin et
    al., "Improving the Fisher kernel", 2010; Yang et al., "Free lunch for few-shot learning",
    2021).
    """

    def __init__(self, num_features: int, power: float = 1.0) -> None:
        super().__init__(num_features, num_features, bias=False)
        nn.init.eye_(self.weight)
        self.power = power

    def forward(self, features: Tensor) -> Tensor:
        """Features [B, D] of the network as the model's."""
        return super().forward(signed_power(features, self.power))


def signed_power(values: Tensor, power: float) -> Tensor:
    """sign(x) |x|^power of each value; 0 at 0, and its slope is finite there."""
    return values if power == 1 else values.sign() * (values.abs() + TINY) ** power


def project(network: nn.Module, num_features: int, power: float = 1.0) -> nn.Module:
    """The network with a `Projection` behind it. Changes `network`, also returned.

    Raises LiteError as `projection_name`.
    """
    network.set_submodule(projection_name(network), Projection(num_features, power))
    return network


def shape_for(network: nn.Module, image_size: int) -> tuple[int, ...]:
    """The shape of what a network on the processor makes of one blank image.

    Raises ValueError, with the network's own words, where it cannot see images of this size.
    """
    try:
        with torch.no_grad():
            return tuple(network(torch.zeros(1, 3, image_size, image_size)).shape)
    except (AssertionError, RuntimeError, ValueError) as error:
        if is_out_of_memory(error):
            raise
        raise ValueError(str(error).partition("\n")[0]) from error


def num_features(name: str, network: nn.Module, image_size: int, usual_size: int) -> int:
    """D of the network's features [B, D]; LiteError (USAGE) where it cannot give them."""
    try:
        shape = shape_for(network, image_size)
    except ValueError as error:
        raise LiteError(
            f"{name} with these weights cannot see images of {image_size} px.",
            str(error),
            f"--image-size {usual_size}",
            code=ExitCode.USAGE,
        ) from error
    if len(shape) != 2:
        raise LiteError(
            f"{name} gives features of shape {shape[1:]}, not one vector an image.",
            "Choose a network with pooled features.",
            code=ExitCode.USAGE,
        )
    return shape[1]


def features_and_maps(network: nn.Module, images: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Features [B, D] of images [B, 3, S, S], and two maps [B, C, h, w] from before the pooling.

    The first is the network's last, the second its last but one stage's. Raises LiteError (USAGE)
    for a network that has no such maps.
    """
    try:
        final, stages = network.forward_intermediates(images, indices=2)  # type: ignore[operator]
        features = network.forward_head(final)  # type: ignore[operator]
    except (AttributeError, TypeError) as error:
        raise _no_maps(network) from error
    if final.ndim != 4 or stages[0].ndim != 4:
        raise _no_maps(network)
    return features, [final, stages[0]]


def _no_maps(network: nn.Module) -> LiteError:
    return LiteError(
        f"{type(network).__name__} shows no maps from before its pooling.",
        fix="map_weight = 0 in [pretrain], or a convolutional network",
        code=ExitCode.USAGE,
    )


def batch_norm_layers(network: nn.Module) -> list[str]:
    """Names of the layers whose training-mode output looks at the whole batch."""
    return [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
    ]


def count_macs(network: nn.Module, image_size: int) -> int:
    """Multiply-accumulates of one forward pass of one image, convolutions and matrix products."""
    from torch.utils.flop_counter import FlopCounterMode

    device = next(network.parameters()).device
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 3, image_size, image_size, device=device))
    return counter.get_total_flops() // 2
