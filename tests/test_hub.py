"""Networks and weights of the hub: asked only where it may be, and what is said without it."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from huggingface_hub import constants as hub_settings
from torch import nn

from litecli.errors import ExitCode
from litecli.networks import backbone, hub, timm_networks

from .small_networks import NAME, SIDE, network, refusal, save_safetensors


def equal(one: nn.Module, other: nn.Module) -> bool:
    states = one.state_dict(), other.state_dict()
    return all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize("offline", [True, False])
def test_without_the_hub_only_the_cache_is_asked(
    offline: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answers() -> bool:
        assert not offline, "--offline, and the network was asked"
        return False

    monkeypatch.setattr(hub, "answers", answers)
    before = hub_settings.HF_HUB_OFFLINE
    error = refusal("resnet18.a1_in1k", "auto", offline=offline)
    assert error.code == ExitCode.NETWORK
    assert "--weights FILE" in error.fix and "resnet18.a1_in1k" in error.what
    assert "about 4" in error.why and "MB" in error.why  # resnet18 is 45 MB with its classifier
    assert before == hub_settings.HF_HUB_OFFLINE


def test_the_hub_answers_only_where_something_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setattr(hub_settings, "ENDPOINT", address)
        assert hub.answers()
    assert not hub.answers()


def test_without_a_network_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    # What HF_HUB_OFFLINE=1 does, had it been set before the hub's client was imported.
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    error = refusal("resnet10t.c3_in1k", "auto")
    assert error.code == ExitCode.NETWORK
    assert "resnet10t.c3_in1k" in error.what and "--weights FILE" in error.fix


def test_offline_holds_for_weights_that_are_not_on_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    def create(*arguments: object, **options: object) -> None:
        raise AssertionError("timm would download")

    monkeypatch.setattr(timm, "create_model", create)
    error = refusal("gcvit_xxtiny.in1k", "auto", offline=True)
    assert error.code == ExitCode.NETWORK and "https://" in error.what


@pytest.mark.parametrize("reason", [ConnectionError("no route"), ValueError("odd answer")])
def test_what_the_hub_raises_is_a_network_error(
    reason: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = timm.create_model

    def fails(name: str, pretrained: bool = False, **options: Any) -> nn.Module:
        if pretrained:
            raise reason
        return create(name, pretrained=False, **options)

    monkeypatch.setattr(hub, "answers", lambda: True)
    monkeypatch.setattr(timm, "create_model", fails)
    error = refusal("resnet18", "auto")
    assert error.code == ExitCode.NETWORK and str(reason) in error.what


HUBS = "hf-hub:someone/their_net"  # a network that timm does not know by name
TIMMS = "hf-hub:timm/test_byobnet.r160_in1k"  # and one that it does


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The hub's cache, empty, and a test that fails where the network is asked."""

    def asked(*arguments: object, **options: object) -> None:
        raise AssertionError("the network was asked")

    for name in ("create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, asked)
    monkeypatch.setattr(hub_settings, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def put_in_cache(cache: Path, config: str) -> None:
    """A config.json of HUBS as the hub's client keeps it."""
    folder, commit = cache / "models--someone--their_net", "0" * 40
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(commit)
    (folder / "snapshots" / commit).mkdir(parents=True)
    (folder / "snapshots" / commit / "config.json").write_text(config)


@pytest.mark.parametrize("weights", ["none", "file", "auto"])
def test_offline_a_network_of_the_hub_is_a_network_error(
    weights: str, no_network: Path, tmp_path: Path
) -> None:
    if weights == "file":
        weights = str(save_safetensors(network().state_dict(), tmp_path / "w.safetensors"))
    error = refusal(HUBS, weights, SIDE, offline=True)
    assert error.code == ExitCode.NETWORK and HUBS in error.what
    assert "config.json and model.safetensors" in error.why
    assert "someone/their_net" in error.why and "--weights DIR" in error.fix


def test_where_the_hub_does_not_answer_its_networks_are_a_network_error(
    no_network: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "answers", lambda: False)
    assert refusal(HUBS, "none", SIDE).code == ExitCode.NETWORK


def test_a_network_of_the_hub_is_built_as_its_config_says(no_network: Path, tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"act_layer": "silu"}
    said = {"input_size": [3, 48, 48], "mean": [0.5, 0.4, 0.3], "license": "mit"}
    text = json.dumps({"architecture": NAME, "model_args": arguments, "pretrained_cfg": said})
    put_in_cache(no_network, text)
    original = timm.create_model(NAME, num_classes=0, **arguments).eval()
    path = save_safetensors(original.state_dict(), tmp_path / "w.safetensors")
    built = backbone.build(HUBS, str(path), offline=True)
    assert (built.architecture, built.architecture_args) == (NAME, arguments)
    assert built.preprocess.image_size == 48 and built.preprocess.mean == (0.5, 0.4, 0.3)
    assert built.licence == "unknown"  # the file's, not the hub's
    images = torch.randn(2, 3, 48, 48)
    with torch.no_grad():
        torch.testing.assert_close(built.network(images), original(images))


@pytest.mark.parametrize("content", ["{", "{}", "[]", '{"architecture": "no_such_network"}'])
def test_what_timm_does_not_know_on_the_hub_is_refused(no_network: Path, content: str) -> None:
    put_in_cache(no_network, content)
    assert refusal(HUBS, "none", SIDE, offline=True).code == ExitCode.USAGE


def test_a_network_of_the_hub_that_timm_knows_needs_no_hub(
    no_network: Path, tmp_path: Path
) -> None:
    assert backbone.build(TIMMS, "none", SIDE, offline=True).architecture == NAME
    state = network(5).state_dict()
    path = save_safetensors(state, tmp_path / "w.safetensors")
    built = backbone.build(TIMMS, str(path), SIDE, offline=True)
    assert built.origin == "file w.safetensors" and equal(built.network, network(5))
    error = refusal(TIMMS, "auto", offline=True)
    assert error.code == ExitCode.NETWORK and "--weights FILE" in error.fix


@pytest.mark.parametrize(
    ("name", "licence"),
    [
        ("hf-hub:timm/vit_small_patch16_dinov3.lvd1689m", "dinov3-license"),
        ("vit_small_patch16_dinov3", "dinov3-license"),
        (TIMMS, "apache-2.0"),
        (HUBS, "unknown"),
        ("hf-hub:someone/test_byobnet.r160_in1k", "unknown"),  # a copy, or something else
    ],
)
def test_the_licence_of_a_network_of_the_hub(no_network: Path, name: str, licence: str) -> None:
    assert timm_networks.licence_of(name) == licence
