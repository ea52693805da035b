"""The ways to solve a task in an evaluation: each names easy objects and says what it costs."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from litecli.config import Preprocess
from litecli.evaluation import evaluation, methods
from litecli.evaluation.defaults import Baseline
from litecli.evaluation.evaluation import evaluate, solve_task
from litecli.evaluation.solvers import Classifier
from litecli.library.model_files import Model
from litecli.networks.backbone import Backbone
from litecli.networks.encoder import Encoder
from litecli.networks.model import FewShotModel
from litecli.networks.parts import count_macs
from litecli.photos import images
from litecli.tasks.episodes import Episode

from .small_evaluations import no_timm, write_classes

__all__ = ("no_timm",)  # a fixture


def torch_model(preprocess: Preprocess, film: bool = False) -> FewShotModel:
    """A network with a norm layer, as `load_model` would give it."""
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
    network = nn.Sequential(*layers, nn.Flatten())
    model = FewShotModel(Backbone(network, "tiny", {}, 8, preprocess, "", ""), "cosine", film)
    for parameter in model.generator.parameters() if model.generator is not None else ():
        nn.init.normal_(parameter, std=0.1)
    return model


def with_torch(
    model: Model, monkeypatch: pytest.MonkeyPatch, learner: str = "protonets", film: bool = False
) -> Model:
    """The tiny model as one that torch can load, perhaps with FiLM."""
    loaded = torch_model(model.config.preprocess, film)
    monkeypatch.setattr(methods, "load_model", lambda folder, config: loaded)
    config = replace(model.config, learner=learner, film=("1",) if film else ())
    return replace(model, config=config)


def test_photos_go_the_way_of_adapt(tiny_model: Model, write_objects: Callable[..., Path]) -> None:
    from litecli.tasks.datasets import read_dataset

    dataset = read_dataset([write_objects({"keys": 3, "mug": 3})])
    encoder = Encoder(tiny_model.folder)
    features, usable = evaluation.encode_dataset(dataset, encoder, tiny_model, None)
    squares, decoded = evaluation.decode_dataset(dataset, tiny_model, None)
    assert usable.all() and decoded.all() and len(squares) == len(features) == 6
    inputs = methods.square_inputs(torch_model(tiny_model.config.preprocess), squares)
    for number, path in enumerate(dataset.paths):
        pixels, _ = images.load_input(path, tiny_model.config.preprocess)
        np.testing.assert_array_equal(features[number], encoder.encode(pixels))
        np.testing.assert_array_equal(inputs(np.array([number])).numpy(), pixels)


@pytest.mark.parametrize(
    ("baseline", "passes"),
    [
        (Baseline("linear"), 1),
        (Baseline("finetune", 50, 0.1), 1),
        (Baseline("finetune-film", 10, 0.1, on_photos=True), 30),
        (Baseline("maml", 8, 0.5, on_photos=True), 24),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_baselines_name_easy_objects_and_say_what_they_cost(
    baseline: Baseline,
    passes: int,
    tiny_model: Model,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = write_classes(tmp_path / "data", 5)
    model = with_torch(tiny_model, monkeypatch)
    labels: list[str] = []
    encode, encoded = Encoder.encode, list[int]()

    def counted(encoder: Encoder, pixels: np.ndarray) -> np.ndarray:
        encoded.append(len(pixels))
        return encode(encoder, pixels)

    monkeypatch.setattr(Encoder, "encode", counted)

    def progress(label: str) -> Callable[[int, int], None]:
        labels.append(label)
        return lambda done, total: None

    found = evaluate(
        data, model, way=4, shots=2, query=3, tasks=4, baseline=baseline, progress=progress
    )
    assert found.accuracy > 0.9
    assert (found.baseline, found.head) == (baseline.name, "linear")
    assert (found.passes, found.adapt_macs) == (passes, passes * 8 * 1000)
    assert found.adapt_seconds > 0
    assert labels == (["Photos", "Tasks"] if baseline.on_photos else ["Photos"])
    assert found.encoded == bool(encoded) == (not baseline.on_photos)  # no features that none uses


@pytest.mark.parametrize(
    ("baseline", "looks"),
    [(None, 3), (Baseline("finetune", 5, 0.1), 3), (Baseline("maml", 2, 0.1, on_photos=True), 1)],
)
def test_the_cost_counts_the_looks_that_are_taken(
    baseline: Baseline | None,
    looks: int,
    tiny_model: Model,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data, model = write_classes(tmp_path / "data", 4), with_torch(tiny_model, monkeypatch)
    seen = replace(model.config.preprocess, closer_looks=(0.6, 0.4))
    model = replace(model, config=replace(model.config, preprocess=seen))
    found = evaluate(data, model, way=4, shots=2, query=1, tasks=2, baseline=baseline)
    assert found.adapt_macs == found.passes * looks * 8 * 1000
    assert (found.looks, found.model_looks) == (looks, 3)


def test_the_time_to_adapt_counts_what_was_done_ahead(
    tiny_model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A support photo was encoded once for all tasks; each task would have to encode it."""
    data = write_classes(tmp_path / "data", 5)
    monkeypatch.setattr(methods, "_median_seconds", lambda work: 100.0)
    found = evaluate(data, tiny_model, way=3, shots=2, tasks=3, head="cosine")
    assert 600 <= found.adapt_seconds < 601
    steps = Baseline("maml", 2, 0.1, on_photos=True)
    model = with_torch(tiny_model, monkeypatch)
    assert 0 < evaluate(data, model, way=3, shots=2, tasks=3, baseline=steps).adapt_seconds < 100


