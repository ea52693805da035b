"""What a task is said to cost, against what it does: passes, arithmetic, memory."""

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from torch.utils.flop_counter import FlopCounterMode

from litecli.config import GRADIENTS, LEARNERS, EpisodeConfig, TrainConfig, head_of_learner
from litecli.networks import backbone
from litecli.networks.model import FewShotModel
from litecli.tasks.episodes import Source, sample_episode
from litecli.training import planning, task_cost, task_size
from litecli.training.episodic import EpisodicStage

SIDE = 32
SOURCE = Source(
    "noise", tuple("abcdef"), tuple(tuple(range(20 * c, 20 * c + 20)) for c in range(6))
)
CONFIG = TrainConfig(
    image_size=SIDE,
    backbone="test_resnet",
    weights="none",
    episodes=EpisodeConfig(way_min=6, way_max=6, support_min=40, support_max=40, query=3),
    lite_h=4,  # fewer than the classes: a small task is larger
    chunk=7,
    query_batch=5,
    inner_steps=2,
    precision="fp32",
)


def trained_as(learner: str, gradient: str, lr: float) -> tuple[TrainConfig, EpisodicStage]:
    """A stage whose next task is of the size that is returned by `size_of`."""
    config = replace(CONFIG, learner=learner, gradient=gradient, backbone_lr=lr)
    built = backbone.build("test_resnet", "none", SIDE)
    model = FewShotModel(built, head_of_learner(learner, "cosine"), config.uses_film)
    square = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    stage = EpisodicStage(model, config, lambda number: square, [SOURCE], False)
    model.network.requires_grad_(lr > 0)
    return config, stage


def size_of(config: TrainConfig) -> task_size.TaskSize:
    episode = sample_episode([SOURCE], config.episodes, config.seed, 0)
    return task_size.TaskSize(episode.way, len(episode.support), len(episode.query))


def counting(seen: Counter[tuple[str, bool]], name: str) -> Any:
    """The method `name` of a model, counting its photos by whether they get a gradient."""
    method = getattr(FewShotModel, name)

    def counted(self: FewShotModel, images: Any, *args: Any, **options: Any) -> Any:
        outputs = method(self, images, *args, **options)
        seen[name, outputs.requires_grad] += len(images)
        return outputs

    return counted


@pytest.mark.parametrize("lr", [0.0, 0.1])
@pytest.mark.parametrize("gradient", GRADIENTS)
@pytest.mark.parametrize("learner", LEARNERS)
def test_passes_and_arithmetic_are_those_of_a_task(
    learner: str, gradient: str, lr: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, stage = trained_as(learner, gradient, lr)
    seen: Counter[tuple[str, bool]] = Counter()
    for name in ("features", "embed"):
        monkeypatch.setattr(FewShotModel, name, counting(seen, name))
    with FlopCounterMode(display=False) as counter:
        stage.task_step(0, 1.0)
    size = size_of(config)
    expected = task_cost.network_passes(config, size)
    assert (seen["features", False], seen["features", True]) == expected
    expected = task_cost.set_encoder_passes(config, size)
    assert (seen["embed", False], seen["embed", True]) == expected
    macs = task_cost.task_macs(config, stage.model, size)
    # The heads' own products come on top; the gradient of the photos themselves is never made.
    assert macs == pytest.approx(counter.get_total_flops() / 2, rel=0.12)


def test_a_small_task_keeps_every_class_and_maml_all_photos() -> None:
    size = task_size.TaskSize(way=50, support=500, query=100)
    small = replace(CONFIG, gradient="small-task", lite_h=40)
    assert task_size.goes_back(small, size) == 50
    assert task_size.goes_back(replace(small, lite_h=60), size) == 60
    assert task_size.goes_back(replace(small, learner="maml"), size) == 50
    assert task_size.goes_back(replace(CONFIG, learner="maml"), size) == 500
    assert task_size.goes_back(replace(small, gradient="lite"), size) == 40


def test_a_frozen_network_needs_less_memory_and_maml_a_copy() -> None:
    film, learned = (trained_as("simple-cnaps", "lite", lr) for lr in (0.0, 0.1))
    graphs, more = (task_cost.graphs_of(c, stage.model) for c, stage in (film, learned))
    assert 0 < graphs.network < more.network and graphs.set_encoder == more.set_encoder > 0
    assert task_cost.weight_bytes(film[0], film[1].model) < task_cost.weight_bytes(
        learned[0], learned[1].model
    )
    assert not any(p.requires_grad for p in film[1].model.network.parameters())  # as before
    plain, stage = trained_as("protonets", "lite", 0.0)
    assert task_cost.graphs_of(plain, stage.model) == (0, 0)
    network = sum(p.numel() for p in stage.model.network.parameters())
    maml = replace(plain, learner="maml")
    more_bytes = task_cost.weight_bytes(maml, stage.model) - task_cost.weight_bytes(
        plain, stage.model
    )
    assert more_bytes == 8 * network
    assert task_cost.graphs_of(maml, stage.model).network > 0


@pytest.mark.parametrize("learner", LEARNERS)
def test_the_plan_is_of_the_learner(learner: str) -> None:
    # Layer norm: a plan refuses, as training does, what does not learn from random weights.
    config = replace(CONFIG, learner=learner, head=head_of_learner(learner, "cosine"))
    config = replace(config, backbone="test_convnext")
    plan = planning.plan(config)
    assert (plan.support, plan.query) == (40, 18)
    assert plan.backward == (40 if learner == "maml" else 4)
    assert 0 < plan.memory < plan.memory_full
    wide = planning.plan(replace(config, lite_h=20))
    assert (wide.macs == plan.macs) == (learner == "maml")


def test_a_full_gradient_has_all_graphs_at_once() -> None:
    size = task_size.TaskSize(6, 40, 18)
    graphs = task_cost.Graphs(1000, 1)
    full = replace(CONFIG, gradient="full")
    assert graphs.peak(full, size) == 58_040
    assert graphs.peak(replace(full, learner="maml"), size) == 7000
    assert graphs.peak(CONFIG, size) == 5000  # a query batch; four photos go back
    assert task_cost.Graphs(1, 1000).peak(CONFIG, size) == 4000
