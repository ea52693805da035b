"""bf16 is for the networks: features come rounded but as float32, and heads compute in fp32."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from litecli.config import TrainConfig
from litecli.networks.devices import use_bf16
from litecli.networks.model import FewShotModel
from litecli.training.events import Started

from .small_runs import events_of
from .small_stages import SIDE, stage_of, supervised_stage


def close_but_rounded(found: Tensor, exact: Tensor) -> None:
    assert found.dtype == exact.dtype == torch.float32 and found.shape == exact.shape
    apart = float((found - exact).norm() / exact.norm())
    assert 1e-5 < apart < 2e-2


@torch.no_grad()
def test_bf16_rounds_features_and_gives_float32() -> None:
    stage = stage_of("simple-cnaps")
    model, images = stage.model, torch.randn(6, 3, SIDE, SIDE, generator=torch.manual_seed(0))
    rounded, exact = model.functions(bf16=True), model.functions(bf16=False)
    assert rounded.embed is not None and exact.embed is not None
    close_but_rounded(rounded.embed(images), exact.embed(images))
    film = model.generate(model.embed(images))
    for values in ({}, film):
        close_but_rounded(rounded.encode(images, values), exact.encode(images, values))
        assert torch.equal(exact.encode(images, values), model.features(images, False, values))


@pytest.mark.parametrize("gradient", ["lite", "full"])
@pytest.mark.parametrize("learner", ["protonets", "ridge", "cnaps", "simple-cnaps"])
def test_a_task_in_bf16_has_rounded_features_and_a_head_in_fp32(
    learner: str, gradient: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[bool, list[Tensor]] = {True: [], False: []}
    fit, summed_loss = FewShotModel.fit, FewShotModel.summed_loss

    def spy_fit(self: FewShotModel, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
        seen[bf16].append(features.detach().clone())
        assert not torch.is_autocast_enabled("cpu")
        fitted = fit(self, features, labels)
        assert {value.dtype for value in fitted.values()} == {torch.float32}
        return fitted

    def spy_loss(self: FewShotModel, fitted: Any, queries: Tensor, labels: Tensor) -> Tensor:
        seen[bf16].append(queries.detach().clone())
        assert not torch.is_autocast_enabled("cpu")
        loss = summed_loss(self, fitted, queries, labels)
        assert loss.dtype == torch.float32
        return loss

    monkeypatch.setattr(FewShotModel, "fit", spy_fit)
    monkeypatch.setattr(FewShotModel, "summed_loss", spy_loss)
    for bf16 in (True, False):
        stage_of(learner, bf16, gradient=gradient).task_step(0, 1.0)
    assert len(seen[True]) >= 2
    for found, exact in zip(seen[True], seen[False], strict=True):
        close_but_rounded(found, exact)


def test_mamls_task_in_bf16_has_rounded_features(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[bool, list[Tensor]] = {True: [], False: []}
    features = FewShotModel.features

    def spy(self: FewShotModel, *arguments: Any) -> Tensor:
        made = features(self, *arguments)
        seen[bf16].append(made.detach().clone())
        return made

    monkeypatch.setattr(FewShotModel, "features", spy)
    for bf16 in (True, False):
        stage_of("maml", bf16, inner_steps=1).task_step(0, 1.0)
    close_but_rounded(seen[True][0], seen[False][0])


@pytest.mark.parametrize(("precision", "expected"), [("bf16", True), ("fp32", False)])
def test_a_precision_that_was_asked_for_is_used(precision: str, expected: bool) -> None:
    assert use_bf16(precision, torch.device("cpu")) is expected


def test_the_supervised_loss_in_bf16_is_rounded() -> None:
    losses = []
    for bf16 in (True, False):
        stage = supervised_stage(bf16, images=8)
        loss = stage.loss(stage.batch(0))
        assert loss.dtype == torch.float32
        losses.append(float(loss.detach()))
    assert losses[0] != losses[1] and losses[0] == pytest.approx(losses[1], rel=2e-2)


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_a_whole_run_computes_in_the_precision_that_it_names(
    precision: str, config: TrainConfig, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Supervised steps, episodes and validations: no part of the network is left out."""
    types: set[torch.dtype] = set()
    wrapped = FewShotModel.__init__

    def listening(self: FewShotModel, *arguments: Any) -> None:
        wrapped(self, *arguments)
        self.network.register_forward_hook(lambda module, given, made: types.add(made.dtype))

    monkeypatch.setattr(FewShotModel, "__init__", listening)
    started, *_ = (
        e for e in events_of(replace(config, precision=precision)) if isinstance(e, Started)
    )
    assert started.precision == precision
    assert types == {torch.bfloat16 if precision == "bf16" else torch.float32}
