"""A model's network in torch instead of onnxruntime: images -> features. For CUDA above all."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from litecli.image_stream import sent_ahead
from litecli.library.model_files import Model, unusable_model
from litecli.networks import backbone
from litecli.networks.inputs import Standardise

# Images in the network: while it works on some, the next are copied. With 64 of them an H100 waits
# for Python: MobileNetV2 in bf16 9,700 images a second, with 128 20,100, with 512 21,700.
CUDA_CHUNK = 128


class TorchEncoder:
    """Features of photos by a model's network in torch; a `passes.PixelEncoder`.

    In fp32, without TF32, features are those of onnxruntime to about 1e-6 of their length; `bf16`
    is for benchmarks. On a CPU photos come alone, from several threads at once: one thread each,
    as with onnxruntime, is for the program to set (cli/engine.py), since torch has one setting.
    Raises LiteError (MISSING) when the network cannot be built or its weights do not fit.
    """

    def __init__(self, model: Model, device: str = "cpu", bf16: bool = False) -> None:
        self._folder = model.folder
        self._device = torch.device(device)
        self._type = torch.bfloat16 if bf16 else torch.float32
        self._standardise = Standardise(model.config.preprocess, self._device)
        network = backbone.from_model(model.folder, model.config).network
        self._network = network.to(  # type: ignore[call-overload]
            self._device, self._type, memory_format=torch.channels_last
        )

    def encode_pixels(self, pixels: np.ndarray) -> np.ndarray:
        """Features float32 [..., looks, D] of photos uint8 [..., looks, S, S, 3].

        Raises LiteError (MISSING) when they contain NaN or infinity.
        """
        squares = torch.from_numpy(np.ascontiguousarray(pixels)).flatten(0, -4)
        with torch.inference_mode():
            if self._device.type == "cpu":
                found = self._features(squares)
            else:
                chunks = sent_ahead(lambda chunk: chunk, full_chunks(squares), self._device)
                with _without_tf32():
                    found = torch.cat([self._features(chunk) for chunk in chunks]).cpu()
                found = found[: len(squares)]
        found = found.numpy()
        if not np.isfinite(found).all():
            raise unusable_model(self._folder, "used", "Its features contain NaN or infinity.")
        return found.reshape(*pixels.shape[:-3], -1)

    def _features(self, squares: torch.Tensor) -> torch.Tensor:
        """Features [B, D] of uint8 [B, S, S, 3] on the device."""
        # Channels come last in pixels already: the network sees them so without a copy.
        inputs = self._standardise(squares.permute(0, 3, 1, 2))
        return self._network(inputs.to(self._type)).float()


def full_chunks(squares: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """uint8 [N, S, S, 3] in chunks of CUDA_CHUNK, the last one filled up with black.

    cuDNN plans every layer anew for every number of images: seconds, by a rough clock on an H100.
    """
    missing = -len(squares) % CUDA_CHUNK
    if missing:
        squares = torch.cat([squares, squares.new_zeros(missing, *squares.shape[1:])])
    return squares.split(CUDA_CHUNK)


@contextmanager
def _without_tf32() -> Iterator[None]:
    """cuDNN's convolutions in whole fp32, and afterwards as they were."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before
