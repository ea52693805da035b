"""Where training runs and in which precision."""

import ast
import copy
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor, nn

import litecli
from litecli.errors import ExitCode
from litecli.networks.devices import depthwise_in_fp32

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


def test_no_device_number_is_written_down() -> None:
    """A formula that says `.cuda(0)` runs on no processor and on no second GPU."""
    for path in Path(litecli.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute):
                assert not (node.attr == "cuda" and ast.unparse(node.value) != "torch"), path
                assert ast.unparse(node) != "torch.cuda.current_device", path
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert not re.search(r"\b(cuda|mps):\d", node.value), path


def test_a_torchvision_of_another_torch_is_a_plain_error(tmp_path: Path) -> None:
    """As where pip found torch in one index and torchvision in another."""
    made = tmp_path / "packages" / "torchvision"
    made.mkdir(parents=True)
    text = 'raise RuntimeError("operator torchvision::nms does not exist")\n'
    (made / "__init__.py").write_text(text)
    for label in ("keys", "mug"):
        (tmp_path / "photos" / label).mkdir(parents=True)
    package = Path(litecli.__file__).parent.parent
    found = subprocess.run(
        [sys.executable, "-m", "litecli", "meta-train", str(tmp_path / "photos"), "--dry-run"],
        cwd=package,
        env={**os.environ, "PYTHONPATH": f"{made.parent}{os.pathsep}{package}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == ExitCode.MACHINE
    said = found.stderr.splitlines()
    assert said[0].startswith("Error: timm cannot be loaded: torchvision does not fit torch")
    assert "torchvision::nms" in found.stderr and "--force-reinstall torch torchvision" in said[-1]
