"""Stages on photos of coarse noise that take steps within a blink, and what gradients they have."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from litecli.config import EpisodeConfig, PretrainConfig, TrainConfig, head_of_learner
from litecli.networks import backbone
from litecli.networks.model import FewShotModel
from litecli.tasks.episodes import Source
from litecli.training.episodic import EpisodicStage
from litecli.training.supervised import SupervisedStage

SIDE = 32
SOURCES = [Source("made", (*"abcd",), tuple(tuple(range(10 * c, 10 * c + 10)) for c in range(4)))]


def noise() -> np.ndarray:
    """Forty photos of coarse noise, uint8 [40, 36, 36, 3]."""
    coarse = np.random.default_rng(0).integers(0, 256, (40, 4, 4, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((1, 9, 9, 1), np.uint8))


def stage_of(learner: str, bf16: bool = False, **changes: Any) -> EpisodicStage:
    """A stage of two steps of two tasks on coarse noise, ten photos of each of four classes."""
    settings: dict[str, Any] = {
        "learner": learner,
        "head": head_of_learner(learner, "cosine"),
        "image_size": SIDE,
        "lite_h": 4,
        "chunk": 7,
        "query_batch": 7,
        "episodes": EpisodeConfig(way_min=3, way_max=4, support_max=20, query=4),
        "tasks": 4,
        "tasks_per_step": 2,
        "warmup": 0,
        "inner_steps": 3,
        "inner_lr": 0.1,
    }
    config = TrainConfig(**{**settings, **changes})
    with torch.random.fork_rng():
        torch.manual_seed(1)
        built = backbone.build("test_convnext", "none", SIDE)
        model = FewShotModel(built, config.head, config.uses_film)
        for part in (model.generator, model.head_generator):
            for parameter in part.parameters() if part is not None else ():
                nn.init.normal_(parameter, std=0.2)  # zeros at first would hide what learns
    return EpisodicStage(model, config, noise().__getitem__, SOURCES, bf16)


def supervised_stage(bf16: bool = False, **changes: Any) -> SupervisedStage:
    """A supervised stage on the same photos, without a teacher."""
    pretrain = PretrainConfig(**{"batch": 8, "image_size": SIDE, **changes})
    stage = stage_of("protonets", pretrain=pretrain, workers=1)
    squares = noise().__getitem__
    return SupervisedStage(stage.model, stage.config, squares, SOURCES, None, bf16)


def gradients(stage: EpisodicStage, scale: float = 1.0) -> dict[str, Tensor]:
    stage.model.zero_grad(set_to_none=True)
    stage.task_step(3, scale)
    return {n: p.grad.clone() for n, p in stage.model.named_parameters() if p.grad is not None}


def assert_same_gradients(
    found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float
) -> None:
    """Each within `tolerance` of its own length, or within rounding of the whole gradient's.

    A parameter that the loss does not depend on (the Mahalanobis head does not see a shift of all
    features) has a gradient of nothing but rounding, which differs between machines.
    """
    rounding = 1e-8 * math.hypot(*(float(value.norm()) for value in expected.values()))
    for name, value in expected.items():
        apart = float((found[name] - value).norm())
        assert apart <= tolerance * float(value.norm()) + rounding, name
