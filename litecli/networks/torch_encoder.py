"""A model's network in torch instead of onnxruntime: images -> features. For CUDA above all."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from litecli.errors import ExitCode, LiteError
from litecli.image_stream import sent_ahead
from litecli.library.model_files import Model
from litecli.networks import backbone

CUDA_CHUNK = 64  # images in the network: while it works on some, the next are copied


class TorchEncoder:
    """Features of photos by a model's network in torch; takes the place of `encoder.Encoder`.

    In fp32, without TF32, features are those of onnxruntime to about 1e-6 of their length; `bf16`
    is for benchmarks. On a CPU photos come alone, from several threads at once: one thread each,
    as with onnxruntime, is for the program to set (cli/engine.py), since torch has one setting.
    Raises LiteError (MISSING) when the network cannot be built or its weights do not fit.
    """

    def __init__(self, model: Model, device: str = "cpu", bf16: bool = False) -> None:
        self._folder = model.folder
        self._device = torch.device(device)
        self._type = torch.bfloat16 if bf16 else torch.float32
        network = backbone.from_model(model.folder, model.config).network
        self._network = network.to(  # type: ignore[call-overload]
            self._device, self._type, memory_format=torch.channels_last
        )

    def each_look(self, looks: np.ndarray) -> np.ndarray:
        """Features float32 [..., looks, D] of photos [..., looks, 3, S, S].

        Raises LiteError (MISSING) when they contain NaN or infinity.
        """
        images = torch.from_numpy(np.ascontiguousarray(looks)).flatten(0, -4)
        with torch.inference_mode():
            if self._device.type == "cpu":
                found = self._features(images)
            else:
                chunks = sent_ahead(lambda chunk: chunk, images.split(CUDA_CHUNK), self._device)
                with _without_tf32():
                    found = torch.cat([self._features(chunk) for chunk in chunks]).cpu()
        found = found.numpy()
        if not np.isfinite(found).all():
            raise LiteError(
                f"The model in {self._folder} cannot be used.",
                "Its features contain NaN or infinity.",
                "litecli models list   (and pick another: litecli models use NAME)",
                code=ExitCode.MISSING,
            )
        return found.reshape(*looks.shape[:-3], -1)

    def _features(self, images: torch.Tensor) -> torch.Tensor:
        images = images.to(self._device, self._type, memory_format=torch.channels_last)
        return self._network(images).float()


@contextmanager
def _without_tf32() -> Iterator[None]:
    """cuDNN's convolutions in whole fp32, and afterwards as they were."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before
