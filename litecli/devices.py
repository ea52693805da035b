"""Where to train, and in which precision."""

import torch

from litecli.errors import ExitCode, LiteError


def resolve_device(name: str) -> torch.device:
    """The device to train on; LiteError (MACHINE) when the one asked for is not there."""
    if name == "auto":
        mps = torch.backends.mps.is_available()
        name = "cuda" if torch.cuda.is_available() else "mps" if mps else "cpu"
    there = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}
    if name in there and not there[name]():
        raise LiteError(
            f"No {name} device on this machine.", fix="--device auto", code=ExitCode.MACHINE
        )
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
