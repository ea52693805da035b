"""The images of a task: how many are encoded, when they are read, and where they go."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from litecli import lite
from litecli.lite import Learner, Subset, Task

from .small_learners import (
    NUM_QUERY,
    NUM_SUPPORT,
    TinyLearner,
    assert_equal,
    full_gradients,
    make_task,
)


def test_cost_is_n_forwards_and_h_plus_m_with_gradient() -> None:
    learner, task = TinyLearner("cosine"), make_task()
    learner.backward(task, Subset(torch.tensor([0, 3]), torch.full((2,), 3.0)), query_batch=2)
    assert learner.images_without == NUM_SUPPORT  # once per task, however many query batches
    assert learner.images_with_gradient == 2 + NUM_QUERY


def test_images_are_read_only_when_asked_for() -> None:
    learner, task = TinyLearner("cosine"), make_task()

    class Streamed:
        largest = 0

        def __len__(self) -> int:
            return len(task.support_images)

        def __getitem__(self, indices: Tensor) -> Tensor:
            self.largest = max(self.largest, len(indices))
            return task.support_images[indices]

    streamed = Streamed()
    same = Task(streamed, task.support_labels, task.query_images, task.query_labels)
    learner.backward(same, Subset(torch.arange(6), torch.ones(6)), chunk=2)
    assert streamed.largest == 2
    assert_equal(learner.gradients(), full_gradients(learner, task), 1e-10)


def test_a_gpu_gets_four_chunks_at_once_where_no_graph_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Which images it is sent; tests/test_cuda.py has the same on a GPU."""

    def stay(images: Tensor, wanted: Iterator[Tensor], device: torch.device) -> Iterator[Tensor]:
        devices.append(device.type)
        return (images[indices] for indices in wanted)

    monkeypatch.setattr(lite, "read_ahead", stay)
    images = torch.arange(20.0)[:, None]
    for kind, expected in (("cuda", [8, 8, 4]), ("cpu", [2] * 10)):
        seen, devices = list[int](), list[str]()

        def encode(images: Tensor, seen: list[int] = seen) -> Tensor:
            seen.append(len(images))
            return images * 2

        outputs = lite.encode_all(encode, images, 2, torch.device(kind))
        assert torch.equal(outputs, images * 2) and seen == expected and devices == [kind]


@pytest.mark.parametrize("step", ["encode_all", "read_ahead"])
def test_images_go_to_where_the_labels_are(monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """Every step is told of the device; left out, it would be the processor."""
    original, told = getattr(lite, step), list[object]()

    def spied(*arguments: object) -> object:
        told.append(arguments[-1])
        return original(*arguments)

    monkeypatch.setattr(lite, step, spied)
    learner, task = TinyLearner("cosine"), make_task()
    functions = Learner(
        lambda images, film: learner.network(images) * film["gain"],
        learner.fit,
        learner.loss,
        embed=learner.network,
        generate=lambda outputs: {"gain": outputs.mean(0)},
    )
    subset = Subset(torch.tensor([1]), torch.ones(1))
    lite.task_backward(task, functions, subset=subset, set_subset=subset, chunk=4, query_batch=4)
    assert told == [task.support_labels.device] * {"encode_all": 2, "read_ahead": 5}[step]


def test_a_subset_goes_to_where_the_gradients_are() -> None:
    """A device that keeps no numbers takes part only with tensors that are there."""
    scale = torch.ones(3, device="meta", requires_grad=True)
    images = torch.empty(6, 3, device="meta")
    subset = Subset(torch.tensor([1, 4, 5]), torch.ones(3, dtype=torch.float64))
    lite.support_backward(lambda pixels: pixels * scale, images, images, subset, 2)
    assert scale.grad is not None and scale.grad.dtype == torch.float32
