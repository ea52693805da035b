"""Tasks without labels: what they ask, that LITE estimates their gradient, that they teach."""

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch.nn import functional

from litecli import lite, storage
from litecli.cli.train_ranges import check
from litecli.config import ImitationConfig, TrainConfig
from litecli.errors import ExitCode, LiteError
from litecli.lite import Subset, Task
from litecli.networks import backbone
from litecli.networks.model import FewShotModel
from litecli.pictures.atlas import Atlas
from litecli.training import planning
from litecli.training.episodic import EpisodicStage
from litecli.training.events import Stepped
from litecli.training.imitation import ImitationTasks
from litecli.training.run_folder import STATE_FILE
from litecli.training.teacher import LiveTeacher
from litecli.training.unlabelled import LitPictures

from .small_models import write_network
from .small_runs import NETWORK, SIDE, SMALL_RUN, events_of, opened, stop_after
from .small_stages import SOURCES, assert_same_gradients, gradients, noise, stage_of

CPU = torch.device("cpu")


def taught(folder: Path, learner: str = "protonets", **changes: Any) -> EpisodicStage:
    """A stage of tasks without labels on coarse noise, with a teacher of random weights."""
    shape = ImitationConfig(("t",), support=6, query=5, mix=0.5)
    stage = stage_of(learner, **{"imitation": shape, "workers": 1, **changes})
    teacher = LiveTeacher([write_network(folder)], CPU, False, with_maps=False)
    squares = noise().__getitem__
    stage.imitation = ImitationTasks(stage.model, stage.config, squares, SOURCES, teacher)
    return stage


def in_double(stage: EpisodicStage) -> EpisodicStage:
    """The same stage, model and pictures in float64."""
    stage.model.double()
    tasks = stage.imitation
    assert tasks is not None
    single = tasks.task

    def task(k: int) -> Task:
        made = single(k)
        images = [made.support_images, made.query_images]
        support, query = (one[torch.arange(len(one))].double() for one in images)
        return replace(made, support_images=support, query_images=query)

    tasks.task = task
    return stage


def test_wanted_are_the_teachers_mean_cosines_to_a_power(tmp_path: Path) -> None:
    networks = [write_network(tmp_path / name, seed) for seed, name in enumerate("ab")]
    stage = taught(tmp_path / "own")
    wanted = {}
    for power in (1.0, 2.0):
        shape = replace(stage.config.imitation, power=power)
        config = replace(stage.config, imitation=shape)
        teacher = LiveTeacher(networks, CPU, False, with_maps=False)
        squares = noise().__getitem__
        tasks = ImitationTasks(stage.model, config, squares, SOURCES, teacher)
        task = tasks.task(0)
        wanted[power] = task.query_labels
    shown = [
        replace(cast(LitPictures, images), preprocess=None)[torch.arange(len(images))]
        for images in (task.query_images, task.support_images)
    ]
    cosines = [
        functional.cosine_similarity(asked[:, None], known[None], dim=2)
        for asked, known in (
            [LiveTeacher([one], CPU, False, with_maps=False).directions(x) for x in shown]
            for one in networks
        )
    ]
    expected = (cosines[0] + cosines[1]) / 2
    torch.testing.assert_close(wanted[1.0], expected.clamp(min=0))
    torch.testing.assert_close(wanted[2.0], expected.clamp(min=0) ** 2)


def test_what_a_teacher_finds_opposite_is_wanted_no_less_alike_than_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = taught(tmp_path).imitation
    assert tasks is not None
    half = SIDE // 2
    lit_from = lambda x: (x[..., :half] - x[..., half:]).mean((1, 2, 3)).sign()[:, None]  # noqa: E731
    monkeypatch.setattr(tasks.teacher, "directions", lit_from)
    assert tasks.task(0).query_labels.unique().tolist() == [0, 1]


def test_a_task_is_a_function_of_its_number(tmp_path: Path) -> None:
    """And of the seed, and of the share of pictures that are composed."""
    tasks = taught(tmp_path).imitation
    assert tasks is not None
    everything = torch.arange(5)

    def seen(k: int) -> list[torch.Tensor]:
        task = tasks.task(k)
        assert (len(task.support_images), len(task.query_images)) == (6, 5)
        images = [task.support_images[everything], task.query_images[everything]]
        return [*images, task.query_labels]

    first = seen(4)
    other = seen(3)
    again, usual = seen(4), tasks.config
    tasks.config = replace(usual, seed=1)
    reseeded = seen(4)
    tasks.config = replace(usual, imitation=replace(usual.imitation, mix=0.0))
    for a, b, *others in zip(first, again, other, reseeded, seen(4), strict=True):
        assert torch.equal(a, b) and not any(torch.equal(a, c) for c in others)


def test_the_teacher_sees_what_the_network_sees(tmp_path: Path) -> None:
    """A network that is its own teacher has nothing to learn, another one has."""
    network = write_network(tmp_path / "same")
    model = FewShotModel(backbone.from_model(network.folder, network.config), "cosine")
    config = replace(SMALL_RUN, imitation=ImitationConfig(("t",), 12, 7, power=1.0, mix=0.5))
    teacher = LiveTeacher([network], CPU, False, with_maps=False)
    tasks = ImitationTasks(model, config, noise().__getitem__, SOURCES, teacher)
    task, learner = tasks.task(2), tasks.learner(False)
    assert lite.task_backward_full(task, learner) == pytest.approx(0, abs=1e-5)
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    assert lite.task_backward_full(task, learner) > 0.01


