"""Where training runs and in which precision."""

import copy

import pytest
import timm
import torch
from torch import Tensor, nn

from litecli.devices import depthwise_in_fp32

NETWORKS = ("mobilenetv4_conv_small_035", "mobilenetv2_035", "convnext_atto", "resnet18")


def depthwise_types(network: nn.Module) -> tuple[Tensor, set[torch.dtype], set[torch.dtype]]:
    """Features, and the types that depthwise and other convolutions compute in, under autocast."""
    types: tuple[set[torch.dtype], set[torch.dtype]] = (set(), set())
    real = torch.nn.functional.conv2d

    def watched(images: Tensor, weight: Tensor, *rest: object) -> Tensor:
        depthwise = weight.shape[1] == 1 < weight.shape[0]
        out = real(images, weight, *rest)  # type: ignore[arg-type]
        types[0 if depthwise else 1].add(out.dtype)
        return out

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.functional, "conv2d", watched)
        with torch.autocast("cpu", torch.bfloat16):
            features = network(
                torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
            )
    return features, *types


@pytest.mark.parametrize("name", NETWORKS)
def test_depthwise_convolutions_leave_bf16_and_no_others(name: str) -> None:
    torch.manual_seed(0)
    plain = timm.create_model(name, num_classes=0).eval()
    mixed = copy.deepcopy(plain)
    depthwise_in_fp32(mixed)
    assert mixed.state_dict().keys() == plain.state_dict().keys()
    twin = copy.deepcopy(mixed)  # its layers are its own, not those it was copied from
    for parameter in mixed.parameters():
        parameter.data.zero_()
    features, depthwise, others = depthwise_types(twin)
    assert others == {torch.bfloat16}
    assert depthwise == (set() if name == "resnet18" else {torch.float32})
    expected, depthwise, _ = depthwise_types(plain)
    assert depthwise <= {torch.bfloat16}
    assert features.dtype == expected.dtype
    assert torch.nn.functional.cosine_similarity(features.float(), expected.float()).min() > 0.99


def test_without_autocast_nothing_changes() -> None:
    torch.manual_seed(0)
    network = timm.create_model(NETWORKS[0], num_classes=0).eval()
    images = torch.randn(2, 3, 64, 64)
    before = network(images)
    depthwise_in_fp32(network)
    assert torch.equal(network(images), before)
    assert network.double()(images.double()).dtype == torch.float64
