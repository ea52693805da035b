"""What one step is made of: its mean over tasks, its limit, its rates, its subsets."""

import numpy as np
import pytest
import torch
from torch import Tensor

from litecli import lite
from litecli.lite import Subset
from litecli.training.episodic import EpisodicStage

from .small_stages import assert_same_gradients, stage_of, supervised_stage

LEARNERS_OF_EVERY_PATH = ["protonets", "simple-cnaps", "maml"]


def gradients_of(stage: EpisodicStage) -> dict[str, Tensor]:
    parameters = stage.model.named_parameters()
    return {name: p.grad.clone() for name, p in parameters if p.grad is not None}


def after_a_step(stage: EpisodicStage, step: int = 0) -> dict[str, Tensor]:
    """The gradients that the step's update was made of."""
    assert np.isfinite(next(stage.steps(step)))
    return gradients_of(stage)


def of_tasks(stage: EpisodicStage, *numbers: int) -> tuple[dict[str, Tensor], list[float]]:
    """The mean of these tasks' gradients, each computed alone, and their losses."""
    each, losses = [], []
    for k in numbers:
        stage.model.zero_grad(set_to_none=True)
        losses.append(stage.task_step(k, 1.0))
        each.append(gradients_of(stage))
    return {name: sum(g[name] for g in each) / torch.tensor(len(each)) for name in each[0]}, losses


def length(gradients: dict[str, Tensor]) -> float:
    return float(torch.cat([value.flatten() for value in gradients.values()]).double().norm())


@pytest.mark.parametrize("learner", LEARNERS_OF_EVERY_PATH)
def test_a_step_is_the_mean_of_its_tasks(learner: str) -> None:
    mean, losses = of_tasks(stage_of(learner), 0, 1)
    stage = stage_of(learner, clip=0.0)
    assert next(stage.steps(0)) == pytest.approx(np.mean(losses), rel=1e-6)
    assert_same_gradients(gradients_of(stage), mean, 1e-5)


def test_a_last_step_of_fewer_tasks_is_the_mean_of_those() -> None:
    alone, losses = of_tasks(stage_of("protonets"), 2)
    stage = stage_of("protonets", tasks=3, clip=0.0)
    assert next(stage.steps(1)) == pytest.approx(losses[0], rel=1e-6)
    assert_same_gradients(gradients_of(stage), alone, 1e-5)


@pytest.mark.parametrize("learner", LEARNERS_OF_EVERY_PATH)
def test_a_gradient_is_cut_to_the_limit_and_left_alone_below_it(learner: str) -> None:
    free = after_a_step(stage_of(learner, clip=0.0))
    norm = length(free)
    assert norm > 1e-3
    below = after_a_step(stage_of(learner, clip=1.01 * norm))
    assert all(torch.equal(below[name], free[name]) for name in free)
    stage = stage_of(learner, clip=norm / 4)
    cut = after_a_step(stage)
    assert length(cut) == pytest.approx(norm / 4, rel=1e-4)
    assert_same_gradients(cut, {name: value / 4 for name, value in free.items()}, 1e-4)
    for name, parameter in stage.model.named_parameters():  # cut before the update, not after it
        if name in cut:
            moment = stage.optimizer.state[parameter]["exp_avg"]
            torch.testing.assert_close(moment, 0.1 * cut[name])


# Ten steps, four of warm-up, then half a cosine over the other six: (1 + cos(pi n / 6)) / 2.
ROOT = 3**0.5 / 4
SHARES = [0.25, 0.5, 0.75, 1.0, 1.0, 0.5 + ROOT, 0.75, 0.5, 0.25, 0.5 - ROOT]


@pytest.mark.parametrize("first", [0, 5])
@pytest.mark.parametrize("learner", LEARNERS_OF_EVERY_PATH)
def test_every_part_learns_at_its_rate_of_the_step(
    learner: str, first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = stage_of(learner, tasks=20, warmup=4, lr=2e-3, backbone_lr=0.3)
    monkeypatch.setattr(stage, "task_step", lambda k, scale: 0.0)
    found = [rates_of(stage) for _ in stage.steps(first)]
    names = [name for name, _ in stage.model.named_parameters()]
    base = {name: 2e-3 * (0.3 if name.startswith("network.") else 1.0) for name in names}
    assert any(name.startswith("network.") for name in names) and "log_scale" in names
    assert len(found) == 10 - first
    for rates, share in zip(found, SHARES[first:], strict=True):
        assert rates == pytest.approx({name: share * rate for name, rate in base.items()})


def rates_of(stage: EpisodicStage) -> dict[str, float]:
    """Each parameter's learning rate, by its name in the model."""
    names = {parameter: name for name, parameter in stage.model.named_parameters()}
    groups = stage.optimizer.param_groups
    return {names[p]: group["lr"] for group in groups for p in group["params"]}


def test_the_first_step_goes_as_far_as_its_rates_say() -> None:
    """Adam's first step is its rate long wherever there is a gradient."""
    stage = stage_of("simple-cnaps", lr=1e-2, backbone_lr=0.3, warmup=2)
    before = {name: value.detach().clone() for name, value in stage.model.named_parameters()}
    next(stage.steps(0))
    after = stage.model.named_parameters()
    moved = {name: float((p.detach() - before[name]).abs().max()) for name, p in after}
    for network, rate in ((True, 1.5e-3), (False, 5e-3)):
        own = [far for name, far in moved.items() if name.startswith("network.") == network]
        assert max(own) == pytest.approx(rate, rel=1e-3)


@pytest.mark.parametrize("stratified", [True, False])
@pytest.mark.parametrize(("learner", "subsets"), [("protonets", 1), ("simple-cnaps", 2)])
def test_each_subset_is_drawn_as_the_run_says(
    learner: str, subsets: int, stratified: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, draw = [], lite.draw_subset

    def spy(
        gradient: str, labels: Tensor, num_back: int, generator: torch.Generator, spread: bool
    ) -> Subset:
        seen.append((gradient, num_back, spread))
        return draw(gradient, labels, num_back, generator, spread)

    monkeypatch.setattr(lite, "draw_subset", spy)
    stage_of(learner, stratified=stratified, lite_h=3).task_step(0, 1.0)
    assert seen == [("lite", 3, stratified)] * subsets


def test_the_supervised_stage_warms_up_and_follows_the_cosine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = supervised_stage(images=8 * 62, lr=4e-3)  # 62 steps, 3 of them of warm-up
    monkeypatch.setattr(stage, "batch", lambda k: k)
    monkeypatch.setattr(stage, "backward", lambda batch: 0.0)
    rates = [[group["lr"] for group in stage.optimizer.param_groups] for _ in stage.steps(0)]
    assert len(rates) == 62 and all(one == other for one, other in rates)
    found = [one / 4e-3 for one, _ in rates]
    assert found[:4] == pytest.approx([1 / 3, 2 / 3, 1, 1])
    assert found[-1] == pytest.approx(0.5 * (1 + np.cos(np.pi * 58 / 59)))
    middle = 0.5 * (1 + np.cos(np.pi * np.arange(59) / 59))
    assert found[3:] == pytest.approx(middle.tolist())
