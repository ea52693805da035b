"""A linear map behind a network's features: where it is put, that it learns, that it is kept."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch

from litecli import storage
from litecli.cli.train_ranges import check
from litecli.config import ModelConfig, NuisanceConfig, TrainConfig
from litecli.errors import ExitCode, LiteError
from litecli.library.model_files import open_model
from litecli.networks import backbone
from litecli.networks.encoder import Encoder
from litecli.networks.model import FewShotModel
from litecli.networks.model_folder import load_model, model_config, write_model
from litecli.networks.parts import leave_out_head, project, projection_name, signed_power
from litecli.training.run_folder import STATE_FILE
from litecli.training.run_setup import initial_model
from litecli.training.task_cost import network_passes
from litecli.training.task_size import TaskSize

from .small_runs import SIDE, events_of
from .small_stages import assert_same_gradients, gradients, noise, stage_of

NETWORKS = ("test_byobnet", "test_convnext", "test_vit", "test_efficientnet", "resnet10t")


@pytest.mark.parametrize("name", NETWORKS)
def test_a_projection_is_the_identity_until_it_learns(name: str) -> None:
    network = timm.create_model(name, num_classes=0).eval()
    images = torch.randn(2, 3, 160, 160)
    with torch.no_grad():
        before = network(images)
        project(network, before.shape[1])
        torch.testing.assert_close(network(images), before)
        network.get_parameter(f"{projection_name(network)}.weight").mul_(2)
        torch.testing.assert_close(network(images), 2 * before)


def test_a_power_keeps_the_signs_of_features_and_pulls_their_sizes_together() -> None:
    values = torch.tensor([-4.0, -1.0, 0.0, 0.25, 9.0])
    expected = torch.tensor([-2.0, -1.0, 0.0, 0.5, 3.0])
    torch.testing.assert_close(signed_power(values, 0.5), expected, atol=1e-5, rtol=0)
    assert signed_power(values, 1.0) is values


def test_what_a_power_learns_by_is_finite_at_zero_and_right_elsewhere() -> None:
    values = torch.tensor([-4.0, 0.0, 0.25, 9.0], dtype=torch.float64, requires_grad=True)
    signed_power(values, 0.7).sum().backward()
    slopes = 0.7 * values.detach().abs() ** -0.3
    assert values.grad is not None and bool(values.grad.isfinite().all())
    torch.testing.assert_close(values.grad[[0, 2, 3]], slopes[[0, 2, 3]], rtol=1e-5, atol=0)


def test_a_projection_takes_features_to_its_power_first() -> None:
    network = timm.create_model("test_byobnet", num_classes=0).eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        before = network(images)
        project(network, before.shape[1], 0.7)
        weight = network.get_parameter(f"{projection_name(network)}.weight")
        torch.nn.init.normal_(weight, std=0.2)
        expected = before.sign() * before.abs() ** 0.7 @ weight.T
        torch.testing.assert_close(network(images), expected, atol=1e-4, rtol=1e-4)


def test_a_network_cut_behind_its_last_stage_can_have_one() -> None:
    network = leave_out_head(timm.create_model("mobilenetv4_conv_small", num_classes=0)).eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        before = network(images)
        torch.testing.assert_close(project(network, before.shape[1])(images), before)


def test_a_network_without_a_place_for_one_is_refused() -> None:
    network = timm.create_model("deit_tiny_distilled_patch16_224", num_classes=0)
    with pytest.raises(LiteError, match="no one place for a projection") as caught:
        projection_name(network)
    assert caught.value.code == ExitCode.USAGE


def projected_model(film: bool = False, power: float = 1.0) -> FewShotModel:
    """A model with random weights and a projection that is not the identity."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        built = backbone.with_projection(backbone.build("test_byobnet", "none", SIDE), power)
        model = FewShotModel(built, "cosine", film)
        for parameter in model.projection:
            torch.nn.init.normal_(parameter, std=0.2)
    return model


@pytest.mark.parametrize(("film", "power"), [(False, 1.0), (True, 1.0), (False, 0.7), (True, 0.7)])
def test_a_model_folder_keeps_it(film: bool, power: float, tmp_path: Path) -> None:
    model = projected_model(film, power)
    folder = tmp_path / "own"
    write_model(model, model_config("own", model, "protonets", "cosine"), folder, {})
    config = open_model(folder).config
    assert config.projected and config.feature_power == power
    images = torch.randn(3, 3, SIDE, SIDE)
    with torch.no_grad():
        expected = model.features(images)
        torch.testing.assert_close(load_model(folder, config).features(images), expected)
        again = backbone.build("any", str(folder))  # --weights FOLDER: trained on with it
        assert again.projected and backbone.with_projection(again) == again
        torch.testing.assert_close(again.network(images), expected)
        for other in ({"projected": False}, {"feature_power": 0.5}):
            plain = backbone.rebuild(replace(config, **other)).eval()
            plain.load_state_dict(model.network.state_dict(), strict=False)
            assert not torch.allclose(plain(images), expected)
    encoded = Encoder(folder).encode(images.numpy())
    np.testing.assert_allclose(encoded, expected.numpy(), atol=1e-4)
    with pytest.raises(LiteError, match="that --pooled leaves out"):
        backbone.build("any", str(folder), pooled=True)


