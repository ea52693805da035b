"""One of many processes: its tasks, its share of the gradients, its place and its GPU."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from litecli.config import EpisodeConfig, TrainConfig
from litecli.errors import ExitCode, LiteError
from litecli.networks import backbone
from litecli.networks.model import FewShotModel
from litecli.tasks.episodes import Source
from litecli.training import ranks, torchrun
from litecli.training.episodic import EpisodicStage
from litecli.training.ranks import Ranks, _Failure

from .small_runs import NETWORK, SIDE


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_the_ranks_together_take_every_task_of_a_step_once(count: int) -> None:
    for numbers in (range(0, 4), range(4, 8), range(8, 9)):
        shares = [Ranks(rank, count).share_of(numbers) for rank in range(count)]
        assert sorted(k for share in shares for k in share) == list(numbers)
        assert all(k % count == rank for rank, share in enumerate(shares) for k in share)


@dataclass(frozen=True)
class Recorded(Ranks):
    """A rank that keeps its own sums instead of adding them to those of others."""

    def from_first(self, value: Any, tensors: Mapping[str, Tensor]) -> tuple[Any, dict]:
        return value, dict(tensors)

    def sum_gradients(self, parameters: Sequence[Tensor], losses: Sequence[float]) -> list[float]:
        sums = [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in parameters]
        RECORD.append(sums)
        for parameter in parameters:  # the weights stay as they are: every step can be compared
            parameter.grad = torch.zeros_like(parameter)
        return [0.0, *losses]


RECORD: list[list[Tensor]] = []


def step_sums(place: Ranks) -> list[list[Tensor]]:
    """The gradient sums of one rank for three steps of two, two and one tasks."""
    squares = np.random.default_rng(0).integers(0, 256, (40, SIDE, SIDE, 3), dtype=np.uint8)
    source = Source("made", (*"abcd",), tuple(tuple(range(c, c + 10)) for c in range(0, 40, 10)))
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = FewShotModel(backbone.build(NETWORK, "none", SIDE), "cosine")
    config = TrainConfig(
        image_size=SIDE,
        lite_h=3,
        episodes=EpisodeConfig(way_min=2, way_max=3, support_max=8, query=2),
        tasks=5,
        tasks_per_step=2,
    )
    stage = EpisodicStage(model, config, squares.__getitem__, [source], False, place)
    RECORD.clear()
    assert len(list(stage.steps(0))) == 3
    return list(RECORD)


@pytest.mark.parametrize("count", [2, 3])
def test_the_shares_of_all_ranks_add_up_to_the_steps_of_one(count: int) -> None:
    whole = step_sums(Recorded())
    shares = [step_sums(Recorded(rank, count)) for rank in range(count)]
    for step, sums in enumerate(whole):
        for place, total in enumerate(sums):
            added = torch.stack([share[step][place] for share in shares]).sum(0)
            torch.testing.assert_close(added, total, rtol=1e-4, atol=1e-6)
    assert any(not any(p.any() for p in share[-1]) for share in shares)  # a rank without a task


def test_one_process_sums_nothing() -> None:
    parameter, unused = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    parameter.grad = torch.tensor([1.0, 2.0])
    assert ranks.ALONE.sum_gradients([parameter, unused], [0.5]) == [0.5]
    assert parameter.grad.tolist() == [1.0, 2.0] and unused.grad is None
    assert ranks.ALONE.exchange("word") == ["word"]
    with pytest.raises(KeyError), ranks.ALONE.telling():
        raise KeyError


def test_gradients_are_added_where_any_rank_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    here = torch.zeros(2, 3, 2, 2).contiguous(memory_format=torch.channels_last).requires_grad_()
    there, nowhere = (torch.zeros(3, requires_grad=True) for _ in range(2))
    own = torch.arange(24.0).view(2, 3, 2, 2)
    here.grad = own.contiguous(memory_format=torch.channels_last)

    def add_others(flat: Tensor, group: object) -> None:
        flat += torch.cat([torch.full((24,), 0.5), torch.tensor([7.0, 8.0, 9.0])])

    monkeypatch.setattr(ranks.dist, "all_reduce", add_others)
    monkeypatch.setattr(Ranks, "exchange", lambda self, mine: [mine, ([4.0], [True, True, False])])
    losses = Ranks(0, 2).sum_gradients([here, there, nowhere], [1.0, 2.0])
    assert losses == [1.0, 2.0, 4.0] and nowhere.grad is None
    assert here.grad is not None and torch.equal(here.grad, own + 0.5)
    assert here.grad.stride() == here.stride()
    assert there.grad is not None and there.grad.tolist() == [7.0, 8.0, 9.0]


@pytest.mark.parametrize(
    "environ",
    [
        {"RANK": "2", "WORLD_SIZE": "2"},
        {"RANK": "1"},
        {"RANK": "-1", "WORLD_SIZE": "2"},
        {"RANK": "0", "WORLD_SIZE": "many"},
        {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "1"},
        {"RANK": "0", "WORLD_SIZE": "0"},
    ],
)
def test_variables_that_make_no_sense_are_refused(environ: dict[str, str]) -> None:
    with pytest.raises(LiteError, match="describe no place") as caught, torchrun.joined(environ):
        pass
    assert caught.value.code == ExitCode.USAGE


def test_one_process_joins_nobody() -> None:
    for environ in ({}, {"RANK": "0", "WORLD_SIZE": "1"}):
        with torchrun.joined(environ) as found:
            assert found is ranks.ALONE


def test_a_gpu_for_each_process_of_a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[int] = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    cuda = torch.device("cuda")
    assert Ranks(3, 4, local_rank=1).device(cuda) == torch.device("cuda", 1) and chosen == [1]
    assert Ranks(3, 4, 1).device(torch.device("cpu")).type == "cpu"
    assert Ranks().device(cuda) == cuda
    with pytest.raises(LiteError, match="no GPU of its own") as caught:
        Ranks(2, 4, 2).device(cuda)
    assert caught.value.code == ExitCode.MACHINE and "--nproc-per-node 2" in caught.value.fix


def test_memory_that_is_lacking_in_any_process_is_no_bug() -> None:
    """On a processor torch says so with a RuntimeError."""
    lacking = RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 8 bytes")
    assert isinstance(_Failure.of(lacking, 2).error(), MemoryError)
    assert isinstance(_Failure.of(RuntimeError("shapes differ"), 2).error(), LiteError)
