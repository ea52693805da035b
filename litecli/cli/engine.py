"""`adapt --engine`: which library runs the network, and where."""

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from litecli.cli.options import Common, no_cuda, on_the_processor
from litecli.errors import ExitCode, LiteError

if TYPE_CHECKING:
    from litecli.library.model_files import Model
    from litecli.networks.passes import Engine, PixelEncoder

# One core takes about 0.011 s of mobilenetv2_100 for a photo, and reads it in 0.026 s, which a GPU
# does not spare it. A start of ten seconds (torch, timm, CUDA) is won back from 900 photos a core
# on: estimated, not measured.
AUTO_CUDA_PHOTOS = 1000  # for each core
CUDA_TOGETHER = 256  # images that a GPU is given at once; at 224 px, 39 MB of pixels
CUDA_NODES = ("/dev/nvidia0", "/dev/dxg")  # Linux, and Linux inside Windows


class EngineName(StrEnum):
    """What runs the network."""

    AUTO = "auto"
    ONNX = "onnx"
    TORCH = "torch"


def check_engine(common: Common, engine: EngineName) -> None:
    """Raise LiteError (USAGE) when --engine and --device contradict each other."""
    if engine is EngineName.ONNX and common.device == "cuda":
        raise LiteError(
            "--engine onnx runs on the processor, not on CUDA.",
            fix="--engine torch --device cuda, or leave --device out",
            code=ExitCode.USAGE,
        )


def choose_engine(
    common: Common, engine: EngineName, model: "Model", count_new: Callable[[], int]
) -> "Engine | None":
    """The engine that was asked for; None is onnxruntime, and torch is not loaded.

    Left to `auto` it is torch only where a CUDA device can be seen, and `count_new()`, the photos
    to encode, are many. Raises LiteError: USAGE (torch and FiLM), MACHINE (no CUDA device).
    """
    from litecli.threads import workers

    asked = engine is EngineName.TORCH or common.device == "cuda"
    if not asked:
        unasked = engine is EngineName.AUTO and common.device == "auto" and not model.config.film
        seen = unasked and any(Path(node).exists() for node in CUDA_NODES)
        if not (seen and count_new() >= AUTO_CUDA_PHOTOS * workers()):
            on_the_processor(common, "adapt")
            return None
    import torch

    there = torch.cuda.is_available()
    if common.device == "cuda" and not there:
        raise no_cuda("adapt")
    if model.config.film:
        raise LiteError(
            f"{model.name} tunes itself to the photos (FiLM): that runs with onnx only.",
            fix="leave --engine and --device out, or another --model",
            code=ExitCode.USAGE,
        )
    if not (asked or there):
        return None
    if common.device == "mps":
        on_the_processor(common, "adapt")
    from litecli.networks.passes import Engine

    device = "cuda" if there and common.device in ("auto", "cuda") else "cpu"
    if device == "cpu":  # as many photos at once as there are cores: one thread for each
        torch.set_num_threads(1)
    common.out.detail(f"torch runs the network, on {device}")
    preprocess = model.config.preprocess
    looks = len(preprocess.look_shares) + preprocess.support_looks
    together = max(1, CUDA_TOGETHER // looks) if device == "cuda" else 1
    return Engine(lambda: _torch_encoder(model, device), together)


def _torch_encoder(model: "Model", device: str) -> "PixelEncoder":
    """Imports timm, which takes seconds: in a thread, while photos are read."""
    from litecli.networks.torch_encoder import TorchEncoder

    return TorchEncoder(model, device)
