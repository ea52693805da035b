"""The subset that a task draws: which photos, how often, from which generator."""

import pytest
import torch

from litecli import lite

from .small_learners import NUM_SUPPORT, make_task


@pytest.mark.parametrize("gradient", ["full", "small-task", "light"])
def test_only_gradients_of_a_subset_draw_one(gradient: str) -> None:
    with pytest.raises(AssertionError, match=gradient):
        lite.draw_subset(gradient, torch.zeros(9).long(), 3, torch.Generator(), False)


def test_stratified_takes_every_class_when_it_can() -> None:
    labels = torch.tensor([0] * 20 + [1] * 2 + [2] * 5)
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        subset = lite.draw_subset("lite", labels, 6, generator, stratified=True)
        assert set(labels[subset.indices].tolist()) == {0, 1, 2}


@pytest.mark.parametrize("stratified", [False, True])
@pytest.mark.parametrize("num_back", [NUM_SUPPORT, 99])
def test_large_h_is_exact_with_nothing_drawn(num_back: int, stratified: bool) -> None:
    """To the last bit: the same photos in the same order, and a generator that was not asked."""
    labels, generator = make_task().support_labels, torch.Generator().manual_seed(1)
    before = generator.get_state()
    found = lite.draw_subset("lite", labels, num_back, generator, stratified)
    exact = lite.draw_subset("exact", labels, 0, generator, stratified)
    assert torch.equal(found.indices, exact.indices) and torch.equal(found.weights, exact.weights)
    assert torch.equal(generator.get_state(), before)


@pytest.mark.parametrize("stratified", [False, True])
def test_draws_follow_their_generator_and_no_other(stratified: bool) -> None:
    labels = torch.arange(40) % 4

    def drawn(seed: int, others: int) -> list[int]:
        torch.manual_seed(others)
        generator = torch.Generator().manual_seed(seed)
        return lite.draw_subset("lite", labels, 9, generator, stratified).indices.tolist()

    assert drawn(1, 2) == drawn(1, 3)
    assert len({tuple(drawn(seed, 2)) for seed in range(9)}) > 3


@pytest.mark.parametrize(
    "gradient, num_back, count", [("none", 3, 0), ("lite", 0, 0), ("lite", 1, 1), ("lite", 6, 6)]
)
def test_a_subset_is_whole_numbers_and_double_weights(
    gradient: str, num_back: int, count: int
) -> None:
    subset = lite.draw_subset(
        gradient, torch.tensor([0, 1, 2, 0, 1, 0]), num_back, torch.Generator(), False
    )
    assert subset.indices.shape == subset.weights.shape == (count,)
    assert subset.indices.dtype == torch.int64 and subset.weights.dtype == torch.float64
    assert float(subset.weights.sum()) == pytest.approx(NUM_SUPPORT if count else 0)


def test_tickets_of_the_stratified_draw() -> None:
    """Each photo owns the half-open piece of the line that its probability is long."""
    labels = torch.tensor([1, 0, 1, 0])  # in class order: photos 1, 3, 0, 2, a half each
    assert lite.stratified_subset(labels, 2, 0.0).indices.tolist() == [1, 0]
    assert lite.stratified_subset(labels, 2, 0.49).indices.tolist() == [1, 0]
    assert lite.stratified_subset(labels, 2, 0.5).indices.tolist() == [3, 2]
    assert lite.stratified_subset(labels, 2, 1 - 2**-40).indices.tolist() == [3, 2]


def test_the_last_start_below_one_loses_no_ticket() -> None:
    """The sum of a ticket's number and the start is rounded up: to H, where nothing begins."""
    labels = torch.tensor([1, 0, 1, 0])
    assert lite.stratified_subset(labels, 3, 1 - 2**-53).indices.tolist() == [3, 0, 2]


def test_photos_of_a_class_keep_their_order_in_the_stratified_draw() -> None:
    """Or a draw would be another one wherever numbers are sorted in another way."""
    labels = (torch.arange(200) % 4)[torch.randperm(200, generator=torch.Generator())]
    in_class_order = sorted(range(200), key=labels.tolist().__getitem__)
    found = lite.stratified_subset(labels, 20, 0.75).indices.tolist()
    assert found == in_class_order[7::10]


def test_stratified_passes_over_gaps_in_the_labels() -> None:
    keep = lite._keep_probabilities(torch.tensor([2, 0, 6]), 4)
    assert keep.tolist()[::2] == pytest.approx([1.0, 2 / 6])
    subset = lite.stratified_subset(torch.tensor([2, 0, 2, 2, 0, 2, 2, 2]), 4, 0.3)
    assert float(subset.weights.sum()) == pytest.approx(2 + 2 * 3)
