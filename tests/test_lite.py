"""The support gradient against theory: the mean over all subsets is the full gradient, exactly."""

import threading
from collections.abc import Iterator
from itertools import combinations, pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from litecli import lite
from litecli.heads.heads import HEADS
from litecli.image_stream import parts, read_ahead
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


@pytest.mark.parametrize("gradient", ["full", "small-task", "light"])
def test_only_gradients_of_a_subset_draw_one(gradient: str) -> None:
    with pytest.raises(AssertionError, match=gradient):
        lite.draw_subset(gradient, torch.zeros(9).long(), 3, torch.Generator(), False)


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


def test_stratified_takes_every_class_when_it_can() -> None:
    labels = torch.tensor([0] * 20 + [1] * 2 + [2] * 5)
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        subset = lite.draw_subset("lite", labels, 6, generator, stratified=True)
        assert set(labels[subset.indices].tolist()) == {0, 1, 2}


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


def test_no_images_are_no_parts() -> None:
    assert list(parts(0, 3)) == []
    assert [part.tolist() for part in parts(5, 3)] == [[0, 1, 2], [3, 4]]


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


def test_the_next_images_are_read_while_these_are_used() -> None:
    began = [threading.Event() for _ in range(3)]

    class Slow:
        def __len__(self) -> int:
            return 6

        def __getitem__(self, indices: Tensor) -> Tensor:
            number = int(indices[0]) // 2
            began[number].set()
            if number == 2:
                raise OSError("gone")
            return indices.double()

    ahead = read_ahead(Slow(), parts(6, 2))
    assert next(ahead).tolist() == [0, 1]
    assert began[1].wait(10)  # with nobody asking for it yet
    assert next(ahead).tolist() == [2, 3]
    with pytest.raises(OSError, match="gone"):  # where its images would have come
        next(ahead)
    assert list(read_ahead(Slow(), [])) == []


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
