"""A model folder: the graph is the network, weights once, and what was written is what is read."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from litecli import storage
from litecli.config import MODEL_KEY, WEIGHTS_FILE
from litecli.errors import ExitCode, LiteError
from litecli.library.model_files import open_model
from litecli.networks import backbone, graph, weights
from litecli.networks.encoder import Encoder
from litecli.networks.model import FewShotModel
from litecli.networks.model_folder import check_graph, load_model, model_config, write_model

from .written_models import Written, build_random, small

__all__ = ("small",)  # a fixture

NETWORKS = {  # name -> image size, and whether it has batch norms to fuse
    "mobilenetv3_small_050": (64, True),
    "resnet10t": (64, True),
    "test_vit": (64, False),
    "convnext_atto": (64, False),
}


@pytest.fixture(scope="module", params=NETWORKS)
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Written:
    name: str = request.param
    model = build_random(name, NETWORKS[name][0])
    folder = tmp_path_factory.mktemp("models") / "mine"
    config = model_config("mine", model, "protonets", "auto")
    write_model(model, config, folder, {"README.md": "# mine\n", "recipe.toml": "lr = 1\n"})
    return Written(model, folder, open_model(folder))


def test_the_graph_gives_the_networks_features(written: Written) -> None:
    for count in (1, 3):
        images = written.images(count)
        expected = written.torch_features(images)
        found = Encoder(written.folder).encode(images)
        assert found.shape == (count, written.opened.config.num_features)
        np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
        assert expected.std() > 1e-4 and not np.allclose(
            expected[0], written.torch_features(written.images(1, seed=9))[0], rtol=1e-2
        )


def test_weights_are_stored_once(written: Written) -> None:
    config = written.opened.config
    network = written.model.network
    names = {f"backbone.{name}" for name, _ in network.named_parameters()}
    proto = onnx.load(written.folder / "encoder.onnx", load_external_data=False)
    offsets = storage.tensor_offsets(written.folder / "model.safetensors")
    external = {t.name: t for t in proto.graph.initializer if t.external_data}
    assert names <= set(external)
    for name, tensor in external.items():
        entries = {entry.key: entry.value for entry in tensor.external_data}
        assert entries["location"] == "model.safetensors"
        assert (int(entries["offset"]), int(entries["length"])) == offsets[name]
    inside = sum(len(t.raw_data) for t in proto.graph.initializer)
    assert inside < 20_000
    weights = sum(4 * value.numel() for value in network.parameters())
    assert (written.folder / "encoder.onnx").stat().st_size < max(0.2 * weights, 150_000)
    assert (written.folder / "model.safetensors").stat().st_size < 1.1 * weights + 100_000
    assert sorted(path.name for path in written.folder.iterdir()) == [
        "README.md",
        "encoder.onnx",
        "model.safetensors",
        "recipe.toml",
    ]
    assert config.name == "mine" and config.origin == "random initialisation"


def test_the_graph_says_nothing_of_the_machine_that_made_it(written: Written) -> None:
    raw = (written.folder / "encoder.onnx").read_bytes()
    assert str(Path(torch.__file__).parent).encode() not in raw
    assert str(Path(__file__).parent).encode() not in raw


def test_onnxruntime_fuses_every_batch_norm(written: Written, tmp_path: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    path = written.folder / "encoder.onnx"
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    after = onnx.load(tmp_path / "optimised.onnx", load_external_data=False)
    before = onnx.load(path, load_external_data=False)

    def norms(proto: onnx.ModelProto) -> int:
        return sum(node.op_type == "BatchNormalization" for node in proto.graph.node)

    assert norms(after) == 0
    assert (norms(before) > 0) == NETWORKS[written.opened.config.architecture][1]


def test_features_do_not_depend_on_the_batch(written: Written) -> None:
    images = written.images(4)
    written.model.train()
    together = written.torch_features(images)
    alone = np.concatenate([written.torch_features(images[n : n + 1]) for n in range(4)])
    scale = np.abs(together).max()
    np.testing.assert_allclose(alone, together, atol=1e-5 * scale)
    np.testing.assert_allclose(
        written.torch_features(images[::-1].copy())[::-1], together, atol=1e-5 * scale
    )
    encoder = Encoder(written.folder)
    np.testing.assert_allclose(
        encoder.encode(images)[2], encoder.encode(images[2:3])[0], rtol=1e-3, atol=1e-5 * scale
    )


def test_what_is_loaded_is_what_was_written(written: Written) -> None:
    loaded = load_model(written.folder, written.opened.config)
    before, after = written.model.state_dict(), loaded.state_dict()
    assert set(before) == set(after)
    for name in weights.without_counters(before):
        assert torch.equal(before[name], after[name]), name
    assert loaded.log_scale.item() == 1.25 and loaded.log_scale.requires_grad
    header = storage.read_metadata(written.folder / "model.safetensors")["litecli"]
    assert json.loads(header) == json.loads(json.dumps(written.opened.config.to_dict()))


@pytest.mark.parametrize("source", ["folder", "file"])
def test_training_can_start_from_a_model(written: Written, source: str) -> None:
    config = written.opened.config
    where = written.folder / ("model.safetensors" if source == "file" else "")
    side = config.preprocess.image_size + (0 if "vit" in config.architecture else 32)
    built = backbone.build(config.architecture, str(where), side)
    assert built.architecture == config.architecture and built.preprocess.image_size == side
    before = written.model.network.state_dict()
    for name, value in weights.without_counters(built.network.state_dict()).items():
        assert torch.equal(before[name], value), name


def test_training_refuses_the_model_of_a_newer_litecli_or_a_damaged_one(
    small: Written, tmp_path: Path
) -> None:
    tensors, metadata = storage.read_tensors(small.folder / WEIGHTS_FILE)
    for change, words in (({"schema": 99}, "newer litecli"), ({"preprocess": 3}, "is damaged")):
        header = json.dumps(json.loads(metadata[MODEL_KEY]) | change)
        storage.write_tensors(tmp_path / WEIGHTS_FILE, tensors, {MODEL_KEY: header})
        with pytest.raises(LiteError, match=words) as caught:
            backbone.build("test_byobnet", str(tmp_path))
        assert caught.value.code == ExitCode.MISSING


def test_film_values_are_new_weights_of_a_norm_layer(written: Written) -> None:
    network = written.model.network
    own = {name: value.detach().numpy() for name, value in network.named_parameters()}
    norms = [
        name
        for name, module in network.named_modules()
        if "Norm" in type(module).__name__ and f"{name}.bias" in own
    ]
    norm = norms[len(norms) // 2]
    weight, bias = own[f"{norm}.weight"], own[f"{norm}.bias"]
    rng = np.random.default_rng(4)
    gamma, beta = rng.uniform(0.5, 1.5, (2, len(bias))).astype(np.float32)
    values = {f"{norm}.weight": gamma * weight, f"{norm}.bias": gamma * bias + beta}
    images = written.images(2)
    film = {f"backbone.{key}": value for key, value in values.items()}
    found = Encoder(written.folder, film=film).encode(images)
    with torch.no_grad():
        called = torch.func.functional_call(
            network,
            {key: torch.from_numpy(value) for key, value in values.items()},
            (torch.from_numpy(images),),
        ).numpy()
    scale = np.abs(called).max()
    np.testing.assert_allclose(found, called, atol=1e-4 * scale)
    assert np.abs(found - Encoder(written.folder).encode(images)).max() > 1e-3 * scale


def test_a_graph_that_differs_is_not_written(
    small: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = build_random("test_byobnet", 32)
    assert check_graph(other.network, small.folder, 32) < 1e-5
    with torch.no_grad():
        next(other.network.parameters()).mul_(1.01)
    with pytest.raises(LiteError, match="differs") as caught:
        check_graph(other.network, small.folder, 32)
    assert caught.value.code == ExitCode.MACHINE
    whole = onnx.load(small.folder / "encoder.onnx")
    for tensor in whole.graph.initializer:  # as if the exporter had got one weight wrong
        if tensor.name.endswith("stem.conv.weight"):
            assert tensor.raw_data
            tensor.name, wrong = "other", tensor.name
            for node in whole.graph.node:
                node.input[:] = ["other" if name == wrong else name for name in node.input]
    monkeypatch.setattr(graph, "export", lambda network, side: whole)
    config = model_config("bad", other, "protonets", "auto")
    with pytest.raises(LiteError, match="differs"):
        write_model(other, config, tmp_path / "bad", {})
    assert not (tmp_path / "bad").exists()


def test_weights_that_do_not_fit_are_refused(small: Written, tmp_path: Path) -> None:
    tensors, metadata = storage.read_tensors(small.folder / "model.safetensors")
    name = next(name for name in tensors if name.startswith("backbone."))
    for change in (None, np.zeros(7, np.float32)):
        kept = {key: value for key, value in tensors.items() if key != name}
        if change is not None:
            kept[name] = change
        storage.write_tensors(tmp_path / "model.safetensors", kept, metadata)
        with pytest.raises(LiteError, match="another network") as caught:
            load_model(tmp_path, small.opened.config)
        assert caught.value.code == ExitCode.MISSING


@pytest.mark.parametrize("head", ["cosine", "euclidean", "ridge"])
def test_the_loss_falls_as_prototypes_part(head: str) -> None:
    model = FewShotModel(backbone.build("test_byobnet", "none", 32), head)
    rng = np.random.default_rng(0)
    labels = torch.arange(3).repeat_interleave(4)
    centres = torch.from_numpy(rng.standard_normal((3, 16)))
    noise = torch.from_numpy(rng.standard_normal((12, 16)))

    def loss(spread: float) -> float:
        features = centres[labels] + spread * noise
        fitted = model.fit(features[::2], labels[::2])
        return float(model.summed_loss(fitted, features[1::2], labels[1::2]).detach())

    assert loss(0.01) < loss(1.0)
    features = (centres[labels] + 0.5 * noise).requires_grad_()
    fitted = model.fit(features[::2], labels[::2])
    model.summed_loss(fitted, features[1::2], labels[1::2]).backward()
    assert model.log_scale.grad is not None and float(model.log_scale.grad) != 0
    assert features.grad is not None and bool((features.grad.abs().sum(dim=1) > 0).all())