def test_the_measured_time_is_that_of_adapting_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 13.0])

    class Solver:
        def adapt(self, support: np.ndarray, labels: np.ndarray) -> Classifier:
            return Classifier(lambda numbers: np.eye(2)[[0, 0, 1]], 7)

    monkeypatch.setattr(evaluation.time, "perf_counter", lambda: next(clock))
    one = np.array([0])
    episode = Episode("made", one, one, np.array([1, 2, 3]), np.array([0, 1, 1]))
    assert solve_task(Solver(), episode) == (pytest.approx(2 / 3), 3.0, 7)


def test_scores_that_are_no_numbers_name_nothing() -> None:
    """Of a learner that diverged `argmax` would name the first class, as right as chance is."""

    class Solver:
        def adapt(self, support: np.ndarray, labels: np.ndarray) -> Classifier:
            return Classifier(lambda numbers: np.array([[np.nan, 1.0], [1.0, 0.0]]), 7)

    one = np.array([0])
    episode = Episode("made", one, one, np.array([1, 2]), np.array([0, 0]))
    assert solve_task(Solver(), episode)[0] == 0.5


@pytest.mark.parametrize("head", ["cosine", "auto", None])
def test_a_model_with_film_adapts_its_network_to_each_task(
    head: str | None, tiny_model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_classes(tmp_path / "data", 5)
    model = with_torch(tiny_model, monkeypatch, "protonets", film=True)
    loaded = methods.load_model(model.folder, model.config)
    assert loaded.set_encoder is not None
    extra = count_macs(loaded.set_encoder, model.config.preprocess.image_size)
    found = evaluate(data, model, way=4, shots=2, query=3, tasks=4, head=head)
    assert found.accuracy > 0.9 and found.head == (head or "auto") and not found.encoded
    assert (found.passes, found.adapt_macs) == (1, 8 * (1000 + extra))
    assert found.adapt_parameters == 4 * 8 + 4 + 16  # a head, and a scale and a shift by channel


def test_cnaps_names_with_the_head_it_generates(
    tiny_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = with_torch(tiny_model, monkeypatch, "cnaps", film=True)
    encoder = Encoder(model.folder)
    assert methods.choose_method(model, encoder).head == "generated"
    assert methods.choose_method(model, encoder, head="ridge").head == "ridge"
