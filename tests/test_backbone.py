"""Networks by timm's names; weights from files and folders that are checked and never run."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor

from litecli.config import ModelConfig
from litecli.errors import ExitCode, LiteError
from litecli.networks import backbone, weights

from .small_networks import NAME, SIDE, network, refusal, save_safetensors, write_timm_folder


def test_random_weights_are_described_without_a_classifier() -> None:
    built = backbone.build(NAME, "none", SIDE)
    assert (built.architecture, built.preprocess.image_size) == (NAME, SIDE)
    assert built.network(torch.zeros(2, 3, SIDE, SIDE)).shape == (2, built.num_features)
    assert not built.network.training


@pytest.mark.parametrize(
    ("name", "wanted", "hint"),
    [
        ("resnet51", "no network resnet51", "resnet50"),
        ("mobilenetv3_small_50", "no network", "mobilenetv3_small_050"),
        ("resnet18.no_such_tag", "no weights no_such_tag", "a1_in1k"),
        ("timm/resnet18.a1_in1k", "hub name", "hf-hub:timm/resnet18.a1_in1k in its place"),
    ],
)
def test_a_wrong_name_is_refused_with_a_right_one(name: str, wanted: str, hint: str) -> None:
    error = refusal(name, "none")
    assert error.code == ExitCode.USAGE
    assert wanted in error.what and hint in error.why + error.fix


@pytest.mark.parametrize("name", [NAME, "test_mambaout"])
def test_a_network_without_pretrained_weights_says_so(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*args: object, **options: object) -> None:
        raise RuntimeError(f"No pretrained weights exist for {name}.")

    monkeypatch.setattr(timm, "create_model", fails)
    error = refusal(name, "auto")
    assert error.code == ExitCode.USAGE and "--weights none" in error.fix


def test_an_architecture_this_timm_does_not_know_is_refused() -> None:
    tomorrows = ModelConfig("later", "network_of_tomorrow", 8)
    with pytest.raises(LiteError, match="network_of_tomorrow") as caught:
        backbone.rebuild(tomorrows)
    assert caught.value.code == ExitCode.MISSING


def save_checkpoint(state: dict[str, Tensor], path: Path) -> Path:
    torch.save({"state_dict": state, "epoch": 3}, path)
    return path


@pytest.mark.parametrize(
    ("suffix", "save"), [(".safetensors", save_safetensors), (".pth", save_checkpoint)]
)
@pytest.mark.parametrize("counters", [True, False])
def test_weights_come_from_a_file_classifier_left_out(
    tmp_path: Path, suffix: str, save, counters: bool
) -> None:
    full = network(5, num_classes=7)
    state = full.state_dict()
    assert any(name.endswith("num_batches_tracked") for name in state)
    if not counters:
        state = weights.without_counters(state)
    path = save(state, tmp_path / f"weights{suffix}")
    built = backbone.build(NAME, str(path), SIDE)
    own = built.network.state_dict()
    assert any("fc" in name for name in set(state) - set(own))
    assert all(torch.equal(own[n], full.state_dict()[n]) for n in weights.without_counters(own))
    assert "weights" in built.origin and str(tmp_path) not in built.origin


class _Evil:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


def test_code_in_a_checkpoint_is_refused_and_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "was run"
    for name, write in (
        ("torch.pth", lambda path: torch.save({"state_dict": _Evil(mark)}, path)),
        ("plain.pkl", lambda path: path.write_bytes(pickle.dumps(_Evil(mark)))),
    ):
        write(tmp_path / name)
        error = refusal(NAME, str(tmp_path / name), SIDE)
        assert error.code == ExitCode.MISSING
        assert "never runs" in error.why
        assert not mark.exists()
    pickle.loads((tmp_path / "plain.pkl").read_bytes())
    assert mark.exists()  # the trap itself works


@pytest.mark.parametrize("content", [b"", b"not a file of tensors"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_damaged_weights_are_refused(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    assert refusal(NAME, str(path), SIDE).code == ExitCode.MISSING


@pytest.mark.parametrize("content", [torch.zeros(3), [1, 2], {"model": {}, "epoch": 1}])
def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "w.pth")
    assert refusal(NAME, str(tmp_path / "w.pth"), SIDE).code == ExitCode.MISSING


def test_weights_of_another_network_are_refused_by_tensor(tmp_path: Path) -> None:
    path = save_safetensors(network(name="test_resnet").state_dict(), tmp_path / "w.safetensors")
    error = refusal(NAME, str(path), SIDE)
    assert error.code == ExitCode.MISSING and "another network" in error.what
    assert "stem" in error.why
    state = network().state_dict()
    name = next(iter(state))
    state[name] = torch.zeros(1, 2, 3)
    path = save_safetensors(state, tmp_path / "odd.safetensors")
    error = refusal(NAME, str(path), SIDE)
    assert "1 of " in error.what and name in error.why


def test_no_such_file_is_wrong_usage(tmp_path: Path) -> None:
    assert refusal(NAME, str(tmp_path / "none.pth")).code == ExitCode.USAGE


def test_a_timm_folder_keeps_its_arguments_and_preprocessing(tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"act_layer": "silu"}
    with torch.random.fork_rng():
        torch.manual_seed(3)
        original = timm.create_model(NAME, num_classes=0, **arguments).eval()
    cfg = {
        "input_size": [3, 48, 48],
        "mean": [0.5, 0.4, 0.3],
        "std": [0.2, 0.3, 0.1],
        "crop_pct": 0.9,
        "interpolation": "bilinear",
        "license": "mit",
    }
    folder = write_timm_folder(
        tmp_path / "mine",
        original.state_dict(),
        architecture=NAME,
        model_args=arguments,
        pretrained_cfg=cfg,
    )
    built = backbone.build("resnet50", str(folder))  # the folder says what it is
    images = torch.randn(2, 3, 48, 48)
    with torch.no_grad():
        torch.testing.assert_close(built.network(images), original(images))
        assert not torch.allclose(network(3)(images), original(images))
        again = backbone.rebuild(built).eval()
        again.load_state_dict(built.network.state_dict())
        torch.testing.assert_close(again(images), original(images))
    assert built.preprocess.image_size == 48 and built.preprocess.crop_pct == 0.9
    assert built.preprocess.mean == (0.5, 0.4, 0.3) and built.preprocess.std == (0.2, 0.3, 0.1)
    assert (built.preprocess.interpolation, built.licence) == ("bilinear", "mit")
    assert backbone.build(NAME, str(folder), 32).preprocess.image_size == 32


@pytest.mark.parametrize(
    "content",
    [
        *(None, "{", "{}", "[]", '{"architecture": 5}', '{"architecture": ["resnet18"]}'),
        '{"architecture": "resnet18", "model_args": [1]}',
        '{"architecture": "resnet18", "pretrained_cfg": 7}',
    ],
)
def test_a_folder_that_is_no_timm_folder_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    error = refusal(NAME, str(tmp_path))
    assert error.code == ExitCode.MISSING and "config.json" in error.why
