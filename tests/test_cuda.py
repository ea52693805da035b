"""What only a GPU can get wrong. `LITECLI_TEST_DEVICE=cpu` runs the same lines without one."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor

from litecli import lite
from litecli.audit import audit
from litecli.audit.data import drawn_tasks
from litecli.audit.settings import AuditSettings
from litecli.config import Preprocess
from litecli.evaluation import baselines, solvers
from litecli.evaluation.defaults import BASELINES
from litecli.heads.heads import HEADS
from litecli.image_stream import parts, read_ahead
from litecli.library.model_files import open_model
from litecli.networks import backbone, model_folder
from litecli.networks.model import FewShotModel
from litecli.networks.passes import Engine
from litecli.networks.torch_encoder import TorchEncoder
from litecli.personal import personalize
from litecli.pictures.augment import View

from . import small_learners, small_stages, test_lite_film
from .small_runs import SIDE
from .tested_device import DEVICE, device, needs_device, needs_memory_of_its_own

__all__ = ("device",)  # a fixture
pytestmark = needs_device


# Images on their way


class Numbered:
    """Images that say who they are, read slower or faster than they are used."""

    def __len__(self) -> int:
        return 40

    def __getitem__(self, indices: Tensor) -> Tensor:
        return indices.float()[:, None, None, None].expand(-1, 3, 512, 512).contiguous()


def test_images_arrive_whole_however_late_the_device_is(device: torch.device) -> None:
    sums = []
    for chunk in read_ahead(Numbered(), parts(40, 3), device):
        assert chunk.device.type == device.type
        if device.type == "cuda":
            torch.cuda._sleep(20_000_000)  # the device is busy: the next copies overtake it
        sums.append(chunk.mean((1, 2, 3)))
        del chunk
    assert torch.cat(sums).tolist() == list(range(40))


@needs_memory_of_its_own
def test_images_that_wait_do_not_pile_up(device: torch.device) -> None:
    one = 3 * 3 * 512 * 512 * 4
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    for chunk in read_ahead(Numbered(), parts(39, 3), device):
        torch.cuda._sleep(20_000_000)
        del chunk
    assert torch.cuda.max_memory_allocated() - before <= 4 * one


def test_images_on_the_device_stay_there(device: torch.device) -> None:
    images = torch.arange(7.0, device=device)[:, None]
    found = torch.cat(list(read_ahead(images, parts(7, 2), device)))
    assert torch.equal(found, images)


def test_a_gpu_gets_several_chunks_at_once_without_a_graph(device: torch.device) -> None:
    seen: list[int] = []

    def encode(images: Tensor) -> Tensor:
        seen.append(len(images))
        return images.mean((2, 3))

    outputs = lite.encode_all(encode, Numbered(), 5, device)
    most = 5 * lite.CHUNKS_WITHOUT_GRAPH if device.type == "cuda" else 5
    assert outputs[:, 0].tolist() == list(range(40))
    assert seen == [most] * (40 // most)


@pytest.mark.parametrize("augment", [None, (3, 8)])
def test_a_view_puts_light_and_scale_on_at_the_device(
    augment: tuple[int, ...] | None, device: torch.device
) -> None:
    def view(where: torch.device) -> Tensor:
        square = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        return View(lambda n: np.roll(square, n), Preprocess(56), augment, device=where)(range(5))

    found = view(device)
    assert found.device.type == device.type
    torch.testing.assert_close(found.cpu(), view(torch.device("cpu")), atol=1e-4, rtol=0)


# Gradients


def placed(task: lite.Task, device: torch.device) -> lite.Task:
    """The labels on the device; images come from the processor's memory."""
    return replace(
        task,
        support_labels=task.support_labels.to(device),
        query_labels=task.query_labels.to(device),
    )


@pytest.mark.parametrize("head", HEADS)
def test_the_mean_over_all_subsets_is_the_full_gradient(head: str, device: torch.device) -> None:
    learner, task = small_learners.TinyLearner(head).to(device), small_learners.make_task()
    there = placed(task, device)
    drawn = []
    for subset in small_learners.every_lite_subset(task.support_labels):
        learner.backward(there, subset)
        drawn.append({name: value.cpu() for name, value in learner.gradients().items()})
    whole = replace(
        there,
        support_images=cast(Tensor, task.support_images).to(device),
        query_images=cast(Tensor, task.query_images).to(device),
    )
    expected = small_learners.full_gradients(learner, whole)
    equal = [1 / len(drawn)] * len(drawn)
    expected = {name: value.cpu() for name, value in expected.items()}
    small_learners.assert_equal(small_learners.mean(drawn, equal), expected, 1e-10)


