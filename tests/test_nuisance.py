"""The stage that starts a projection: what it measures, what it makes of that, that it helps."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from litecli import storage
from litecli.cli.train_ranges import check
from litecli.config import NuisanceConfig, TrainConfig
from litecli.errors import ExitCode, LiteError
from litecli.networks import backbone
from litecli.networks.model import FewShotModel
from litecli.training.events import Stepped, Validated
from litecli.training.nuisance import PHOTOS, NuisanceStage, shrinking
from litecli.training.run_folder import STATE_FILE
from litecli.training.training import meta_train

from .small_runs import SMALL_RUN, events_of
from .small_stages import SIDE, SOURCES, noise

STEPS = 3


def stage_of(strength: float = 1.0, **changes: Any) -> NuisanceStage:
    """A stage of three steps on coarse noise, its projection not the identity."""
    shape = NuisanceConfig(photos=STEPS * PHOTOS - 1, looks=3, strength=strength)
    config = replace(SMALL_RUN, projection=True, nuisance=shape, **changes)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        built = backbone.with_projection(backbone.build("test_convnext", "none", SIDE), 0.7)
        model = FewShotModel(built, "cosine")
        model.requires_grad_(False)
        (weight,) = model.projection
        weight += 0.1 * torch.randn_like(weight)
    return NuisanceStage(model, config, noise().__getitem__, SOURCES, False)


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def test_a_direction_is_shrunk_by_how_much_it_varies() -> None:
    spread = torch.tensor([4.0, 1.0, 0.0, 1.0], dtype=torch.float64)  # mean 1.5
    turn = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64)).Q
    expected = turn @ torch.diag((1 + 2 * spread / 1.5) ** -0.5) @ turn.T
    for factor in (1.0, 1e-6):
        found = shrinking(factor * turn @ torch.diag(spread) @ turn.T, 2.0)
        torch.testing.assert_close(found, expected, atol=1e-9, rtol=0)
    torch.testing.assert_close(shrinking(0 * turn, 2.0), torch.eye(4, dtype=torch.float64))


def test_the_last_step_puts_the_formula_in_front_of_the_projection() -> None:
    stage = stage_of(strength=3.0)
    (weight,) = stage.model.projection
    before, looks = weight.clone(), [stage.features(k).double().numpy() for k in range(STEPS)]
    losses = []
    for loss in stage.steps(0):
        losses.append(loss)
        assert torch.equal(weight, before) == (len(losses) < STEPS)
    features = unit(np.concatenate(looks))
    cosines = np.einsum("pad,pbd->pab", features, features)
    apart = [1 - cosines[:, a, b].mean() for a, b in ((0, 1), (0, 2), (1, 2))]
    assert np.mean(losses) == pytest.approx(np.mean(apart), rel=1e-5)
    covariance = np.mean([np.cov(photo.T) for photo in features], axis=0)
    values, vectors = np.linalg.eigh(covariance)
    shares = 1 / np.sqrt(1 + 3.0 * np.maximum(values, 0) / values.mean())
    expected = vectors * shares @ vectors.T @ before.double().numpy()
    np.testing.assert_allclose(weight.numpy(), expected, atol=1e-5)


def test_looks_at_one_photo_come_nearer_than_those_at_two() -> None:
    """Where looks move features in some directions, and photos differ in others too."""
    stage = stage_of()
    (weight,) = stage.model.projection
    width = weight.shape[1]
    moved = torch.randn(4, width, generator=torch.Generator().manual_seed(0))

    def features(k: int) -> torch.Tensor:
        draw = torch.Generator().manual_seed(k)
        photos = torch.randn(PHOTOS, 1, width, generator=draw)
        looks = torch.randn(PHOTOS, 3, 4, generator=draw) @ moved
        return (photos + looks) @ weight.T

    def share_within() -> float:
        """Of the variance of features, that within photos which the stage has not drawn."""
        seen = unit(features(99).double().numpy())
        within = seen - seen.mean(axis=1, keepdims=True)
        return float(np.sum(within**2) / np.sum((seen - seen.mean(axis=(0, 1))) ** 2))

    stage.features = features
    before = share_within()
    assert len(list(stage.steps(0))) == STEPS
    assert share_within() < 0.5 * before


def test_the_looks_of_a_row_are_at_one_photo(monkeypatch: pytest.MonkeyPatch) -> None:
    """Photos of one grey each, all the same however they are cropped, and a mean as features."""
    stage = stage_of(augment=False)
    stage.images.squares = lambda number: np.full((36, 36, 3), 5 * number, np.uint8)
    monkeypatch.setattr(stage.model, "features", lambda images, bf16: images.mean(dim=(2, 3)))
    seen = stage.features(0)[..., 0]
    assert float(seen.std(dim=1).max()) < 1e-5 and len(seen.unique()) > 15


def test_a_step_is_a_function_of_its_number_whatever_its_chunks() -> None:
    stage, chunked = stage_of(), stage_of(chunk=50)
    first = stage.features(2)
    torch.testing.assert_close(chunked.features(2), first)
    assert torch.equal(stage.features(2), first)
    assert not torch.allclose(stage.features(1), first)
    assert not torch.allclose(stage_of(seed=1).features(2), first)


def test_what_is_no_number_changes_nothing() -> None:
    stage = stage_of()
    steps = stage.steps(0)
    next(steps)
    total = stage.scatter.total.clone()
    (weight,) = stage.model.projection
    weight[0, 0] = torch.nan
    assert np.isnan(next(steps)) and torch.equal(stage.scatter.total, total)


def run_of(config: TrainConfig, folder: Path, out: str) -> TrainConfig:
    return replace(
        config,
        projection=True,
        feature_power=0.7,
        nuisance=NuisanceConfig(photos=STEPS * PHOTOS),
        out=str(folder / out),
        val_every=1,
    )


@pytest.mark.parametrize("after", [4, 6])  # events: three steps are supervised, and validated
def test_a_run_takes_it_between_the_others_and_resumes_in_it(
    config: TrainConfig, tmp_path: Path, quick: None, after: int
) -> None:
    whole = run_of(config, tmp_path, "whole")
    events = events_of(whole)
    steps = [event.stage for event in events if isinstance(event, Stepped)]
    assert steps == ["supervised"] * 3 + ["nuisance"] * STEPS + ["episodes"] * 3
    told = [(event.stage, event.step) for event in events if isinstance(event, Validated)]
    assert [step for stage, step in told if stage == "nuisance"] == [STEPS]
    assert [step for stage, step in told if stage == "supervised"] == [0, 1, 2, 3]
    stopped = replace(whole, out=str(tmp_path / "stopped"))
    at_stop = [event for event in stop_after_steps(stopped, after) if isinstance(event, Stepped)]
    assert at_stop[-1].stage == "nuisance"
    events_of(stopped, resume=True)
    states = [Path(run.out) / "last" / STATE_FILE for run in (whole, stopped)]
    tensors = [storage.read_tensors(path)[0] for path in states]
    assert tensors[0].keys() == tensors[1].keys()
    assert all(np.array_equal(value, tensors[1][name]) for name, value in tensors[0].items())


def stop_after_steps(config: TrainConfig, count: int) -> list[Any]:
    """The events of the first `count` steps; then the run is closed."""
    run, seen = meta_train(config), []
    for event in run:
        seen.append(event)
        if sum(isinstance(one, Stepped) for one in seen) == count:
            run.close()
    return seen


@pytest.mark.parametrize(
    "changes",
    [
        {"nuisance": NuisanceConfig(photos=100)},
        {"nuisance": NuisanceConfig(strength=2.0), "projection": True},
    ],
)
def test_it_is_for_a_projection_and_needs_photos(changes: dict[str, Any]) -> None:
    with pytest.raises(LiteError, match=r"\[nuisance\]") as caught:
        check(TrainConfig(**changes))
    assert caught.value.code == ExitCode.USAGE
    check(TrainConfig(nuisance=NuisanceConfig(photos=100), projection=True))
