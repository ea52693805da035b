"""A small network of timm's, its weights in a file or a folder, and what is refused."""

import json
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from litecli.errors import LiteError
from litecli.networks import backbone

NAME, SIDE = "test_byobnet", 32


def network(seed: int = 0, name: str = NAME, num_classes: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return timm.create_model(name, num_classes=num_classes).eval()


def refusal(*args: object, **options: object) -> LiteError:
    with pytest.raises(LiteError) as caught:
        backbone.build(*args, **options)  # type: ignore[arg-type]
    return caught.value


def save_safetensors(state: dict[str, Tensor], path: Path) -> Path:
    save_file({name: value.contiguous() for name, value in state.items()}, path)
    return path


def write_timm_folder(folder: Path, state: dict[str, Tensor], **config: object) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    save_safetensors(state, folder / "model.safetensors")
    return folder
