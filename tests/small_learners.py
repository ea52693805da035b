"""A learner small enough to try every subset of a task, and what its gradients must be."""

from itertools import combinations

import torch
from torch import Tensor, nn
from torch.nn import functional

from litecli import lite
from litecli.heads.heads import HEADS
from litecli.lite import Film, Learner, Subset, Task

WAY, NUM_SUPPORT, NUM_QUERY, NUM_BACK = 3, 6, 7, 2


class TinyLearner(nn.Module):
    """A float64 network that looks at one image at a time, a head, and a learned scale."""

    def __init__(self, head: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        # No last bias: distances do not see one, so it would have no gradient to test.
        last = nn.Linear(8, 5, bias=False)
        self.network = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.Tanh(), last)
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.head = HEADS[head]
        self.double()
        self.images_with_gradient = self.images_without = 0

    def encode(self, images: Tensor, film: Film) -> Tensor:
        assert film == {}, "a learner without FiLM gets no values"
        if torch.is_grad_enabled():
            self.images_with_gradient += len(images)
        else:
            self.images_without += len(images)
        return self.network(images)

    def fit(self, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
        params = self.head.fit(features, labels, WAY, strength=0.0, lam=0.1)
        return {**params, "scale": self.scale}

    def loss(self, params: dict[str, Tensor], queries: Tensor, labels: Tensor) -> Tensor:
        scores = self.head.score(params, queries) * params["scale"]
        return functional.cross_entropy(scores, labels, reduction="sum")

    def backward(self, task: Task, subset: Subset, chunk: int = 4, query_batch: int = 3) -> float:
        return lite.task_backward(
            task, self.functions(), subset=subset, chunk=chunk, query_batch=query_batch
        )

    def functions(self) -> Learner:
        return Learner(self.encode, self.fit, self.loss)

    def gradients(self) -> dict[str, Tensor]:
        """The accumulated gradient of every parameter, taken out."""
        found = {}
        for name, parameter in self.named_parameters():
            assert parameter.grad is not None, f"{name} got no gradient"
            found[name], parameter.grad = parameter.grad, None
        return found


def make_task(labels: list[int] | None = None) -> Task:
    generator = torch.Generator().manual_seed(1)

    def images(count: int) -> Tensor:
        return torch.randn(count, 3, 2, 2, dtype=torch.float64, generator=generator)

    support_labels = torch.tensor(labels or [0, 1, 2, 0, 1, 0])
    return Task(images(len(support_labels)), support_labels, images(NUM_QUERY), torch.arange(7) % 3)


def full_gradients(learner: TinyLearner, task: Task) -> dict[str, Tensor]:
    lite.task_backward_full(task, learner.functions())
    return learner.gradients()


def every_lite_subset(labels: Tensor) -> list[Subset]:
    """The distinct subsets that `draw_subset` really draws; there must be C(N, H) of them."""
    drawn = {}
    for seed in range(400):
        generator = torch.Generator().manual_seed(seed)
        subset = lite.draw_subset("lite", labels, NUM_BACK, generator, stratified=False)
        drawn[tuple(subset.indices.tolist())] = subset
    assert set(drawn) == set(combinations(range(len(labels)), NUM_BACK))
    return list(drawn.values())


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float) -> None:
    for name, value in expected.items():
        assert value.abs().max() > 1e-6, f"{name} has no gradient to compare"
        torch.testing.assert_close(found[name], value, rtol=tolerance, atol=tolerance, msg=name)


def mean(gradients: list[dict[str, Tensor]], weights: list[float]) -> dict[str, Tensor]:
    shares = torch.tensor(weights, dtype=torch.float64)
    return {
        name: torch.tensordot(shares, torch.stack([g[name] for g in gradients]), 1)
        for name in gradients[0]
    }
