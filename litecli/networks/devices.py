"""Where to train, and in which precision."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from litecli.errors import ExitCode, LiteError


def resolve_device(name: str) -> torch.device:
    """The device to train on; LiteError (MACHINE) when the one asked for is not there.

    On CUDA, fp32 is fp32 from then on (no TF32 in convolutions), and convolutions add up in the
    same order each time: a resumed run ends with the same bits.
    """
    if name == "auto":
        mps = torch.backends.mps.is_available()
        name = "cuda" if torch.cuda.is_available() else "mps" if mps else "cpu"
    there = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}
    if name in there and not there[name]():
        raise LiteError(
            f"No {name} device on this machine.", fix="--device auto", code=ExitCode.MACHINE
        )
    if name == "cuda":
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.deterministic = True
    return torch.device(name)


def use_bf16(precision: str, device: torch.device) -> bool:
    """Whether to compute in bfloat16: asked for, or `auto` on a device with units for it."""
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    if device.type != "cpu":
        return False
    checks = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(getattr(torch.cpu, check, bool)() for check in checks)


def depthwise_in_fp32(network: nn.Module) -> None:
    """Let the depthwise convolutions of `network` leave bf16 autocast on a CPU (weights unchanged).

    oneDNN has no bf16 kernels for most of their gradients, and its fall-back makes a training step
    of many mobile networks up to twice as long (tests/benchmarks/depthwise.py).
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1:
            module.forward = partial(  # pyright: ignore[reportAttributeAccessIssue]
                _without_autocast, module.forward
            )


def _without_autocast(forward: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """`forward` in fp32 where the CPU's autocast is on; the output has the type of the input."""
    if images.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
        return forward(images)
    with torch.autocast("cpu", enabled=False):
        return forward(images.float()).to(images.dtype)
