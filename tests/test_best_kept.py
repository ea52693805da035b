"""Which of a run's models is kept: the one that did best on the validation tasks."""

from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from litecli import storage
from litecli.config import PretrainConfig, TrainConfig
from litecli.networks.model import FewShotModel
from litecli.training import loop
from litecli.training.events import Event, Finished, Stepped, Validated, Validating

from .small_runs import events_of, stop_after

Answer = Generator[Validating, None, tuple[int, list[float]]]


class Validations:
    """Gives these accuracies one after another, and remembers the weights of each time."""

    def __init__(self, *accuracies: float) -> None:
        self.accuracies, self.weights = accuracies, list[dict[str, Tensor]]()

    def __call__(self, model: FewShotModel, *_: object) -> Answer:
        state = model.state_dict()
        self.weights.append({name: value.detach().clone() for name, value in state.items()})
        yield from ()
        return 2, [self.accuracies[len(self.weights) - 1]]


def checks_of(events: list[Event]) -> list[tuple[float, bool]]:
    return [(e.accuracy, e.best) for e in events if isinstance(e, Validated)]


def kept_weights(config: TrainConfig) -> dict[str, np.ndarray]:
    return storage.read_tensors(Path(config.out) / "model" / "best.safetensors")[0]


@pytest.fixture
def episodes(config: TrainConfig, quick: None) -> TrainConfig:
    """Three steps of episodes, validated before the first and after the second and third."""
    return replace(config, backbone="test_convnext", pretrain=PretrainConfig())


@pytest.mark.parametrize(
    ("accuracies", "told", "best"),
    [
        ((0.5, 0.9, 0.7), [True, True, False], 1),
        ((0.9, 0.5, 0.7), [True, False, False], 0),
        ((0.5, 0.7, 0.9), [True, True, True], 2),
        ((0.5, 0.9, 0.9), [True, True, True], 2),  # of two alike, the one that learned for longer
    ],
)
def test_the_best_weights_are_kept_and_told(
    accuracies: tuple[float, ...],
    told: list[bool],
    best: int,
    episodes: TrainConfig,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = Validations(*accuracies)
    monkeypatch.setattr(loop, "validate", made)
    events = events_of(episodes)
    assert checks_of(events) == list(zip(accuracies, told, strict=True))
    finished = events[-1]
    assert isinstance(finished, Finished) and finished.accuracy == accuracies[best]
    assert Path(finished.model) == Path(episodes.out) / "model"
    assert_only(kept_weights(episodes), made, best)


def assert_only(kept: dict[str, np.ndarray], made: Validations, best: int) -> None:
    """The weights are those of validation `best`, and of no other."""
    for number, weights in enumerate(made.weights):
        assert set(kept) == set(weights)
        same = [torch.equal(torch.from_numpy(kept[name]), weights[name]) for name in weights]
        assert all(same) if number == best else not all(same)


def test_a_resumed_run_knows_its_best(
    episodes: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Validations(0.5, 0.9, 0.7)
    monkeypatch.setattr(loop, "validate", made)
    before = stop_after(episodes, 5)  # started, validated, stepped, stepped, validated
    assert checks_of(before) == [(0.5, True), (0.9, True)]
    events = events_of(episodes, resume=True)
    assert checks_of(events) == [(0.7, False)]
    assert sum(isinstance(event, Stepped) for event in events) == 1
    finished = events[-1]
    assert isinstance(finished, Finished) and finished.accuracy == 0.9
    assert_only(kept_weights(episodes), made, 1)