def test_teachers_count_alike_however_long_their_features_are(tmp_path: Path) -> None:
    networks = [write_network(tmp_path / name, seed) for seed, name in enumerate("ab")]
    teacher = LiveTeacher(networks, CPU, False, with_maps=False)
    pixels = 255 * torch.rand(3, 3, SIDE, SIDE)
    own = [LiveTeacher([one], CPU, False, with_maps=False).directions(pixels) for one in networks]
    assert all(torch.allclose(one.norm(dim=1), torch.ones(3)) for one in own)
    expected = sum(one @ one.T for one in own)
    found = teacher.directions(pixels)
    torch.testing.assert_close(found @ found.T, expected)


def test_lite_is_unbiased_over_all_subsets(tmp_path: Path) -> None:
    """The mean over all subsets of three of six pictures is the full gradient, to 1e-10."""
    stage = in_double(taught(tmp_path))
    assert stage.imitation is not None
    task, learner = stage.imitation.task(1), stage.imitation.learner(False)

    def gradient_of(run: Any) -> dict[str, torch.Tensor]:
        stage.model.zero_grad(set_to_none=True)
        run()
        named = stage.model.named_parameters()
        return {name: p.grad.clone() for name, p in named if p.grad is not None}

    full = gradient_of(lambda: lite.task_backward_full(task, learner))
    subsets = list(itertools.combinations(range(6), 3))
    mean = {name: torch.zeros_like(value) for name, value in full.items()}
    for chosen in subsets:
        subset = Subset(torch.tensor(chosen), torch.full((3,), 2.0, dtype=torch.float64))
        found = gradient_of(
            lambda s=subset: lite.task_backward(task, learner, subset=s, chunk=2, query_batch=2)
        )
        for name, value in found.items():
            mean[name] += value / len(subsets)
    assert full and "log_scale" not in full
    assert_same_gradients(mean, full, 1e-10)


@pytest.mark.parametrize("learner", ["protonets", "ridge", "simple-cnaps", "cnaps"])
def test_exact_is_full_for_every_learner(learner: str, tmp_path: Path) -> None:
    found = {}
    for gradient in ("exact", "full"):
        stage = taught(tmp_path / gradient, learner, gradient=gradient)
        stage.model.network.requires_grad_(True)
        found[gradient] = gradients(in_double(stage))
    assert found["full"]
    assert_same_gradients(found["exact"], found["full"], 1e-10)


def test_an_atlas_makes_the_pictures_that_threads_would(config: TrainConfig, tmp_path) -> None:
    data = opened(config)
    model = FewShotModel(backbone.build(NETWORK, "none", SIDE), "cosine")
    config = replace(config, imitation=ImitationConfig(("t",), 8, 4, mix=0.5), smallest_crop=1.0)
    teacher = LiveTeacher([write_network(tmp_path / "t")], CPU, False, with_maps=False)
    shown = [
        ImitationTasks(model, config, data.squares, data.training, teacher, atlas).task(0)
        for atlas in (None, Atlas(data.store, CPU))
    ]
    apart = shown[0].support_images[torch.arange(8)] - shown[1].support_images[torch.arange(8)]
    assert float(apart.abs().mean()) < 0.1  # antialiased bicubic, and bilinear from mipmaps


def run_of(config: TrainConfig, folder: Path, out: str, **changes: Any) -> TrainConfig:
    """A run of tasks without labels alone, from random weights that need no supervised stage."""
    teacher = write_network(folder / "teacher").folder
    shape = ImitationConfig((str(teacher),), support=12, query=6, mix=0.3, balance=0.5)
    return replace(
        config,
        backbone="test_convnext",
        pretrain=replace(config.pretrain, images=0, teacher=()),
        imitation=shape,
        out=str(folder / out),
        **changes,
    )


def test_a_network_learns_what_its_teacher_finds_alike(
    config: TrainConfig, tmp_path: Path, quick: None
) -> None:
    settings = {"tasks": 120, "tasks_per_step": 2, "lr": 1e-3, "backbone_lr": 1.0, "val_every": 60}
    config = run_of(config, tmp_path, "run", **settings)
    losses = [event.loss for event in events_of(config) if isinstance(event, Stepped)]
    assert len(losses) == 60
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:10])


def test_a_resumed_run_ends_with_the_same_bits(
    config: TrainConfig, tmp_path: Path, quick: None
) -> None:
    whole = run_of(config, tmp_path, "whole")
    events_of(whole)
    stopped = replace(whole, out=str(tmp_path / "stopped"))
    stop_after(stopped, 3)
    events_of(stopped, resume=True)
    states = [Path(run.out) / "last" / STATE_FILE for run in (whole, stopped)]
    tensors = [storage.read_tensors(path)[0] for path in states]
    assert tensors[0].keys() == tensors[1].keys()
    assert all(np.array_equal(value, tensors[1][name]) for name, value in tensors[0].items())


def test_a_plan_tells_of_tasks_without_labels(config: TrainConfig, tmp_path: Path) -> None:
    plan = planning.plan(run_of(config, tmp_path, "run"))
    assert (plan.support, plan.query, plan.backward) == (12, 6, 3)


@pytest.mark.parametrize("changes", [{"learner": "maml"}, {"gradient": "small-task"}])
def test_what_needs_labels_is_refused(changes: dict[str, Any]) -> None:
    config = TrainConfig(imitation=ImitationConfig(("t",)), **changes)
    with pytest.raises(LiteError, match=r"The tasks of \[imitation\] have no labels") as caught:
        check(config)
    assert caught.value.code == ExitCode.USAGE
    check(replace(config, imitation=ImitationConfig()))
