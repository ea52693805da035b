"""FiLM without torch is the torch model: the graphs, the folded norms, and the generated head."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from litecli import storage
from litecli.config import TASK_GRAPH
from litecli.errors import ExitCode, LiteError
from litecli.library.model_files import Model
from litecli.networks import folding
from litecli.networks.encoder import Encoder
from litecli.networks.model import FewShotModel
from litecli.networks.model_folder import check_graph
from litecli.networks.model_heads import generated_head, head_of

from .small_models import PARTS, SIDE, build_cnaps, cnaps, model, noise

__all__ = ("cnaps", "model")  # fixtures


def random_film(network: FewShotModel) -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(5)
    assert network.generator is not None
    norms = dict(network.network.named_parameters())
    names = [f"{layer.name}.{part}" for layer in network.generator.layers for part in PARTS]
    return {n: norms[n].detach() + 0.3 * torch.randn(norms[n].shape, generator=rng) for n in names}


def in_the_file(film: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    return {f"backbone.{name}": value.numpy() for name, value in film.items()}


def test_random_film_through_the_graph_is_functional_call(
    cnaps: FewShotModel, model: Model
) -> None:
    images, film = noise(3), random_film(cnaps)
    with torch.no_grad():
        expected = cnaps.features(torch.from_numpy(images), film=film).numpy()
    found = Encoder(model.folder, in_the_file(film)).encode(images)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found, expected, atol=1e-4 * scale)
    assert np.abs(Encoder(model.folder).encode(images) - expected).max() > 0.1 * scale


def test_a_folded_network_is_the_plain_one_node_for_node(
    cnaps: FewShotModel, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No norm is left over that the plain network has fused away: the same speed."""
    chosen = onnxruntime.SessionOptions

    def operators(film: dict[str, np.ndarray]) -> list[str]:
        path = tmp_path / f"{len(film)}.onnx"

        def options() -> onnxruntime.SessionOptions:
            made = chosen()
            made.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
            made.optimized_model_filepath = str(path)
            return made

        monkeypatch.setattr(onnxruntime, "SessionOptions", options)
        Encoder(model.folder, film)
        nodes = onnx.load(path, load_external_data=False).graph.node
        return sorted(node.op_type for node in nodes)

    plain, folded = operators({}), operators(in_the_file(random_film(cnaps)))
    assert folded == plain and "BatchNormalization" not in folded and len(folded) > 10


def test_the_set_encoders_graph_is_the_set_encoder(cnaps: FewShotModel, model: Model) -> None:
    images = noise(3)
    with torch.no_grad():
        expected = cnaps.embed(torch.from_numpy(images)).numpy()
    encoder = Encoder(model.folder, graph=TASK_GRAPH)
    found = encoder.encode(images)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(encoder.encode(images[1:2])[0], found[1], rtol=1e-4, atol=1e-5)
    assert found.std(axis=0).max() > 1e-2


def test_a_set_encoder_that_differs_from_its_graph_is_found(model: Model) -> None:
    other = build_cnaps()
    assert other.set_encoder is not None
    nn.init.normal_(next(other.set_encoder.parameters()))
    with pytest.raises(LiteError, match="differs") as caught:
        check_graph(other.set_encoder, model.folder, SIDE, TASK_GRAPH)
    assert caught.value.code == ExitCode.MACHINE


def test_weights_are_stored_once(model: Model) -> None:
    proto = onnx.load(model.folder / TASK_GRAPH, load_external_data=False)
    offsets = storage.tensor_offsets(model.folder / "model.safetensors")
    external = {t.name: t for t in proto.graph.initializer if t.external_data}
    assert sum(name.startswith("set_encoder.") for name in external) == 15
    for name, tensor in external.items():
        entries = {entry.key: entry.value for entry in tensor.external_data}
        assert (int(entries["offset"]), int(entries["length"])) == offsets[name]
    assert (model.folder / TASK_GRAPH).stat().st_size < 30_000