@pytest.mark.parametrize("head", test_lite_film.LEARNERS)
def test_with_film_exact_is_full_and_as_on_the_processor(head: str, device: torch.device) -> None:
    model, task = test_lite_film.make_model(head), test_lite_film.make_task()
    expected = test_lite_film.full(model, task)
    model, there = model.to(device), placed(task, device)
    whole = test_lite_film.WHOLE
    found = test_lite_film.backward(model, there, whole, whole)
    for name, value in expected.items():
        torch.testing.assert_close(found[name].cpu(), value, rtol=1e-9, atol=1e-9, msg=name)


@pytest.mark.parametrize("learner", ["protonets", "ridge", "cnaps", "simple-cnaps"])
def test_exact_is_full_in_float32(learner: str, device: torch.device) -> None:
    def gradients(gradient: str) -> dict[str, Tensor]:
        stage = small_stages.stage_of(learner, film="on", gradient=gradient)
        stage.model.to(device)
        return {name: value.cpu() for name, value in small_stages.gradients(stage).items()}

    small_stages.assert_same_gradients(gradients("exact"), gradients("full"), 1e-4)


# Answers


def test_adapt_gives_the_profile_of_the_processor(
    tmp_path: Path, write_objects: Callable[..., Path]
) -> None:
    torch.manual_seed(0)
    model_folder.fetch("test_byobnet", tmp_path / "made", "none", image_size=32)
    model = open_model(tmp_path / "made")
    folder = write_objects({"keys": 9, "mug": 9, "bowl": 8})
    here = personalize.adapt(folder, model, name="mine")
    there = personalize.adapt(
        folder, model, name="mine", engine=Engine(partial(TorchEncoder, model, DEVICE), together=4)
    )
    found, expected = there.profile.embeddings, here.profile.embeddings
    assert np.abs(found - expected).max() < 1e-3 * np.abs(expected).max()
    assert there.objects == here.objects and there.forecast == here.forecast
    assert there.profile.temperature == pytest.approx(here.profile.temperature, rel=1e-3)


def test_many_photos_are_encoded_in_order(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model_folder.fetch("test_byobnet", tmp_path / "made", "none", image_size=32)
    model = open_model(tmp_path / "made")
    pixels = np.random.default_rng(0).integers(0, 256, (300, 1, 32, 32, 3), np.uint8)
    encoder = TorchEncoder(model, DEVICE)
    together = encoder.encode_pixels(pixels)
    for n in (0, 127, 128, 256, 299):
        alone = encoder.encode_pixels(pixels[n])
        assert np.abs(together[n] - alone).max() < 1e-3 * np.abs(alone).max()


@pytest.mark.parametrize("name", ["maml", "finetune-film"])
def test_gradient_steps_on_photos(name: str, device: torch.device) -> None:
    model = FewShotModel(backbone.build("test_convnext", "none", SIDE), "cosine").to(device)
    images = torch.rand(12, 3, SIDE, SIDE)
    make = baselines.maml_solver if name == "maml" else baselines.finetune_film
    solver = make(
        model, lambda n: images[torch.from_numpy(n)], replace(BASELINES[name], steps=2), 5
    )
    scores = solver.adapt(np.arange(9), np.arange(9) % 3).scores(np.arange(12))
    assert scores.shape == (12, 3) and np.isfinite(scores).all()


@pytest.mark.parametrize("head", ["generated", "mahalanobis"])
def test_film_and_generated_heads(head: str, device: torch.device) -> None:
    model = FewShotModel(backbone.build("test_convnext", "none", SIDE), head, film=True).to(device)
    images = torch.rand(12, 3, SIDE, SIDE)
    fit = baselines.own_head(model)
    numbers = np.arange(12)
    solver = solvers.film_features(model, lambda n: images[torch.from_numpy(n)], numbers, fit, 5)
    scores = solver.adapt(np.arange(9), np.arange(9) % 3).scores(numbers)
    assert scores.shape == (12, 3) and np.isfinite(scores).all()


def test_the_audit_runs_there(device: torch.device) -> None:
    torch.manual_seed(0)
    model = FewShotModel(backbone.build("test_convnext", "none", SIDE), "cosine", film=True)
    model = model.to(device)
    settings = AuditSettings(way=3, support=8, query=2, tasks=1, draws=3, lite_h=(2,), seed=0)
    rows = audit.audit(model, drawn_tasks(settings, SIDE), settings)
    exact = next(row for row in rows if row.gradient == "exact")
    assert exact.bias < 1e-4 and all(np.isfinite(row.bias) for row in rows)
