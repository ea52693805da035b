"""What only a GPU can get wrong in a run: its losses, its bits, its processes, its memory."""

import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from litecli.config import TrainConfig
from litecli.errors import LiteError
from litecli.library.model_files import open_model
from litecli.memory import is_out_of_memory
from litecli.networks import backbone
from litecli.networks.model import FewShotModel
from litecli.tasks.episodes import Source
from litecli.training import ranks, torchrun
from litecli.training.episodic import EpisodicStage
from litecli.training.events import Finished, Stepped
from litecli.training.ranks import Ranks
from litecli.training.training import meta_train

from .small_runs import NETWORK, SIDE, SMALL_RUN, assert_same_outcome, outcome, stop_after
from .tested_device import DEVICE, device, needs_device, needs_memory_of_its_own

__all__ = ("device",)  # a fixture
pytestmark = needs_device

MakeConfig = Callable[..., TrainConfig]


@pytest.fixture
def config_of(tmp_path: Path, photos: tuple[str, str]) -> MakeConfig:
    """A few tasks with a network that is quick, into the folder of this name."""
    data, val = photos
    settings = replace(
        SMALL_RUN,
        data=(data,),
        val=val,
        backbone="test_convnext",
        lr=1e-4,
        backbone_lr=1.0,
        inner_steps=2,
        device=DEVICE,
    )

    def make(out: str, **changes: object) -> TrainConfig:
        return replace(settings, out=str(tmp_path / out), **changes)  # type: ignore[arg-type]

    return make


def losses_of(config: TrainConfig) -> list[float]:
    return [event.loss for event in meta_train(config) if isinstance(event, Stepped)]


LEARNERS = ["protonets", "ridge", "cnaps", "simple-cnaps", "maml"]


@pytest.mark.parametrize("learner", LEARNERS)
def test_the_losses_are_those_of_the_processor(
    learner: str, quick: None, config_of: MakeConfig
) -> None:
    there = config_of("there", learner=learner)
    here = config_of("here", learner=learner, device="cpu")
    assert losses_of(there) == pytest.approx(losses_of(here), rel=1e-3)


@pytest.mark.parametrize(
    ("learner", "precision"),
    [*((learner, "fp32") for learner in LEARNERS), ("protonets", "bf16"), ("cnaps", "bf16")],
)
def test_a_run_that_is_stopped_ends_with_the_same_bits(
    learner: str, precision: str, quick: None, config_of: MakeConfig
) -> None:
    config = config_of("run", learner=learner, precision=precision)
    whole = config_of("whole", learner=learner, precision=precision)
    list(meta_train(whole))
    stop_after(config, 4)
    list(meta_train(config, resume=True))
    assert_same_outcome(config, outcome(whole))


def test_every_gradient_and_memory_that_is_asked_for(quick: None, config_of: MakeConfig) -> None:
    for gradient in ("exact", "full", "none", "small-task"):
        assert len(losses_of(config_of(gradient, gradient=gradient))) == 3
    events = list(meta_train(config_of("fitted", memory="6GB")))
    finished = events[-1]
    assert isinstance(finished, Finished) and finished.peak_memory > 0


def test_the_best_model_of_a_run_can_be_used(tmp_path: Path, config_of: MakeConfig) -> None:
    list(meta_train(config_of("run")))
    assert open_model(tmp_path / "run" / "model").config.architecture == "test_convnext"


@pytest.fixture
def free_port(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MASTER_PORT", str(free.getsockname()[1]))
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")


def test_one_connected_process_takes_the_steps_of_one_alone(
    device: torch.device, free_port: None, config_of: MakeConfig
) -> None:
    """Through NCCL on a GPU, with nobody else there."""

    def run(place: Ranks) -> tuple[list[float], list[Tensor]]:
        torch.manual_seed(0)
        model = FewShotModel(backbone.build(NETWORK, "none", SIDE), "cosine").to(device)
        noise = np.random.default_rng(0).integers(0, 256, (40, SIDE, SIDE, 3), dtype=np.uint8)
        pools = tuple(tuple(range(c, c + 10)) for c in range(0, 40, 10))
        source = Source("made", ("a", "b", "c", "d"), pools)
        stage = EpisodicStage(model, config_of("x"), noise.__getitem__, [source], False, place)
        return list(stage.steps(0)), [p.detach().cpu() for p in model.parameters()]

    alone = run(ranks.ALONE)
    group = torchrun.connect(0, 1)
    try:
        place = Ranks(0, 1, 0, group)
        assert place.device(device) == device and place.exchange("word") == ["word"]
        together = run(place)
        if device.type == "cuda":
            used = torch.distributed.distributed_c10d._get_default_group()
            assert used._get_backend(device).name() == "nccl"
    finally:
        torch.distributed.destroy_process_group()
    assert together[0] == pytest.approx(alone[0], rel=1e-4)
    for found, expected in zip(together[1], alone[1], strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@needs_memory_of_its_own
def test_a_process_without_a_gpu_of_its_own_is_told(device: torch.device) -> None:
    count = torch.cuda.device_count()
    with pytest.raises(LiteError, match="has no GPU of its own"):
        Ranks(count, count + 1, count).device(device)


@needs_memory_of_its_own
def test_too_little_memory_is_told_as_such(device: torch.device) -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 50, device=device)
    assert is_out_of_memory(caught.value)
