"""Parts of timm networks: maps, batch norms, cost, and the head that can be left out."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from litecli.errors import ExitCode, LiteError
from litecli.library.model_files import open_model
from litecli.networks import backbone
from litecli.networks.encoder import Encoder
from litecli.networks.model_folder import fetch, load_model
from litecli.networks.parts import (
    batch_norm_layers,
    count_macs,
    features_and_maps,
    leave_out_head,
)

SIDE = 64
HEADED = "mobilenetv3_small_050"  # timm widens its pooled map from 288 to 1024
FAMILIES = ("efficientnet_b0", "mobilenetv4_conv_small", "convnext_atto", "resnet18", "test_vit")


def network(name: str, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return timm.create_model(name, num_classes=0).eval()


def pictures(side: int = SIDE) -> Tensor:
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))


def pooled_map(name: str) -> Tensor:
    """What the network's last map says of `pictures`, by its mean."""
    with torch.no_grad():
        _, maps = features_and_maps(network(name), pictures())
        return maps[0].mean((2, 3))


@pytest.mark.parametrize("name", FAMILIES)
def test_without_its_head_any_network_still_gives_features(name: str) -> None:
    side = 160 if name == "test_vit" else SIDE
    whole = network(name)
    size = sum(parameter.numel() for parameter in whole.parameters())
    cut = leave_out_head(whole).eval()
    assert sum(parameter.numel() for parameter in cut.parameters()) <= size
    with torch.no_grad():
        features = cut(pictures(side))
    assert features.ndim == 2 and features.std() > 0


def test_without_its_head_features_are_the_mean_of_the_last_map() -> None:
    with torch.no_grad():
        found = leave_out_head(network(HEADED))(pictures())
    torch.testing.assert_close(found, pooled_map(HEADED))
    assert found.shape == (2, 288) and network(HEADED)(pictures()).shape == (2, 1024)


def test_a_network_that_timm_cannot_cut_is_refused() -> None:
    with pytest.raises(LiteError, match="Linear cannot be cut") as caught:
        leave_out_head(nn.Linear(2, 2))
    assert caught.value.code == ExitCode.USAGE and "--pooled" in caught.value.fix


@pytest.mark.parametrize("with_head", [True, False])
def test_weights_with_or_without_the_head_fit_a_pooled_network(
    tmp_path: Path, with_head: bool
) -> None:
    state = network(HEADED).state_dict()
    kept = {n: x for n, x in state.items() if with_head or not n.startswith("conv_head")}
    save_file(kept, tmp_path / "w.safetensors")
    built = backbone.build(HEADED, str(tmp_path / "w.safetensors"), SIDE, pooled=True)
    assert built.pooled and built.num_features == 288
    with torch.no_grad():
        torch.testing.assert_close(built.network(pictures()), pooled_map(HEADED))
    if not with_head:
        with pytest.raises(LiteError, match="another network"):
            backbone.build(HEADED, str(tmp_path / "w.safetensors"), SIDE)


def test_a_pooled_model_is_written_opened_and_trained_on_as_pooled(tmp_path: Path) -> None:
    save_file(network(HEADED).state_dict(), tmp_path / "w.safetensors")
    weights = str(tmp_path / "w.safetensors")
    config = fetch(HEADED, tmp_path / "pooled", weights, image_size=SIDE, pooled=True)
    assert config.pooled and config.num_features == 288
    model = open_model(tmp_path / "pooled")
    assert model.config == config
    stored = load_file(tmp_path / "pooled" / "model.safetensors")
    assert not [name for name in stored if "conv_head" in name]
    images = pictures().numpy()
    found = Encoder(model.folder).encode(images)
    np.testing.assert_allclose(found, pooled_map(HEADED).numpy(), rtol=1e-4, atol=1e-5)
    loaded = load_model(model.folder, config)
    with torch.no_grad():
        torch.testing.assert_close(loaded.features(pictures()), pooled_map(HEADED))
    again = backbone.build("resnet18", str(model.folder))  # the folder says what it is
    assert again.pooled and again.num_features == 288


def test_a_model_with_a_head_can_lose_it(tmp_path: Path) -> None:
    save_file(network(HEADED).state_dict(), tmp_path / "w.safetensors")
    config = fetch(HEADED, tmp_path / "whole", str(tmp_path / "w.safetensors"), image_size=SIDE)
    assert not config.pooled and config.num_features == 1024
    built = backbone.build("resnet18", str(tmp_path / "whole"), pooled=True)
    assert built.pooled and built.num_features == 288
    with torch.no_grad():
        torch.testing.assert_close(built.network(pictures()), pooled_map(HEADED))


def test_a_model_that_cannot_see_the_size_asked_for_says_so(tmp_path: Path) -> None:
    config = fetch("vit_tiny_patch16_224", tmp_path / "vit", "none", image_size=64)
    assert backbone.build("x", str(tmp_path / "vit")).num_features == config.num_features
    with pytest.raises(LiteError, match="cannot see images of 96 px") as caught:
        backbone.build("x", str(tmp_path / "vit"), 96)
    assert caught.value.code == ExitCode.USAGE and caught.value.fix == "--image-size 64"


@pytest.mark.parametrize("value", [1, "yes", None])
def test_a_config_that_is_odd_about_its_head_is_refused(value: object) -> None:
    config = backbone.ModelConfig("x", HEADED, 288)
    with pytest.raises(TypeError, match="pooled"):
        backbone.ModelConfig.from_dict(config.to_dict() | {"pooled": value})
    old = {key: x for key, x in config.to_dict().items() if key != "pooled"}
    assert backbone.ModelConfig.from_dict(old) == replace(config, pooled=False)


def test_a_network_without_maps_is_refused() -> None:
    vit = backbone.build("test_vit", "none").network
    with pytest.raises(LiteError, match="shows no maps") as caught:
        features_and_maps(vit, torch.zeros(1, 3, 160, 160))
    assert caught.value.code == ExitCode.USAGE


def test_maps_come_with_the_networks_own_features() -> None:
    for small in (network("test_byobnet"), leave_out_head(network(HEADED))):
        with torch.no_grad():
            found, maps = features_and_maps(small, pictures())
            torch.testing.assert_close(found, small(pictures()))
        assert maps[0].shape[2] < maps[1].shape[2]


def test_batch_norm_is_found_by_its_type() -> None:
    assert len(batch_norm_layers(network("test_byobnet"))) > 5
    assert not batch_norm_layers(network("test_convnext"))
    assert not batch_norm_layers(network("test_vit"))


def test_cost_grows_with_the_area() -> None:
    small = network("test_byobnet")
    assert count_macs(small, 64) > 3 * count_macs(small, 32)
