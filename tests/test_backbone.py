"""Networks by timm's names; weights from files that are checked and never run."""

import json
import pickle
import socket
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from huggingface_hub import constants as hub_settings
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from litecli.errors import ExitCode, LiteError
from litecli.networks import backbone, hub, timm_networks, weights

NAME, SIDE = "test_byobnet", 32


def network(seed: int = 0, name: str = NAME, num_classes: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return timm.create_model(name, num_classes=num_classes).eval()


def refusal(*args: object, **options: object) -> LiteError:
    with pytest.raises(LiteError) as caught:
        backbone.build(*args, **options)  # type: ignore[arg-type]
    return caught.value


def equal(one: nn.Module, other: nn.Module) -> bool:
    states = one.state_dict(), other.state_dict()
    return all(torch.equal(states[0][name], states[1][name]) for name in states[0])


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


@pytest.mark.parametrize("name", [NAME, "test_mambaout"])
def test_a_network_without_pretrained_weights_says_so(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*args: object, **options: object) -> None:
        raise RuntimeError(f"No pretrained weights exist for {name}.")

    monkeypatch.setattr(timm, "create_model", fails)
    error = refusal(name, "auto")
    assert error.code == ExitCode.USAGE and "--weights none" in error.fix


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


def save_safetensors(state: dict[str, Tensor], path: Path) -> Path:
    save_file({name: value.contiguous() for name, value in state.items()}, path)
    return path


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
        state = weights.counted_out(state)
    path = save(state, tmp_path / f"weights{suffix}")
    built = backbone.build(NAME, str(path), SIDE)
    own = built.network.state_dict()
    assert any("fc" in name for name in set(state) - set(own))
    assert all(torch.equal(own[n], full.state_dict()[n]) for n in weights.counted_out(own))
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


def write_timm_folder(folder: Path, state: dict[str, Tensor], **config: object) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    save_safetensors(state, folder / "model.safetensors")
    return folder


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
        again = backbone.rebuild(built.architecture, built.architecture_args).eval()
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


def test_a_network_of_fixed_size_is_made_for_the_size_asked_for() -> None:
    built = backbone.build("vit_tiny_patch16_224", "none", 64)
    assert built.preprocess.image_size == 64
    again = backbone.rebuild(built.architecture, built.architecture_args)
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
        again = backbone.rebuild(built.architecture, built.architecture_args).eval()
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


def test_an_architecture_this_timm_does_not_know_is_refused() -> None:
    with pytest.raises(LiteError, match="network_of_tomorrow") as caught:
        backbone.rebuild("network_of_tomorrow", {})
    assert caught.value.code == ExitCode.MISSING
