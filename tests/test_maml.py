"""First-order MAML against back-propagation written out by hand, on a float64 network."""

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from litecli.evaluation import maml
from litecli.lite import Task

WAY, RATE = 3, 0.2


@pytest.fixture
def network() -> nn.Sequential:
    """A convolution, a batch norm with statistics of its own, and a linear layer; in eval mode."""
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(3, 4, 2), nn.BatchNorm2d(4), nn.Tanh(), nn.Flatten(), nn.Linear(16, 5)
    ).double()
    norm = layers[1]
    assert isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None
    nn.init.normal_(norm.running_mean)
    return layers.eval()


@pytest.fixture
def task() -> Task:
    generator = torch.Generator().manual_seed(1)

    def images(count: int) -> Tensor:
        return torch.randn(count, 3, 3, 3, dtype=torch.float64, generator=generator)

    return Task(images(7), torch.tensor([0, 1, 2, 2, 0, 1, 1]), images(8), torch.arange(8) % WAY)


def functions(network: nn.Module) -> tuple[maml.Features, dict[str, Tensor]]:
    def features(weights: Mapping[str, Tensor], images: Tensor) -> Tensor:
        return functional_call(network, dict(weights), (images,))

    return features, dict(network.named_parameters())


def meta_gradients(
    network: nn.Module, task: Task, inner_steps: int = 3, chunk: int = 4, query_batch: int = 3
) -> tuple[float, dict[str, Tensor]]:
    """The loss, and the gradient of every parameter, taken out."""
    features, parameters = functions(network)
    loss = maml.maml_backward(
        task,
        features,
        parameters,
        inner_steps=inner_steps,
        inner_lr=RATE,
        chunk=chunk,
        query_batch=query_batch,
    )
    return loss, taken_out(parameters)


def taken_out(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found = {}
    for name, parameter in parameters.items():
        assert parameter.grad is not None, f"{name} got no gradient"
        found[name], parameter.grad = parameter.grad, None
    return found


def by_hand(network: nn.Module, task: Task, steps: int) -> tuple[float, dict[str, Tensor]]:
    """All support images at once, each step written out; then the queries at what it ends with."""
    features, parameters = functions(network)
    values = {name: value.detach() for name, value in parameters.items()}
    values |= {"W": torch.zeros(WAY, 5).double(), "b": torch.zeros(WAY).double()}

    def gradients(images: Tensor, labels: Tensor) -> tuple[float, dict[str, Tensor]]:
        leaves = {name: value.clone().requires_grad_() for name, value in values.items()}
        inner = {name: leaves[name] for name in parameters}
        logits = features(inner, images) @ leaves["W"].T + leaves["b"]
        loss = -functional.log_softmax(logits, 1)[torch.arange(len(labels)), labels].mean()
        found = torch.autograd.grad(loss, list(leaves.values()))
        return float(loss.detach()), dict(zip(leaves, found, strict=True))

    everything = torch.arange(7), torch.arange(8)
    for _ in range(steps):
        _, slopes = gradients(task.support_images[everything[0]], task.support_labels)
        values = {name: value - RATE * slopes[name] for name, value in values.items()}
    return gradients(task.query_images[everything[1]], task.query_labels)


def assert_equal(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    for name, value in found.items():
        assert expected[name].abs().max() > 1e-5, f"{name} has no gradient to compare"
        torch.testing.assert_close(value, expected[name], rtol=1e-10, atol=1e-12, msg=name)


@pytest.mark.parametrize("steps", [1, 3])
def test_the_gradient_is_that_of_the_queries_at_the_adapted_weights(
    network: nn.Module, task: Task, steps: int
) -> None:
    loss, found = meta_gradients(network, task, steps)
    expected_loss, expected = by_hand(network, task, steps)
    assert loss == pytest.approx(expected_loss, rel=1e-12)
    assert_equal(found, expected)


def test_without_steps_it_is_plain_back_propagation(network: nn.Module, task: Task) -> None:
    """At a head of zeros nothing reaches the network; with any other head the gradient is plain."""
    loss, found = meta_gradients(network, task, inner_steps=0)
    assert loss == pytest.approx(torch.log(torch.tensor(3.0)).item(), rel=1e-6)
    assert all(not gradient.any() for gradient in found.values())

    features, parameters = functions(network)
    adapted = maml.start(features, parameters, task.support_images, WAY)
    torch.nn.init.normal_(adapted.head)
    maml.loss_backward(adapted, features, task.query_images, task.query_labels, 3, scale=0.5)
    logits = network(task.query_images[torch.arange(8)]) @ adapted.head.detach().T
    (0.5 * functional.cross_entropy(logits, task.query_labels)).backward()
    assert_equal(taken_out(adapted.weights), taken_out(parameters))


@pytest.mark.parametrize(("chunk", "query_batch"), [(1, 8), (2, 5), (5, 1), (7, 3), (100, 100)])
def test_neither_chunk_nor_query_batch_changes_the_gradient(
    network: nn.Module, task: Task, chunk: int, query_batch: int
) -> None:
    loss, found = meta_gradients(network, task, chunk=chunk, query_batch=query_batch)
    whole_loss, whole = meta_gradients(network, task)
    assert loss == pytest.approx(whole_loss, rel=1e-12)
    assert_equal(found, whole)


def test_gradients_add_up_over_tasks_by_their_scale(network: nn.Module, task: Task) -> None:
    _, single = meta_gradients(network, task)
    features, parameters = functions(network)
    for scale in (0.25, 0.5):
        maml.maml_backward(
            task,
            features,
            parameters,
            inner_steps=3,
            inner_lr=RATE,
            chunk=4,
            query_batch=3,
            scale=scale,
        )
    together = taken_out(parameters)
    assert_equal({n: value / 0.75 for n, value in together.items()}, single)


def test_weights_and_batch_statistics_stay_as_they_are(network: nn.Module, task: Task) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with torch.no_grad():  # the caller's gradient mode does not matter, and is not touched
        meta_gradients(network, task)
        assert not torch.is_grad_enabled()
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_a_frozen_parameter_adapts_but_learns_nothing(network: nn.Module, task: Task) -> None:
    _, expected = by_hand(network, task, 3)
    features, parameters = functions(network)
    parameters["0.weight"].requires_grad_(False)
    maml.maml_backward(
        task, features, parameters, inner_steps=3, inner_lr=RATE, chunk=4, query_batch=3
    )
    assert parameters.pop("0.weight").grad is None
    assert_equal(taken_out(parameters), expected)


def test_steps_learn_the_support_set(network: nn.Module, task: Task) -> None:
    features, parameters = functions(network)
    adapted = maml.adapt(
        task.support_images,
        task.support_labels,
        features,
        parameters,
        steps=200,
        optimizer=lambda tensors: torch.optim.SGD(tensors, lr=RATE),
        chunk=4,
    )
    everything = task.support_images[torch.arange(7)]
    scores = adapted.scores(features(adapted.weights, everything))
    assert torch.equal(scores.argmax(1), task.support_labels)
