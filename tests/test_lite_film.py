"""Support gradients of learners with FiLM, where the support set is used twice."""

from collections.abc import Iterator
from itertools import combinations

import pytest
import torch
from torch import Tensor, nn

from litecli import lite
from litecli.config import Preprocess
from litecli.lite import Subset, Task
from litecli.networks.backbone import Backbone
from litecli.networks.model import FewShotModel

NUM_SUPPORT, NUM_BACK = 5, 2
WHOLE = Subset(torch.arange(NUM_SUPPORT), torch.ones(NUM_SUPPORT))
# Head of the learner: ProtoNets, ridge, CNAPs, Simple CNAPs.
LEARNERS = ["cosine", "ridge", "generated", "mahalanobis"]


def make_model(head: str) -> FewShotModel:
    """A tiny float64 model with FiLM in which every parameter has a gradient."""
    torch.manual_seed(0)
    # No last bias: distances do not see one.
    network = nn.Sequential(
        nn.Flatten(), nn.Linear(192, 7), nn.LayerNorm(7), nn.Tanh(), nn.Linear(7, 6, bias=False)
    )
    model = FewShotModel(Backbone(network, "tiny", {}, 6, Preprocess(8), "", ""), head, film=True)
    for module in (model.generator, model.head_generator):
        for parameter in module.parameters() if module is not None else ():
            nn.init.normal_(parameter, std=0.3)
    return model.double()


def make_task(num_query: int = 6) -> Task:
    generator = torch.Generator().manual_seed(1)

    def images(count: int) -> Tensor:
        return torch.randn(count, 3, 8, 8, dtype=torch.float64, generator=generator)

    labels = torch.tensor([0, 1, 2, 0, 1])
    return Task(images(NUM_SUPPORT), labels, images(num_query), torch.arange(num_query) % 3)


def gradients(model: FewShotModel) -> dict[str, Tensor]:
    """The accumulated gradient of every parameter, taken out."""
    found = {}
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 1e-9, name
        found[name], parameter.grad = parameter.grad, None
    return found


def full(model: FewShotModel, task: Task) -> dict[str, Tensor]:
    lite.task_backward_full(task, model.functions())
    return gradients(model)


def backward(
    model: FewShotModel, task: Task, subset: Subset, set_subset: Subset, chunk: int = 3
) -> dict[str, Tensor]:
    lite.task_backward(
        task,
        model.functions(),
        subset=subset,
        set_subset=set_subset,
        chunk=chunk,
        query_batch=4,
    )
    return gradients(model)


def subsets() -> Iterator[Subset]:
    weights = torch.full((NUM_BACK,), NUM_SUPPORT / NUM_BACK, dtype=torch.float64)
    for chosen in combinations(range(NUM_SUPPORT), NUM_BACK):
        yield Subset(torch.tensor(chosen), weights)


def difference(found: list[dict[str, Tensor]], expected: dict[str, Tensor]) -> dict[str, float]:
    """Relative difference of the mean gradient, by parameter."""
    return {
        name: float((torch.stack([g[name] for g in found]).mean(0) - value).norm() / value.norm())
        for name, value in expected.items()
    }


@pytest.mark.parametrize("head", LEARNERS)
def test_mean_over_all_pairs_of_subsets_is_the_full_gradient(head: str) -> None:
    model, task = make_model(head), make_task()
    found = [backward(model, task, a, b) for a in subsets() for b in subsets()]
    apart = difference(found, full(model, task))
    assert max(apart.values()) < 1e-10, apart


@pytest.mark.parametrize("head", ["cosine", "mahalanobis"])
def test_one_subset_shared_by_both_uses_is_biased(head: str) -> None:
    """So that nobody simplifies it: the product of two sampled sums needs independent samples."""
    model, task = make_model(head), make_task()
    found = [backward(model, task, a, a) for a in subsets()]
    apart = difference(found, full(model, task))
    own = {name: value for name, value in apart.items() if name.startswith("set_encoder.")}
    assert min(own.values()) > 0.02, own
    # Everything after the set encoder is unbiased all the same.
    assert max(value for name, value in apart.items() if name not in own) < 1e-10


@pytest.mark.parametrize("head", LEARNERS)
@pytest.mark.parametrize("chunk", [1, 2, 5, 9])
def test_exact_is_ordinary_back_propagation(head: str, chunk: int) -> None:
    model, task = make_model(head), make_task()
    found = backward(model, task, WHOLE, WHOLE, chunk)
    assert max(difference([found], full(model, task)).values()) < 1e-10


def test_a_frozen_network_learns_through_film() -> None:
    model, task = make_model("mahalanobis"), make_task()
    expected = full(model, task)
    model.network.requires_grad_(False)
    lite.task_backward(
        task, model.functions(), subset=WHOLE, set_subset=WHOLE, chunk=2, query_batch=3
    )
    for name, parameter in model.named_parameters():
        if name.startswith("network."):
            assert parameter.grad is None
        else:
            torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-10, atol=1e-12)


def test_set_encoder_and_features_are_weighed_apart() -> None:
    """Each use is weighed by its own subset: swapping the two changes the gradient."""
    model, task = make_model("cosine"), make_task()
    first, second = (Subset(torch.tensor(pair), torch.ones(2)) for pair in ([0, 1], [2, 4]))
    one, other = backward(model, task, first, second), backward(model, task, second, first)
    assert all(not torch.allclose(one[name], other[name]) for name in one if "log" not in name)


def test_the_set_encoder_needs_a_subset_of_its_own() -> None:
    model, task = make_model("cosine"), make_task()
    with pytest.raises(AssertionError, match=r"^the set encoder's own subset$"):
        lite.task_backward(task, model.functions(), subset=WHOLE, chunk=2, query_batch=2)


def test_images_are_read_twice_without_gradient_and_once_for_each_subset() -> None:
    model, task = make_model("cosine"), make_task(num_query=4)
    counts = {"embed": [0, 0], "encode": [0, 0]}
    functions = model.functions()
    assert functions.embed is not None

    def embed(images: Tensor) -> Tensor:
        counts["embed"][torch.is_grad_enabled()] += len(images)
        return model.embed(images)

    def encode(images: Tensor, film: lite.Film) -> Tensor:
        counts["encode"][torch.is_grad_enabled()] += len(images)
        return model.features(images, film=film)

    counted = lite.Learner(encode, functions.fit, functions.loss, embed, functions.generate)
    two, three = (Subset(torch.arange(h), torch.ones(h)) for h in (2, 3))
    lite.task_backward(task, counted, subset=two, set_subset=three, chunk=2, query_batch=1)
    assert counts == {"embed": [NUM_SUPPORT, 3], "encode": [NUM_SUPPORT, 2 + 4]}
