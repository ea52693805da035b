"""What a run would cost, and the advice when it ran out of memory."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from litecli import memory
from litecli.config import EpisodeConfig, PretrainConfig, TrainConfig
from litecli.errors import ExitCode, LiteError
from litecli.networks import backbone, hub
from litecli.networks.model import FewShotModel
from litecli.training import planning, task_cost, training

SIDE = 64
TASK = EpisodeConfig(way_max=10, support_max=500, query=10)


@pytest.fixture
def model() -> FewShotModel:
    return FewShotModel(backbone.build("test_convnext", "none", SIDE), "cosine")


def advice(model: FewShotModel, stage: str = "episodes", **settings) -> LiteError:
    config = TrainConfig(image_size=SIDE, episodes=TASK, **settings)
    return planning.out_of_memory(config, model, [], False, stage)


def gigabytes(text: str | None) -> list[float]:
    """The sizes in a sentence, in its order."""
    words = str(text).replace("(", "").replace(")", "").replace(",", "").split()
    scale = {"MB": 1e-3, "GB": 1.0}
    pairs = [pair for pair in itertools.pairwise(words) if pair[1][:2] in scale]
    return [float(number) * scale[unit[:2]] for number, unit in pairs]


def test_the_plan_of_drawn_objects_has_sizes_and_no_peak_unasked() -> None:
    plan = planning.plan(
        TrainConfig(backbone="test_convnext", image_size=SIDE, episodes=TASK, lite_h=16)
    )
    assert (plan.support, plan.query, plan.backward) == (500, 100, 16)
    assert plan.memory < plan.memory_full / 5
    assert (plan.chunk, plan.query_batch, plan.peak) == (40, 40, 0)


def test_the_plan_tells_what_a_memory_allows() -> None:
    small = TrainConfig(
        backbone="test_convnext", image_size=32, memory="100GB", chunk=4, query_batch=8
    )
    plan = planning.plan(small)
    assert (plan.chunk, plan.query_batch) == (4, 8)
    assert memory.resident() * 0.5 < plan.peak < 100e9


@pytest.fixture
def folders(tmp_path: Path) -> Callable[..., str]:
    """`folders(name, classes)`: a folder with so many classes of two photos."""

    def write(name: str, classes: int, first: int = 0) -> str:
        for n in range(first, first + classes):
            (tmp_path / name / f"{n:02}").mkdir(parents=True)
            for photo in "ab":
                colour = (10 * n, 200 * (photo == "b"), 50)
                Image.new("RGB", (40, 40), colour).save(tmp_path / name / f"{n:02}/{photo}.png")
        return str(tmp_path / name)

    return write


PLANNED = TrainConfig(backbone="test_convnext", image_size=32)


def refusals(config: TrainConfig) -> list[LiteError]:
    """What the plan says, and what training says."""
    with pytest.raises(LiteError) as planned:
        planning.plan(config)
    with pytest.raises(LiteError) as trained:
        for _ in training.meta_train(config):
            pass
    return [planned.value, trained.value]


def test_a_plan_refuses_what_training_refuses(folders, tmp_path: Path) -> None:
    few, same = folders("few", 4), folders("same", 4)
    for number, settings in enumerate(
        (
            {"backbone": "test_byobnet", "weights": "none"},  # batch norm, nothing sets it
            {"data": (few,), "weights": "none"},  # none left to validate on
            {"data": (few,), "val": str(tmp_path / "nowhere"), "weights": "none"},
            {"val": few, "weights": "none"},
            {"data": (few,), "val": same, "strict_split": True, "weights": "none"},
        )
    ):
        config = replace(PLANNED, out=str(tmp_path / f"run {number}"), **settings)
        plan, trained = refusals(config)
        assert (plan.code, str(plan)) == (trained.code, str(trained))


def test_a_plan_counts_the_classes_that_are_trained_on(folders) -> None:
    settings = replace(
        PLANNED, lite_h=4, episodes=EpisodeConfig(way_max=16), data=(folders("many", 20),)
    )
    plan = planning.plan(settings)
    assert plan.warnings == ("tasks have at most 15 classes, not 16",)
    assert plan.support == 30
    plan = planning.plan(replace(settings, val=folders("val", 5, first=18)))
    assert plan.warnings == (
        "validation overlaps training in 2 classes (18): its accuracy will flatter",
        "validation overlaps training in 4 photos (18/a.png): its accuracy will flatter",
    )


def test_a_plan_downloads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked() -> bool:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(hub, "answers", asked)
    with pytest.raises(LiteError, match="downloads nothing") as caught:
        planning.plan(replace(PLANNED, backbone="hf-hub:someone/their_net"))
    assert caught.value.code == ExitCode.NETWORK and "--dry-run" in caught.value.fix
    assert planning.plan(replace(PLANNED, backbone="hf-hub:timm/test_vit.r160_in1k")).macs > 0


@pytest.mark.parametrize("stage", ["episodes", "supervised"])
def test_advice_needs_no_memory(model: FewShotModel, stage: str, monkeypatch) -> None:
    def fails(*arguments: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(task_cost, "graph_bytes", fails)
    error = advice(model, stage, chunk=64, query_batch=48)
    assert error.code == ExitCode.MACHINE and "the state is saved" in error.what
    assert gigabytes(error.why) == gigabytes(error.fix) == []
    fix = {"episodes": "--chunk 32 --query-batch 32 --resume", "supervised": "batch = 64"}
    assert error.fix.endswith(fix[stage])
    monkeypatch.setattr(task_cost, "graph_bytes", lambda *arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        advice(model)


def test_advice_halves_what_does_not_fit(model: FewShotModel, monkeypatch) -> None:
    error = advice(model, chunk=64, query_batch=48)
    assert error.code == ExitCode.MACHINE and "the state is saved" in str(error.what)
    assert "With 500 support photos of 64 px this needs about" in str(error.why)
    assert "--chunk 32 --query-batch 32 --resume" in str(error.fix)
    needed = gigabytes(error.why)[0]
    assert gigabytes(error.fix)[0] < needed
    # Less and less is there: less and less is advised, and it fits in what is there.
    monkeypatch.setattr(memory, "resident", lambda: 0)
    chunks = []
    for photos in (640, 64, 5):
        most = planning.PROCESS + photos * 1_000_000
        monkeypatch.setattr(memory, "available", lambda most=most: most)
        error = advice(model, chunk=4096, query_batch=4096)
        told = f"and {memory.written(most)} can be had" in str(error.why)
        assert told == (most / 1e9 < gigabytes(error.why)[0])
        chunks.append(int(str(error.fix).split()[1]))
        assert chunks[-1] == 1 or gigabytes(error.fix)[0] <= most / 1e9 * planning.SAFE + 0.001
    assert chunks[0] > chunks[1] >= chunks[2] == 1


def test_other_advice_where_a_smaller_chunk_is_none(model: FewShotModel) -> None:
    full = advice(model, gradient="full")
    assert "a new --out with --gradient exact --chunk 40" in str(full.fix)
    assert gigabytes(full.fix)[0] < gigabytes(full.why)[0]
    supervised = advice(model, "supervised", pretrain=PretrainConfig(images=9, batch=100))
    assert "[pretrain] batch = 50" in str(supervised.fix)
    assert "A batch of 100 photos of 96 px needs about" in supervised.why
    validation = advice(model, "validation", gradient="full")
    assert "--chunk 20 --query-batch 20 --resume" in validation.fix


def test_an_allocation_that_fails_is_known() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**46, dtype=torch.uint8)
    assert memory.is_out_of_memory(caught.value)
    assert memory.is_out_of_memory(MemoryError())
    assert memory.is_out_of_memory(torch.OutOfMemoryError())
    assert not memory.is_out_of_memory(RuntimeError("shapes do not fit"))
    assert not memory.is_out_of_memory(ValueError("out of memory"))
