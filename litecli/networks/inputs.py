"""Pixels to a network's inputs, in torch; of numpy's arrays, `images.to_input` does it."""

import torch
from torch import Tensor

from litecli.config import Preprocess


class Standardise:
    """(value / 255 - mean) / std; made once for a GPU, which is waited for to send the numbers."""

    def __init__(self, preprocess: Preprocess, device: torch.device) -> None:
        self._mean, self._std = (
            255 * torch.tensor(values, device=device).view(3, 1, 1)
            for values in (preprocess.mean, preprocess.std)
        )

    def __call__(self, pixels: Tensor) -> Tensor:
        """float32 [B, 3, S, S] of uint8 or float [B, 3, S, S] in 0 to 255, in the same strides."""
        return (pixels.float() - self._mean) / self._std


def standardised(pixels: Tensor, preprocess: Preprocess) -> Tensor:
    """`Standardise` of one batch, on its device; as `to_input`, up to float rounding."""
    return Standardise(preprocess, pixels.device)(pixels)
