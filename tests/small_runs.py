"""A training run of seconds that many tests share, what it leaves, and ways to stop it."""

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from litecli import storage
from litecli.config import EpisodeConfig, PretrainConfig, TrainConfig
from litecli.library.model_files import Model
from litecli.networks.model import FewShotModel
from litecli.pictures.training_data import TrainingData, open_data
from litecli.training import best_model
from litecli.training.events import Event, Preparing
from litecli.training.run_folder import RunFolder
from litecli.training.training import meta_train

NETWORK, SIDE = "test_byobnet", 32
STEPS = 6  # of `config`: three supervised ones, three of episodes
SMALL_RUN = TrainConfig(
    backbone=NETWORK,
    weights="none",
    image_size=SIDE,
    lite_h=3,
    chunk=4,
    episodes=EpisodeConfig(way_min=2, way_max=3, support_max=8, query=2),
    query_batch=4,
    tasks=6,
    tasks_per_step=2,
    warmup=1,
    val_every=2,
    val_tasks=3,
    workers=2,
    precision="fp32",
    device="cpu",
)


@pytest.fixture
def photos(write_objects: Callable[..., Path]) -> tuple[str, str]:
    """A training folder and a validation folder, four classes each."""
    counts = dict.fromkeys(("keys", "mug", "bowl", "wallet"), 6)
    return str(write_objects(counts, "photos")), str(write_objects(counts, "checking"))


@pytest.fixture
def config(photos: tuple[str, str], tiny_model: Model, tmp_path: Path) -> TrainConfig:
    """A run of two stages, with a teacher, that takes a second."""
    teacher = (str(tiny_model.folder),)
    pretrain = PretrainConfig(images=24, batch=8, image_size=SIDE, teacher=teacher)
    data, val = photos
    out = str(tmp_path / "run")
    return replace(SMALL_RUN, data=(data,), val=val, out=out, pretrain=pretrain)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No curves, and the best model as plain tensors: exporting its graph takes seconds."""
    monkeypatch.setattr(best_model, "write_model", write_tensors)
    monkeypatch.setattr(RunFolder, "draw_curves", lambda self: None)


@pytest.fixture
def stopped(config: TrainConfig, quick: None) -> TrainConfig:
    """A run that was stopped after its fourth step, with the state before that in prev/."""
    stop_after(config, 4)
    stop_after(config, 3, resume=True)
    return config


def write_tensors(model: FewShotModel, config: object, folder: Path, texts: object) -> None:
    state = {name: value.numpy() for name, value in model.state_dict().items()}
    storage.write_tensors(folder / "best.safetensors", state, {})


def events_of(config: TrainConfig, resume: bool = False) -> list[Event]:
    return list(meta_train(config, resume))


def stop_after(config: TrainConfig, count: int, resume: bool = False) -> list[Event]:
    """The first `count` events that are no preparing; then the generator is closed."""
    run = meta_train(config, resume)
    seen: list[Event] = []
    for event in run:
        if not isinstance(event, Preparing):
            seen.append(event)
        if len(seen) == count:
            run.close()
    return seen


def state_of(config: TrainConfig, name: str = "last") -> dict[str, np.ndarray]:
    return storage.read_tensors(Path(config.out) / name / "state.safetensors")[0]


def outcome(config: TrainConfig) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], list]:
    """All that must not depend on interruptions: last weights, best weights, metrics but time."""
    with (Path(config.out) / "metrics.csv").open(newline="") as file:
        rows = [{**row, "seconds": ""} for row in csv.DictReader(file)]
    best = storage.read_tensors(Path(config.out) / "model" / "best.safetensors")[0]
    return state_of(config), best, rows


def assert_same_outcome(config: TrainConfig, expected: tuple) -> None:
    for found, wanted in zip(outcome(config)[:2], expected[:2], strict=True):
        assert set(found) == set(wanted)
        different = [n for n in found if found[n].tobytes() != wanted[n].tobytes()]
        assert not different
    assert outcome(config)[2] == expected[2]


def opened(config: TrainConfig) -> TrainingData:
    *_, data = open_data(config, Path(config.out) / "cache")
    assert isinstance(data, TrainingData)
    return data
