"""The stage of episodes: its gradients, its views, its schedule."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from litecli.config import EpisodeConfig, TrainConfig
from litecli.networks import backbone
from litecli.networks.model import FewShotModel
from litecli.tasks.episodes import Source, sample_episode
from litecli.training import stages
from litecli.training.episodic import EpisodicStage

from .small_runs import NETWORK, SIDE


def stage_of(head: str, gradient: str, chunk: int = 40, **changes: Any) -> EpisodicStage:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (40, 4, 4, 3), dtype=np.uint8)
    squares = np.kron(coarse, np.ones((1, 9, 9, 1), np.uint8))
    pools = tuple(tuple(range(10 * c, 10 * c + 10)) for c in range(4))
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = FewShotModel(backbone.build(NETWORK, "none", SIDE), head)
    config = TrainConfig(
        head=head,
        gradient=gradient,
        image_size=SIDE,
        lite_h=4,
        chunk=chunk,
        query_batch=chunk,
        episodes=EpisodeConfig(way_min=3, way_max=4, support_max=20, query=4),
        tasks=4,
        tasks_per_step=2,
        warmup=0,
        **changes,
    )
    return EpisodicStage(
        model, config, squares.__getitem__, [Source("made", (*"abcd",), pools)], False
    )


def gradients(stage: EpisodicStage) -> dict[str, Tensor]:
    stage.model.zero_grad(set_to_none=True)
    stage.task_step(3, scale=1.0)
    return {n: p.grad.clone() for n, p in stage.model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("head", ["cosine", "euclidean", "ridge"])
def test_every_parameter_learns(head: str) -> None:
    stage = stage_of(head, "lite")
    before = {n: p.detach().clone() for n, p in stage.model.named_parameters()}
    assert "log_scale" in before
    losses = list(stage.steps(0))
    assert len(losses) == 2 and np.isfinite(losses).all()
    still = [n for n, p in stage.model.named_parameters() if torch.equal(p, before[n])]
    assert still == []
    assert not stage.model.network.training


@pytest.mark.parametrize("augment", [True, False])
@pytest.mark.parametrize("head", ["cosine", "ridge"])
def test_exact_gradients_in_chunks_are_ordinary_back_propagation(head: str, augment: bool) -> None:
    full = gradients(stage_of(head, "full", augment=augment))
    for chunk in (40, 3):
        exact = gradients(stage_of(head, "exact", chunk, augment=augment))
        assert set(exact) == set(full)
        for name in full:
            scale = float(full[name].abs().max())
            torch.testing.assert_close(exact[name], full[name], rtol=1e-3, atol=1e-4 * scale + 1e-9)
    lite = gradients(stage_of(head, "lite", augment=augment))
    assert any(not torch.allclose(lite[n], full[n], rtol=1e-2) for n in full)


def test_an_episode_has_its_own_views_and_they_stay_the_same_in_both_passes() -> None:
    for augmented in (True, False):
        stage = stage_of("cosine", "lite", augment=augmented)
        episode = sample_episode(stage.sources, stage.config.episodes, 0, 3)
        images = stage.task(episode, 3).support_images
        chosen = torch.tensor([2, 0])
        assert torch.equal(images[chosen], images[torch.arange(3)][chosen])
        another = stage.task(episode, 4).support_images
        assert torch.equal(images[chosen], another[chosen]) != augmented


def test_statistics_and_random_numbers_stay_as_they_are_in_episodes() -> None:
    stage = stage_of("cosine", "lite")
    buffers = {n: b.clone() for n, b in stage.model.named_buffers()}
    torch.manual_seed(0)
    drawn = torch.random.get_rng_state()
    list(stage.steps(0))
    assert torch.equal(torch.random.get_rng_state(), drawn)
    assert all(torch.equal(buffers[n], b) for n, b in stage.model.named_buffers())


def test_the_schedule_warms_up_and_ends_near_zero() -> None:
    rates = [stages.schedule(step, 100, 10) for step in range(100)]
    assert rates[:10] == pytest.approx([0.1 * n for n in range(1, 11)])
    assert all(a >= b for a, b in pairwise(rates[10:]))
    assert rates[10] == 1.0 and rates[55] == pytest.approx(0.5) and 0 < rates[-1] < 0.001


def test_a_moment_lies_in_memory_as_its_parameter() -> None:
    """A restored optimiser takes the same fast path, with the same rounding, as one that ran on."""
    stage = stage_of("cosine", "lite")
    stage.model.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    next(stage.steps(0))
    saved = {n: t.clone().contiguous() for n, t in stages.state_tensors(stage, stage.model).items()}
    fresh = stage_of("cosine", "lite")
    fresh.model.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    stages.restore(fresh, fresh.model, saved)
    for parameter, slots in fresh.optimizer.state.items():
        assert slots["exp_avg"].stride() == parameter.stride()
    assert len(fresh.optimizer.state) == len(list(fresh.model.parameters()))
