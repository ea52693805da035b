"""Every learner in the stage that trains it: what learns, what stays, what a step is made of."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from litecli import lite
from litecli.config import LEARNERS, EpisodeConfig, TrainConfig
from litecli.training.episodic import EpisodicStage
from litecli.training.run_setup import initial_model

from .small_stages import SIDE, assert_same_gradients, gradients, stage_of


def changed_by_training(stage: EpisodicStage) -> set[str]:
    before = {name: value.clone() for name, value in stage.model.state_dict().items()}
    losses = list(stage.steps(0))
    assert len(losses) == 2 and np.isfinite(losses).all()
    assert not stage.model.network.training
    after = stage.model.state_dict()
    return {name for name, value in before.items() if not torch.equal(value, after[name])}


def trainable(stage: EpisodicStage) -> set[str]:
    return {name for name, _ in stage.model.named_parameters()}


@pytest.mark.parametrize("film", ["on", "off"])
@pytest.mark.parametrize("learner", LEARNERS)
def test_every_parameter_learns(learner: str, film: str) -> None:
    stage = stage_of(learner, film=film if learner != "maml" else "off")
    # MAML scores with the head of its inner loop: it has no scale to learn.
    unused = {"log_scale"} if learner == "maml" else set()
    assert changed_by_training(stage) == trainable(stage) - unused


def test_a_seed_gives_the_same_model_whatever_was_drawn_before() -> None:
    config = TrainConfig(learner="cnaps", backbone="test_convnext", weights="none", image_size=SIDE)
    models = []
    for seed in (config.seed, config.seed, config.seed + 1):
        torch.rand(1)
        models.append(initial_model(replace(config, seed=seed), torch.device("cpu"), True))
    first, second, other = (model.state_dict() for model in models)
    assert all(torch.equal(first[name], second[name]) for name in first)
    drawn = {"set_encoder.blocks.0.weight", "generator.strength", "head_generator.inner_weight"}
    assert not any(torch.equal(first[name], other[name]) for name in drawn)


@pytest.mark.parametrize("learner", LEARNERS)
def test_one_photo_of_a_class_trains(learner: str) -> None:
    """Tasks of as many support photos as classes: one of each."""
    episodes = EpisodeConfig(way_min=4, way_max=4, support_max=4, query=2)
    stage = stage_of(learner, episodes=episodes, lite_h=2)
    assert changed_by_training(stage)
    assert all(bool(parameter.isfinite().all()) for parameter in stage.model.parameters())


@pytest.mark.parametrize("learner", ["cnaps", "simple-cnaps"])
def test_a_frozen_network_keeps_every_bit(learner: str) -> None:
    stage = stage_of(learner, backbone_lr=0.0)
    assert stage.model.has_film  # by itself: film = auto
    expected = {name for name in trainable(stage) if not name.startswith("network.")}
    assert changed_by_training(stage) == expected


@pytest.mark.parametrize("learner", ["protonets", "cnaps", "simple-cnaps"])
def test_chunks_change_no_gradient(learner: str) -> None:
    found = [
        gradients(stage_of(learner, film="on", chunk=chunk, query_batch=batch))
        for chunk, batch in ((7, 7), (1, 3), (99, 99))
    ]
    for other in found[1:]:
        assert_same_gradients(other, found[0], 1e-3)


@pytest.mark.parametrize("learner", ["protonets", "ridge", "cnaps", "simple-cnaps"])
def test_exact_is_full_in_float32(learner: str) -> None:
    exact, full = (
        gradients(stage_of(learner, film="on", gradient=gradient)) for gradient in ("exact", "full")
    )
    assert_same_gradients(exact, full, 1e-5)
    apart, length = (
        math.hypot(*(float(value.norm()) for value in values))
        for values in ([exact[name] - full[name] for name in full], full.values())
    )
    assert apart <= 1e-6 * length
    assert sum(bool(value.norm() > 1e-8) for value in full.values()) > 0.7 * len(full)


def test_the_regulariser_counts_once_a_task() -> None:
    """However many query batches and tasks of a step there are."""
    stage = stage_of("simple-cnaps", query_batch=1)
    generator = stage.model.generator
    assert generator is not None
    with_it = gradients(stage, scale=0.5)["generator.strength"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(generator), "penalty", lambda self: 0 * self.strength.sum())
        without = gradients(stage, scale=0.5)["generator.strength"]
    expected = 0.5 * 2 * 1e-3 * generator.strength.detach()
    torch.testing.assert_close(with_it - without, expected, rtol=1e-2, atol=1e-6)


def test_the_two_uses_of_a_support_set_draw_independent_subsets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn = []

    def spy(*_args: object, **options: Any) -> float:
        drawn.append((options["subset"].indices.tolist(), options["set_subset"].indices.tolist()))
        return 0.0

    stage = stage_of("simple-cnaps", lite_h=2)
    monkeypatch.setattr(lite, "task_backward", spy)
    for k in range(60):
        stage.task_step(k, 1.0)
    large = [(a, b) for a, b in drawn if max(a + b) >= 6]
    assert len(large) > 20 and sum(a == b for a, b in large) < len(large) / 3
    drawn.clear()
    for k in range(60):
        stage.task_step(k, 1.0)
    assert [pair for pair in drawn if max(pair[0] + pair[1]) >= 6] == large


@pytest.mark.parametrize("learner", ["ridge", "simple-cnaps"])
def test_weights_that_are_no_numbers_give_a_loss_that_is_none(learner: str) -> None:
    """A matrix that cannot be factored is no crash: training has its own answer to NaN."""
    stage = stage_of(learner)
    with torch.no_grad():
        stage.model.network.get_parameter("stem.0.weight").fill_(math.nan)
    assert math.isnan(next(stage.steps(0)))


@pytest.mark.parametrize("learner", LEARNERS)
def test_the_loss_goes_down(learner: str) -> None:
    stage = stage_of(learner, tasks=40, backbone_lr=1.0, lr=3e-3, augment=False)
    losses = list(stage.steps(0))
    assert math.fsum(losses[-8:]) < 0.9 * math.fsum(losses[:8])
