"""Networks of a fixed size of image, and weights that were made for another."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file

from litecli.errors import ExitCode
from litecli.networks import backbone

from .small_networks import network, refusal, save_safetensors, write_timm_folder


def test_a_network_of_fixed_size_is_made_for_the_size_asked_for() -> None:
    built = backbone.build("vit_tiny_patch16_224", "none", 64)
    assert built.preprocess.image_size == 64
    again = backbone.rebuild(built)
    again.load_state_dict(built.network.state_dict())
    assert again(torch.zeros(1, 3, 64, 64)).shape == (1, built.num_features)


def test_weights_for_another_size_are_refused_in_plain_words(tmp_path: Path) -> None:
    folder = write_timm_folder(
        tmp_path / "vit",
        network(name="test_vit").state_dict(),
        architecture="test_vit",
        model_args={"dynamic_img_size": False},
        pretrained_cfg={"fixed_input_size": False},  # so timm is not told of another
    )
    error = refusal("test_vit", str(folder), 64)
    assert error.code == ExitCode.USAGE and "64 px" in error.what and "160" in error.fix


def save_vit(tmp_path: Path, folder: bool, name: str = "vit_tiny_patch16_224") -> str:
    """Weights of a ViT of 96 px, whose table of positions has 6 x 6 places; a file or a folder."""
    with torch.random.fork_rng():
        torch.manual_seed(4)
        made = timm.create_model(name, num_classes=3, img_size=96)
    if not folder:
        return str(save_safetensors(made.state_dict(), tmp_path / "vit.safetensors"))
    cfg = {"input_size": [3, 96, 96], "fixed_input_size": True}
    return str(
        write_timm_folder(
            tmp_path / "vit", made.state_dict(), architecture=name, pretrained_cfg=cfg
        )
    )


@pytest.mark.parametrize("folder", [False, True])
@pytest.mark.parametrize("side", [64, 96])
def test_a_network_of_fixed_size_takes_weights_of_another_size(
    tmp_path: Path, folder: bool, side: int
) -> None:
    """As timm does after a download: `models fetch strong` has 518 px weights, and sees 224 px."""
    name, saved = "vit_tiny_patch16_224", save_vit(tmp_path, folder)
    built = backbone.build(name, saved, side)
    weights_file = Path(saved) / "model.safetensors" if folder else Path(saved)
    expected = timm.create_model(
        name,
        pretrained=True,
        pretrained_cfg_overlay={"state_dict": load_file(weights_file)},
        num_classes=0,
        img_size=side,
    ).eval()
    images = torch.randn(2, 3, side, side)
    with torch.no_grad():
        torch.testing.assert_close(built.network(images), expected(images))
        again = backbone.rebuild(built).eval()
        again.load_state_dict(built.network.state_dict())
        torch.testing.assert_close(again(images), expected(images))
    assert built.preprocess.image_size == side


def test_a_timm_folder_of_a_fixed_size_is_seen_at_its_own(tmp_path: Path) -> None:
    assert backbone.build("", save_vit(tmp_path, True)).preprocess.image_size == 96
    argued = write_timm_folder(
        tmp_path / "argued",
        timm.create_model("vit_tiny_patch16_224", num_classes=0, img_size=64).state_dict(),
        architecture="vit_tiny_patch16_224",
        model_args={"img_size": [64, 64]},
    )
    assert backbone.build("", str(argued)).preprocess.image_size == 64
    assert backbone.build("", str(argued), 96).preprocess.image_size == 96


def test_only_positions_are_brought_to_another_size(tmp_path: Path) -> None:
    """timm would also stretch the patches of another network until they fit."""
    other = timm.create_model("vit_tiny_patch16_224", img_size=96, patch_size=32)
    saved = save_safetensors(other.state_dict(), tmp_path / "patch32.safetensors")
    for name, path, odd in (
        ("vit_tiny_patch16_224", str(saved), "patch_embed.proj.weight"),
        ("vit_small_patch16_224", save_vit(tmp_path, False), "cls_token"),
    ):
        error = refusal(name, path, 96)
        assert error.code == ExitCode.MISSING and "another network" in error.what
        assert odd in error.why
