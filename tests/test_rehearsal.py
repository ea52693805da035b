"""A run made to fit a memory: the search, what a rehearsal leaves behind, what it foresees."""

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from litecli import memory
from litecli.config import EpisodeConfig, PretrainConfig, TrainConfig, head_of_learner
from litecli.errors import ExitCode, LiteError
from litecli.image_stream import parts
from litecli.networks import backbone
from litecli.networks.model import FewShotModel
from litecli.tasks.episodes import Source
from litecli.training import memory_fit, rehearsal, task_size
from litecli.training.memory_fit import fit
from litecli.training.rehearsal import Rehearsal

SIDE = 32
BASE, PHOTO = 800_000_000, 20_000_000  # bytes of a made-up process, and of a photo's graph
TASK = EpisodeConfig(way_min=5, way_max=10, support_min=60, support_max=100, query=5)


def config_of(**changes: Any) -> TrainConfig:
    settings = {"image_size": SIDE, "episodes": TASK, "memory": "2GB", "inner_steps": 1}
    return TrainConfig(**{**settings, **changes})


def model_of(learner: str = "protonets", film: bool = False) -> FewShotModel:
    built = backbone.build("test_convnext", "none", SIDE)
    return FewShotModel(built, head_of_learner(learner, "cosine"), film)


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Peaks of BASE + PHOTO bytes a photo instead of real ones; the list is what was tried."""
    tried: list[int] = []

    def peak(self: Rehearsal, photos: int) -> int:
        tried.append(photos)
        self.peaks[photos] = BASE + PHOTO * photos
        return self.peaks[photos]

    monkeypatch.setattr(Rehearsal, "peak", peak)
    monkeypatch.setattr(Rehearsal, "so_far", lambda self: 0)
    monkeypatch.setattr(Rehearsal, "writing", lambda self, limit: 0)
    monkeypatch.setattr(Rehearsal, "head_bytes", lambda self, support: 0)
    return tried


def test_nothing_is_lowered_when_everything_fits(made_up: list[int]) -> None:
    config = config_of()
    assert fit(config, model_of(), [], False) == (config, BASE + 40 * PHOTO)
    assert made_up == [1, 2, 4, 8, 16, 32, 40]


@pytest.mark.parametrize("limit", ["850MB", "1GB", "1.23GB", "1500MB"])
def test_as_many_photos_as_fit(made_up: list[int], limit: str) -> None:
    config = config_of(memory=limit, chunk=64, query_batch=48, lite_h=80)
    fitted, expected = fit(config, model_of(), [], False)
    size = memory.read_size(limit)
    photos = fitted.chunk
    assert replace(fitted, chunk=64, query_batch=48) == config  # all that is ever changed
    assert fitted.query_batch == min(48, photos)
    assert expected == BASE + PHOTO * photos <= size
    assert expected + 2 * PHOTO > rehearsal.ROOM * size or photos == 1  # and not far below
    assert expected < 0.9 * size or photos in (1, 40)  # runs take a little more than rehearsals
    assert BASE + PHOTO * max(made_up) <= size  # nothing was tried that does not fit


def test_what_was_fitted_stays_when_the_run_is_resumed(made_up: list[int], monkeypatch) -> None:
    fitted, _ = fit(config_of(memory="1.23GB"), model_of(), [], False)
    steady = Rehearsal.peak

    def a_little_more(self: Rehearsal, photos: int) -> int:
        self.peaks[photos] = round(steady(self, photos) + 0.05 * photos * PHOTO)
        return self.peaks[photos]

    assert fitted.chunk < 40
    monkeypatch.setattr(Rehearsal, "peak", a_little_more)
    assert fit(fitted, model_of(), [], False)[0] == fitted


def test_small_tasks_are_not_rehearsed_as_large_ones(made_up: list[int]) -> None:
    sources = [Source("small", ("a", "b"), (tuple(range(6)), tuple(range(6, 10))))]
    assert task_size.largest_task(config_of(), sources) == (2, 10, 8)
    fit(config_of(), model_of(), sources, False)
    assert max(made_up) == max(len(part) for part in parts(10, 40))


def test_queries_of_a_pool_of_their_own_are_not_limited_by_the_support_pools() -> None:
    clean, clutter = ((0, 1, 2),) * 5, (tuple(range(100)), *((3, 4),) * 4)
    orbit = [Source("user", (*"abcde",), clean, clutter)]
    config = config_of(episodes=EpisodeConfig(way_max=5, support_max=60, query=5))
    assert task_size.largest_task(config, orbit) == (5, 15, 5 + 4 * 2)


def test_what_cannot_fit_is_refused_with_what_it_needs(made_up: list[int]) -> None:
    with pytest.raises(LiteError, match="800MB") as caught:
        fit(config_of(memory="800MB"), model_of(), [], False)
    assert caught.value.code == ExitCode.MACHINE
    assert "one photo at a time needs about 820 MB" in str(caught.value.why)
    assert "--memory 902MB" in str(caught.value.fix)


def test_what_is_asked_for_instead_fits(made_up: list[int], monkeypatch) -> None:
    """The error names the largest of all that the run needs."""
    monkeypatch.setattr(Rehearsal, "writing", lambda self, limit: 830_000_000)
    monkeypatch.setattr(Rehearsal, "supervised", lambda self, limit: 850_000_000)
    with pytest.raises(LiteError) as caught:
        fit(config_of(memory="800MB"), model_of(), [], False)
    assert "The supervised stage" in str(caught.value.why)
    assert "--memory 935MB" in str(caught.value.fix)
    assert fit(config_of(memory="935MB"), model_of(), [], False)[0].chunk == 1


def test_teachers_are_not_foreseen(made_up: list[int]) -> None:
    config = config_of(pretrain=PretrainConfig(images=100, teacher=("t",)))
    with pytest.raises(LiteError, match="cannot foresee what teachers take") as caught:
        fit(config, model_of(), [], False)
    assert caught.value.code == ExitCode.USAGE and not made_up


def test_what_the_head_takes_is_beside_the_graphs(
    made_up: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, head = config_of(memory="1.2GB"), 100_000_000
    alone, _ = fit(config, model_of(), [], False)
    monkeypatch.setattr(Rehearsal, "head_bytes", lambda self, support: head)
    beside, expected = fit(config, model_of(), [], False)
    assert 1 < beside.chunk < alone.chunk
    assert expected == BASE + PHOTO * beside.chunk + head


def test_many_tasks_take_more_than_the_rehearsed_one() -> None:
    trial = Rehearsal(config_of(), model_of(), False)
    trial.before = 500_000_000
    assert trial._in_pieces(600_000_000) == 620_000_000


HEAVY = 300_000_000  # bytes; a validation and the writing of these networks take less than a third


def takes_much(*_: object, **__: object) -> list[int]:
    np.ones(HEAVY, np.uint8)
    return []


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's /proc")
@pytest.mark.parametrize(
    "part",
    ["validate", "write_best", "storage.write_tensors"],
    ids=["validation", "model", "state"],
)
def test_all_that_a_run_does_beside_its_steps_is_rehearsed(
    part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("validate", "write_best", "storage.write_tensors"):
        monkeypatch.setattr(f"litecli.training.rehearsal.{name}", lambda *_: ())
    trial = Rehearsal(config_of(), model_of(), False)
    trial.writing(10**12)  # loads libraries
    small = trial.writing(10**12) - trial.before
    monkeypatch.setattr(f"litecli.training.rehearsal.{part}", takes_much)
    heavy = trial.writing(10**12) - trial.before
    assert heavy > 0.9 * HEAVY > 3 * small


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's /proc")
def test_what_adam_remembers_is_there_when_a_model_is_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = model_of()
    model.extra = nn.Linear(2500, 4000, bias=False)  # 40 MB
    monkeypatch.setattr(rehearsal, "validate", lambda *_: ())
    monkeypatch.setattr(rehearsal, "write_best", lambda *_: None)
    size = model.extra.weight.nbytes
    trial = Rehearsal(config_of(), model, False)
    assert trial.writing(10**12) - trial.before > 6 * size  # gradient, moments, the state twice
    assert trial.writing(trial.before + 3 * size) > trial.before + 3 * size  # and is not tried


def test_ordinary_back_propagation_is_foreseen_and_not_lowered(made_up: list[int]) -> None:
    config = config_of(gradient="full", memory="4GB")
    assert fit(config, model_of(), [], False) == (config, BASE + 150 * PHOTO)
    assert max(made_up) == memory_fit.STRAIGHT
    with pytest.raises(LiteError, match="2GB") as caught:
        fit(config_of(gradient="full"), model_of(), [], False)
    assert "100 support and 50 query photos at once need about 3.8 GB" in str(caught.value.why)
    assert "--gradient exact" in str(caught.value.fix)


def test_a_supervised_stage_that_does_not_fit_is_not_tried(made_up: list[int]) -> None:
    huge = PretrainConfig(images=10, batch=1_000_000, image_size=SIDE)
    with pytest.raises(LiteError) as caught:
        fit(config_of(pretrain=huge), model_of(), [], False)
    assert "The supervised stage, with batches of 1000000, needs" in str(caught.value.why)


def test_graphs_are_counted_without_the_weights() -> None:
    # The second layer's weights are kept for the gradient of its inputs: they are not counted.
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 5), nn.ReLU(), nn.Linear(5, 7))
    assert task_size.graph_bytes(network, 8) == 4 * (3 * 8 * 8 + 5)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"gradient": "exact", "learner": "ridge"},
        {"gradient": "none"},
        {"gradient": "small-task"},
        {"gradient": "full"},
        {"learner": "simple-cnaps", "backbone_lr": 0.0},
        {"learner": "maml"},
        {"pretrain": PretrainConfig(images=10, batch=4, image_size=SIDE)},
    ],
    ids=lambda changes: "-".join(map(str, changes.values()))[:20] or "lite",
)
def test_a_rehearsal_has_that_many_photos_at_once_and_leaves_no_trace(
    changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(**changes)
    model = model_of(config.learner, config.uses_film)
    graphs: list[int] = []
    features: Callable[..., torch.Tensor] = FewShotModel.features

    def counted(self: FewShotModel, images: torch.Tensor, *args: Any) -> torch.Tensor:
        graphs.append(len(images) * torch.is_grad_enabled())
        return features(self, images, *args)

    monkeypatch.setattr(FewShotModel, "features", counted)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    chance = torch.random.get_rng_state()
    trial = Rehearsal(config, model, False)
    for photos in (1, 5, 8):
        graphs.clear()
        trial.peak(photos)
        if config.gradient == "full":
            assert sum(graphs) == max(photos, 2)
        else:
            assert max(graphs) == photos
    trial.supervised(10**12)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert torch.equal(chance, torch.random.get_rng_state())