def test_numpy_folds_what_torch_generates(cnaps: FewShotModel, model: Model) -> None:
    outputs = np.random.default_rng(2).standard_normal((5, 64)).astype(np.float32)
    with torch.no_grad():
        expected = in_the_file(cnaps.generate(torch.from_numpy(outputs)))
    found = folding.folded_norms(model, outputs)
    assert found.keys() == expected.keys() and len(found) == 2 * len(model.config.film)
    for name, value in expected.items():
        assert found[name].dtype == np.float32
        np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("lost", ["generator.strength", "head_generator.inner_bias"])
def test_a_model_without_one_of_its_tensors_is_refused(
    model: Model, tmp_path: Path, lost: str
) -> None:
    tensors, metadata = storage.read_tensors(model.folder / "model.safetensors")
    kept = {name: tensor for name, tensor in tensors.items() if name != lost}
    storage.write_tensors(tmp_path / "model.safetensors", kept, metadata)
    without = dataclasses.replace(model, folder=tmp_path)
    with pytest.raises(LiteError, match=f"has no {lost}") as caught:
        if lost.startswith("head"):
            head_of(without, "generated")
        else:
            folding.folded_norms(without, np.zeros((1, 64), np.float32))
    assert caught.value.code == ExitCode.MISSING


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("generator.vector_of_channel", lambda tensor: tensor + 1000),
        ("generator.inner_weight", lambda tensor: tensor[:, :, 1:]),
        ("generator.strength", lambda tensor: tensor * np.nan),
        ("head_generator.inner_weight", lambda tensor: tensor[:, 1:]),
        ("head_generator.outer_weight", lambda tensor: tensor[1:]),
    ],
)
def test_a_model_whose_tensors_do_not_fit_together_is_refused(
    model: Model, tmp_path: Path, name: str, change: Callable[[np.ndarray], np.ndarray]
) -> None:
    tensors, metadata = storage.read_tensors(model.folder / "model.safetensors")
    changed = tensors | {name: np.ascontiguousarray(change(tensors[name]))}
    storage.write_tensors(tmp_path / "model.safetensors", changed, metadata)
    damaged = dataclasses.replace(model, folder=tmp_path)
    with pytest.raises(LiteError, match="damaged") as caught:
        folding.folded_norms(damaged, noise(2)[:, 0, 0, :].repeat(2, axis=1))
        head_of(damaged, "generated")
    assert caught.value.code == ExitCode.MISSING


def test_the_generated_heads_leave_one_out_is_as_many_fits() -> None:
    rng = np.random.default_rng(1)
    sizes = {"inner_weight": (8, 6), "inner_bias": (8,), "outer_weight": (7, 8)}
    head = generated_head({name: rng.standard_normal(size) for name, size in sizes.items()})
    labels = np.array([0, 0, 0, 1, 1, 2, 2, 2, 2])
    groups = np.array([0, 0, 1, 2, 3, 4, 5, 5, 6])
    features = rng.standard_normal((9, 6))
    options = head.options(features, labels, 3, strength=0.7)
    found = head.leave_one_out(features, labels, 3, groups=groups, **options)
    for photo, group in enumerate(groups):
        kept = groups != group
        params = head.fit(features[kept], labels[kept], 3, **options)
        expected = head.score(params, features[photo : photo + 1])[0]
        np.testing.assert_allclose(found[photo], expected, rtol=1e-10)
    lonely = head.leave_one_out(features[:4], labels[:4], 2, groups=groups[:4], **options)
    assert np.isneginf(lonely).tolist() == [[False, False]] * 3 + [[False, True]]


def test_the_generated_head_scores_as_the_torch_model(cnaps: FewShotModel, model: Model) -> None:
    rng = np.random.default_rng(4)
    labels = np.array([0, 0, 1, 1, 2])
    features, queries = rng.standard_normal((2, 5, cnaps.backbone.num_features), np.float32)
    head = head_of(model, "generated")
    found = head.score(head.fit(features, labels, 3, strength=0.0), queries)
    with torch.no_grad():
        fitted = cnaps.fit(torch.from_numpy(features), torch.from_numpy(labels))
        expected = (cnaps.scores(fitted, torch.from_numpy(queries)) / fitted["scale"]).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
