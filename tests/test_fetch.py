"""Networks that are fetched: made into models that open, once their licence is accepted."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from litecli import storage
from litecli.errors import ExitCode, LiteError
from litecli.library.model_files import open_model
from litecli.networks import graph, hub, timm_networks
from litecli.networks.encoder import Encoder
from litecli.networks.model_folder import fetch
from litecli.networks.timm_networks import NAMED_NETWORKS

from .written_models import Written, small

__all__ = ("small",)  # a fixture


def test_fetch_makes_a_model_that_opens(
    tmp_path: Path, small: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = onnx.load(small.folder / "encoder.onnx")
    monkeypatch.setattr(graph, "export", lambda network, side: whole)  # seconds saved
    state = {
        name.removeprefix("backbone."): torch.from_numpy(value)
        for name, value in storage.read_tensors(small.folder / "model.safetensors")[0].items()
        if name.startswith("backbone.")
    }
    torch.save(state, tmp_path / "w.pth")
    config = fetch("test_byobnet", tmp_path / "fetched", str(tmp_path / "w.pth"), image_size=32)
    opened = open_model(tmp_path / "fetched")
    assert opened.config == config and opened.config.head == "auto"
    images = small.images(2)
    np.testing.assert_allclose(
        Encoder(opened.folder).encode(images), Encoder(small.folder).encode(images), rtol=1e-5
    )
    assert "weights as they come" in (opened.folder / "README.md").read_text()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("dinov3", "a licence of their own: dinov3-license"),
        ("hf-hub:timm/vit_small_patch16_dinov3.lvd1689m", "dinov3-license"),
        ("hf-hub:someone/their_net", "licence .* is unknown"),
    ],
)
def test_weights_with_a_licence_of_their_own_are_fetched_only_once_it_is_accepted(
    name: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "answers", lambda: False)
    with pytest.raises(LiteError, match=said) as caught:
        fetch(name, tmp_path / "m")
    assert caught.value.code == ExitCode.USAGE and "--accept-license" in caught.value.fix
    repository = name.removeprefix("hf-hub:") if ":" in name else "vit_small_patch16_dinov3"
    assert (
        f"https://huggingface.co/{'' if ':' in name else 'timm/'}{repository}" in caught.value.why
    )
    with pytest.raises(LiteError) as caught:
        fetch(name, tmp_path / "m", accept_licence=True)
    assert caught.value.code == ExitCode.NETWORK  # the licence is no longer in the way


def test_every_named_network_is_one_that_timm_knows() -> None:
    for name, _ in NAMED_NETWORKS.values():
        timm_networks.check_name(name)