def test_its_power_is_the_one_that_it_learned_with(tmp_path: Path) -> None:
    model, folder = projected_model(power=0.7), tmp_path / "own"
    write_model(model, model_config("own", model, "protonets", "cosine"), folder, {})
    built = backbone.build("any", str(folder))
    assert backbone.with_projection(built, 0.7).feature_power == 0.7
    with pytest.raises(LiteError, match=r"power 0[.]7") as caught:
        backbone.with_projection(built, 0.5)
    assert caught.value.code == ExitCode.USAGE


def test_a_run_that_begins_from_one_need_not_ask_for_it(tmp_path: Path) -> None:
    model, folder = projected_model(power=0.7), tmp_path / "own"
    write_model(model, model_config("own", model, "protonets", "cosine"), folder, {})
    shrunken = NuisanceConfig(photos=100)
    run = TrainConfig(weights=str(folder), image_size=SIDE, feature_power=0.7, nuisance=shrunken)
    built = initial_model(check(run), torch.device("cpu"), offline=True).backbone
    assert built.projected and built.feature_power == 0.7
    with pytest.raises(LiteError, match=r"power 0[.]7"):
        initial_model(check(replace(run, feature_power=0.5)), torch.device("cpu"), offline=True)
    shutil.rmtree(folder)
    for weights in (str(folder), "auto", "none"):
        with pytest.raises(LiteError, match="and there is none"):
            check(TrainConfig(weights=weights, feature_power=0.7))


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        ({"projected": "yes"}, TypeError, "projected yes"),
        ({"feature_power": 0.0}, ValueError, "feature_power 0"),
        ({"feature_power": float("nan")}, ValueError, "feature_power nan"),
        ({"feature_power": "half"}, TypeError, "not supported"),
    ],
)
def test_what_a_config_says_of_it_has_to_be_possible(
    wrong: dict[str, Any], error: type[Exception], words: str
) -> None:
    config = ModelConfig("m", "resnet10t", 8).to_dict() | wrong
    with pytest.raises(error, match=words):
        ModelConfig.from_dict(config)


def projected_stage(**changes: Any) -> Any:
    changes = {"backbone_lr": 0.0, **changes}
    stage = stage_of("protonets", projection=True, **changes)
    built = backbone.with_projection(stage.model.backbone, stage.config.feature_power)
    model = FewShotModel(built, "cosine")
    return type(stage)(model, stage.config, noise().__getitem__, stage.sources, False)


def test_it_learns_in_front_of_a_frozen_network() -> None:
    stage = projected_stage()
    before = {name: value.clone() for name, value in stage.model.named_parameters()}
    assert len(list(stage.steps(0))) == 2
    place = f"network.{projection_name(stage.model.network)}."
    moved = {n for n, p in stage.model.named_parameters() if not torch.equal(p, before[n])}
    assert moved == {f"{place}weight", "log_scale"}


@pytest.mark.parametrize("power", [1.0, 0.7])
@pytest.mark.parametrize("frozen", [True, False])
def test_its_exact_gradient_is_the_full_one(frozen: bool, power: float) -> None:
    found = {}
    for gradient in ("exact", "full"):
        changes = {"gradient": gradient, "feature_power": power}
        stage = projected_stage(backbone_lr=0.0 if frozen else 0.1, **changes)
        stage.model.ask_for_gradients(network=not frozen)
        found[gradient] = gradients(stage)
    assert (len(found["full"]) == 2) == frozen
    assert_same_gradients(found["exact"], found["full"], 1e-5)


def test_the_supervised_stage_teaches_the_network_all_the_same(
    config: TrainConfig, quick: None
) -> None:
    """The episodes' stage is made before that one runs, and must not freeze the network then."""
    config = replace(config, projection=True, feature_power=0.7, backbone_lr=0.0)
    events_of(config)
    begun = initial_model(config, torch.device("cpu"), offline=True)
    assert begun.backbone.feature_power == 0.7
    state, _ = storage.read_tensors(Path(config.out) / "last" / STATE_FILE)
    weights = dict(begun.network.named_parameters())
    still = [n for n, p in weights.items() if np.array_equal(state[f"model.network.{n}"], p.data)]
    assert len(weights) > 20 and not still


def test_nothing_goes_back_into_a_frozen_network() -> None:
    task = TaskSize(5, 50, 10)
    for gradient, again in (("lite", 30), ("exact", 60), ("full", 60)):
        config = TrainConfig(projection=True, backbone_lr=0.0, gradient=gradient, lite_h=20)
        passes = network_passes(config, task)
        assert passes.back == 0 and passes.forward == (0 if gradient == "full" else 50) + again
