"""Where the tests of a GPU run: on CUDA, or with `LITECLI_TEST_DEVICE=cpu` on the processor."""

import os

import pytest
import torch

from litecli.networks.devices import resolve_device

DEVICE = os.environ.get("LITECLI_TEST_DEVICE", "cuda")
needs_device = pytest.mark.skipif(
    DEVICE == "cuda" and not torch.cuda.is_available(), reason="needs a CUDA device"
)
needs_memory_of_its_own = pytest.mark.skipif(DEVICE != "cuda", reason="of CUDA's own memory")


@pytest.fixture
def device() -> torch.device:
    return resolve_device(DEVICE)
