"""The support gradient against theory: the mean over all subsets is the full gradient, exactly."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from litecli import lite
from litecli.heads.heads import HEADS
from litecli.lite import Film, Learner, Subset

from .small_learners import (
    NUM_BACK,
    NUM_QUERY,
    NUM_SUPPORT,
    TinyLearner,
    assert_equal,
    every_lite_subset,
    full_gradients,
    make_task,
    mean,
)


@pytest.mark.parametrize("head", HEADS)
def test_mean_over_all_subsets_is_the_full_gradient(head: str) -> None:
    learner, task = TinyLearner(head), make_task()
    gradients = []
    for subset in every_lite_subset(task.support_labels):
        learner.backward(task, subset)
        gradients.append(learner.gradients())
    equal = [1 / len(gradients)] * len(gradients)
    assert_equal(mean(gradients, equal), full_gradients(learner, task), 1e-10)


@pytest.mark.parametrize("num_back", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("labels", [[0, 1, 2, 0, 1, 0], [0, 1, 2, 2, 2, 2, 2], [2, 0, 1, 1]])
def test_stratified_mean_over_all_starts_is_the_full_gradient(
    num_back: int, labels: list[int]
) -> None:
    learner, task = TinyLearner("cosine"), make_task(labels)
    if num_back >= len(labels):
        return  # ordinary back-propagation, tested below
    # The subset changes only where the running sum of the probabilities crosses a ticket.
    counts = torch.bincount(task.support_labels)
    keep = lite._keep_probabilities(counts, num_back)[task.support_labels.sort().values]
    assert keep.sum() == pytest.approx(num_back, abs=1e-12)
    edges = sorted({0.0, 1.0, *(keep.cumsum(0) % 1).tolist()})
    gradients, lengths = [], []
    for low, high in pairwise(edges):
        if high - low < 1e-12:
            continue
        subset = lite.stratified_subset(task.support_labels, num_back, (low + high) / 2)
        assert len(set(subset.indices.tolist())) == num_back
        learner.backward(task, subset)
        gradients.append(learner.gradients())
        lengths.append(high - low)
    assert_equal(mean(gradients, lengths), full_gradients(learner, task), 1e-10)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize(
    "gradient, num_back", [("exact", 0), ("exact", 2), ("lite", NUM_SUPPORT), ("lite", 99)]
)
def test_exact_and_large_h_are_ordinary_back_propagation(
    head: str, gradient: str, num_back: int
) -> None:
    learner, task = TinyLearner(head), make_task()
    subset = lite.draw_subset(gradient, task.support_labels, num_back, torch.Generator(), False)
    learner.backward(task, subset)
    assert_equal(learner.gradients(), full_gradients(learner, task), 1e-10)


@pytest.mark.parametrize("num_back", [4, NUM_SUPPORT])
def test_no_gradient_is_the_query_path_alone(num_back: int) -> None:
    learner, task = TinyLearner("euclidean"), make_task()
    subset = lite.draw_subset("none", task.support_labels, num_back, torch.Generator(), False)
    learner.backward(task, subset)
    found = learner.gradients()
    with torch.no_grad():
        fixed = learner.fit(
            learner.encode(task.support_images[torch.arange(6)], {}), task.support_labels
        )
    fixed = {**fixed, "scale": learner.scale}
    queries = learner.encode(task.query_images[torch.arange(NUM_QUERY)], {})
    (learner.loss(fixed, queries, task.query_labels) / NUM_QUERY).backward()
    assert_equal(found, learner.gradients(), 1e-12)


def test_weighting_the_whole_loss_would_be_wrong() -> None:
    """Public code weighs the query path too, or nothing: both are far from the gradient."""
    learner, task = TinyLearner("euclidean"), make_task()
    gradients = []
    for subset in every_lite_subset(task.support_labels):
        learner.backward(task, Subset(subset.indices, torch.ones(NUM_BACK)))
        gradients.append(learner.gradients())
    unweighted = mean(gradients, [1 / len(gradients)] * len(gradients))
    full = full_gradients(learner, task)
    name = "network.1.weight"
    for factor in (1.0, NUM_SUPPORT / NUM_BACK):
        error = (unweighted[name] * factor - full[name]).norm() / full[name].norm()
        assert error > 0.1


@pytest.mark.parametrize("chunk, query_batch", [(1, 1), (2, 7), (5, 4), (6, 6), (100, 100)])
def test_result_does_not_depend_on_chunks(chunk: int, query_batch: int) -> None:
    learner, task = TinyLearner("cosine"), make_task()
    subset = Subset(torch.tensor([1, 4, 5]), torch.full((3,), 2.0))
    expected_loss = learner.backward(task, subset)
    expected = learner.gradients()
    assert learner.backward(task, subset, chunk, query_batch) == pytest.approx(expected_loss, 1e-12)
    assert_equal(learner.gradients(), expected, 1e-12)


def test_a_subset_with_too_few_weights_is_refused() -> None:
    """Rather than cut short, which would be a gradient of fewer photos that nobody notices."""
    learner, task = TinyLearner("cosine"), make_task()
    with pytest.raises(ValueError, match="shorter"):
        learner.backward(task, Subset(torch.arange(3), torch.ones(2)), chunk=1)


def test_changing_the_subset_changes_the_gradient_of_one_draw() -> None:
    learner, task = TinyLearner("cosine"), make_task()
    learner.backward(task, Subset(torch.tensor([0, 1]), torch.full((2,), 3.0)))
    first = learner.gradients()
    learner.backward(task, Subset(torch.tensor([2, 3]), torch.full((2,), 3.0)))
    assert not torch.allclose(first["network.1.weight"], learner.gradients()["network.1.weight"])


def test_scale_is_the_tasks_share_of_a_step() -> None:
    learner, task = TinyLearner("ridge"), make_task()
    subset = Subset(torch.arange(NUM_SUPPORT), torch.ones(NUM_SUPPORT))
    whole_loss = learner.backward(task, subset)
    whole = learner.gradients()
    for _ in range(4):
        loss = lite.task_backward(
            task, learner.functions(), subset=subset, chunk=4, query_batch=4, scale=0.25
        )
        assert loss == pytest.approx(whole_loss)  # the loss that is reported is the task's own
    assert_equal(learner.gradients(), whole, 1e-12)


def test_every_way_reports_the_tasks_mean_loss() -> None:
    learner, task = TinyLearner("cosine"), make_task()
    subset = Subset(torch.tensor([2]), torch.ones(1))
    support = learner.encode(task.support_images[torch.arange(6)], {})
    queries = learner.encode(task.query_images[torch.arange(NUM_QUERY)], {})
    fitted = learner.fit(support, task.support_labels)
    expected = float(learner.loss(fitted, queries, task.query_labels).detach()) / NUM_QUERY
    assert learner.backward(task, subset) == pytest.approx(expected, 1e-12)
    found = lite.task_backward_full(task, learner.functions())
    assert found == pytest.approx(expected, 1e-12)


def test_scale_applies_to_the_full_gradient_too() -> None:
    learner, task = TinyLearner("euclidean"), make_task()
    whole = full_gradients(learner, task)
    for _ in range(4):
        lite.task_backward_full(task, learner.functions(), scale=0.25)
    assert_equal(learner.gradients(), whole, 1e-12)


def test_grad_mode_survives_an_error() -> None:
    learner, task = TinyLearner("cosine"), make_task()

    def broken(images: Tensor, film: Film) -> Tensor:
        raise RuntimeError("broken")

    functions = Learner(broken, learner.fit, learner.loss)
    subset = Subset(torch.arange(2), torch.ones(2))
    for mode in (True, False):
        with torch.set_grad_enabled(mode):
            with pytest.raises(RuntimeError, match="broken"):
                lite.task_backward(task, functions, subset=subset, chunk=2, query_batch=2)
            assert torch.is_grad_enabled() == mode


def test_a_frozen_network_still_trains_the_scale() -> None:
    learner, task = TinyLearner("cosine"), make_task()
    learner.network.requires_grad_(False)
    learner.backward(task, Subset(torch.arange(3), torch.full((3,), 2.0)))
    assert learner.scale.grad is not None and learner.scale.grad != 0
    assert all(parameter.grad is None for parameter in learner.network.parameters())


def test_works_inside_no_grad_and_leaves_no_graph() -> None:
    learner, task = TinyLearner("euclidean"), make_task()
    subset = Subset(torch.arange(NUM_SUPPORT), torch.ones(NUM_SUPPORT))
    with torch.no_grad():
        learner.backward(task, subset)
    assert_equal(learner.gradients(), full_gradients(learner, task), 1e-10)
