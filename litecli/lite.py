"""Support gradients with LITE (Bronskill et al., NeurIPS 2021, arXiv 2107.01105): pure functions
that know no model.

A learner combines per-image outputs e_n = f(x_n) of a support set of N images. Every e_n is
computed without gradient, chunk by chunk, so that the forward pass is exact for any N. The loss of
the queries then gives dL/de_n for all N, and *one* backward pass runs again through a subset only:
H images chosen uniformly, each weighted N/H, give an unbiased estimate of the full gradient. The
weight belongs to the support path alone; the path through the queries is exact and unscaled.
Memory is one chunk, whatever N and H are.

A learner with FiLM uses the support set twice: a set encoder's outputs make the network's norm
parameters, and with those the network makes features. The gradient of the first use holds the
second one's as a factor, and the product of two sampled sums is unbiased only when the two subsets
are drawn independently: `task_backward` takes one for each.

`lite`, `stratified`, `exact` and `none` are the same backward pass with another subset; `full` is
ordinary back-propagation through everything, the reference the others are tested against.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from litecli.image_stream import CPU, Images, parts, read_ahead

# What a pass without a graph keeps is a small part of what a backward pass needs, and a GPU is
# waited for less often: so many chunks go through at once where one goes back.
CHUNKS_WITHOUT_GRAPH = 4

Film = Mapping[str, Tensor]  # a norm parameter's name in the network -> its value in this task


@dataclass(frozen=True)
class Learner:
    """A few-shot learner as functions of tensors; only one with FiLM has the last two.

    No image's output may depend on the images beside it.
    """

    encode: Callable[[Tensor, Film], Tensor]  # images [B, 3, S, S], FiLM -> features [B, D]
    fit: Callable[[Tensor, Tensor], dict[str, Tensor]]  # features [N, D], labels -> parameters
    loss: Callable[[dict[str, Tensor], Tensor, Tensor], Tensor]  # summed over a query batch
    embed: Callable[[Tensor], Tensor] | None = None  # images -> set encoder's outputs [B, d]
    generate: Callable[[Tensor], Film] | None = None  # those of a whole support set [N, d] -> FiLM


@dataclass(frozen=True)
class Subset:
    """The support images that are back-propagated: int64 `indices` and float64 `weights` [h]."""

    indices: Tensor
    weights: Tensor


@dataclass(frozen=True)
class Task:
    """One few-shot task: images (read on demand), labels 0 to way-1 as int64 [N] and [M]."""

    support_images: Images
    support_labels: Tensor
    query_images: Images
    query_labels: Tensor


def draw_subset(
    gradient: str, labels: Tensor, num_back: int, generator: torch.Generator, stratified: bool
) -> Subset:
    """Choose which support images are back-propagated, and with what weight.

    `labels` is [N]; `num_back` is H. Sampling is without replacement. Of `gradient`, `exact` takes
    all N with weight 1, `none` nothing, `lite` H uniformly with weight N/H, or with `stratified`
    spreads H over the classes. H >= N is `exact`: ordinary back-propagation.
    """
    assert gradient in ("lite", "exact", "none"), gradient
    num_support = len(labels)
    if gradient == "exact" or (gradient != "none" and num_back >= num_support):
        return Subset(torch.arange(num_support), torch.ones(num_support, dtype=torch.float64))
    if gradient == "none" or num_back == 0:
        return Subset(torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.float64))
    if stratified:
        start = float(torch.rand(1, generator=generator, dtype=torch.float64))
        return stratified_subset(labels, num_back, start)
    indices = torch.randperm(num_support, generator=generator)[:num_back].sort().values
    weights = torch.full((num_back,), num_support / num_back, dtype=torch.float64)
    return Subset(indices, weights)


def stratified_subset(labels: Tensor, num_back: int, start: float) -> Subset:
    """Spread H = `num_back` photos over the classes by systematic sampling from `start` in [0, 1).

    In the class-sorted list photo n is kept with probability min(1, t / N_class), t being such
    that the probabilities sum to H; it weighs 1 / probability (Horvitz and Thompson, 1952). With
    a uniform `start` this is unbiased for every H, also one below the number of classes.
    """
    order = torch.argsort(labels, stable=True)
    counts = torch.bincount(labels)
    keep = _keep_probabilities(counts, num_back)[labels[order]]  # [N], float64, sums to H
    # Rounding must lose no ticket: the last photo owns whatever is beyond all other photos' ends.
    ends = keep.cumsum(0)[:-1]
    tickets = start + torch.arange(num_back, dtype=torch.float64)
    chosen = torch.searchsorted(ends, tickets, right=True)
    return Subset(order[chosen], 1.0 / keep[chosen])


def _keep_probabilities(counts: Tensor, num_back: int) -> Tensor:
    """Per class, min(1, t / N_c) with t such that sum_c N_c * min(1, t / N_c) = H; float64 [C]."""
    sizes = counts.double()
    # sum_c min(N_c, t) = H: classes smaller than t are kept whole, the others share the rest.
    remaining, left = float(num_back), int((counts > 0).sum())
    threshold = 0.0
    for size in sizes[counts > 0].sort().values.tolist():
        threshold = remaining / left
        if size >= threshold:
            break
        remaining, left = remaining - size, left - 1
    return (threshold / sizes.clamp(min=1)).clamp(max=1.0)


def encode_all(
    encode: Callable[[Tensor], Tensor], images: Images, chunk: int, device: torch.device = CPU
) -> Tensor:
    """Outputs [N, D] of every image without a graph, `chunk` images at a time.

    `device` is where `encode` wants them. A GPU gets several chunks at once.
    """
    if device.type == "cuda":
        chunk *= CHUNKS_WITHOUT_GRAPH
    ahead = read_ahead(images, parts(len(images), chunk), device)
    with torch.no_grad():
        return torch.cat([encode(pixels) for pixels in ahead])


def support_backward(
    encode: Callable[[Tensor], Tensor],
    images: Images,
    gradients: Tensor,
    subset: Subset,
    chunk: int,
) -> None:
    """Run the subset again with gradient and feed it its share of dL/de, chunk by chunk.

    `gradients` is dL/de_n [N, D], taken at the exact forward values. Adds to the `.grad` of
    everything `encode` depends on.
    """
    if not len(subset.indices):
        return
    ahead = read_ahead(images, subset.indices.split(chunk), gradients.device)
    # Sent at once: a GPU would have to finish its work before each small copy.
    indices, weights = subset.indices.to(gradients.device), subset.weights.to(gradients)
    for pixels, chosen, share in zip(
        ahead, indices.split(chunk), weights.split(chunk), strict=True
    ):
        with torch.enable_grad():
            outputs = encode(pixels)
        if not outputs.requires_grad:
            return  # a frozen encoder: nothing to learn on this path
        outputs.backward(gradients[chosen] * share[:, None])


def task_backward(
    task: Task,
    learner: Learner,
    *,
    subset: Subset,
    set_subset: Subset | None = None,
    chunk: int,
    query_batch: int,
    scale: float = 1.0,
) -> float:
    """Add the gradient of `scale` x the task's mean query loss to `.grad`; return the mean loss.

    `subset` is back-propagated through the network, `set_subset` (drawn independently) through
    the set encoder of a learner with FiLM. The support set is encoded once per task however many
    query batches there are; batches count by their size, so the result does not depend on
    `query_batch` or `chunk`.
    """
    support, device = task.support_images, task.support_labels.device
    outputs, generated = _condition(learner, support, chunk, device)
    film = _leaves(generated)

    def encode(images: Tensor) -> Tensor:
        return learner.encode(images, film)

    features = encode_all(encode, support, chunk, device).requires_grad_()
    with torch.enable_grad():
        fitted = learner.fit(features, task.support_labels)
    leaves = _leaves(fitted)

    num_query, sums = len(task.query_labels), list[Tensor]()
    ahead = read_ahead(task.query_images, parts(num_query, query_batch), device)
    for pixels, labels in zip(ahead, task.query_labels.split(query_batch), strict=True):
        with torch.enable_grad():
            summed = learner.loss(leaves, encode(pixels), labels)
            (summed * (scale / num_query)).backward()
        sums.append(summed.detach())  # read at the end: a GPU would be waited for

    _pass_on(leaves, fitted)
    if features.grad is not None:
        support_backward(encode, support, features.grad, subset, chunk)
    # The FiLM values have their whole gradient only now: from the queries and from the support.
    _pass_on(film, generated)
    if outputs is not None and outputs.grad is not None:
        assert learner.embed is not None and set_subset is not None, "the set encoder's own subset"
        support_backward(learner.embed, support, outputs.grad, set_subset, chunk)
    return sum(torch.stack(sums).tolist()) / num_query


def task_backward_full(task: Task, learner: Learner, *, scale: float = 1.0) -> float:
    """The same gradient by ordinary autograd over the whole task at once: the reference."""
    support = task.support_images[torch.arange(len(task.support_labels))]
    with torch.enable_grad():
        film: Film = {}
        if learner.embed is not None and learner.generate is not None:
            film = learner.generate(learner.embed(support))
        fitted = learner.fit(learner.encode(support, film), task.support_labels)
        del support
        queries = learner.encode(task.query_images[torch.arange(len(task.query_labels))], film)
        mean = learner.loss(fitted, queries, task.query_labels) / len(task.query_labels)
        (mean * scale).backward()
    return float(mean.detach())


def _condition(
    learner: Learner, support: Images, chunk: int, device: torch.device
) -> tuple[Tensor | None, Film]:
    """The set encoder's outputs [N, d], a leaf, and the FiLM values made of them."""
    if learner.embed is None or learner.generate is None:
        return None, {}
    outputs = encode_all(learner.embed, support, chunk, device).requires_grad_()
    with torch.enable_grad():
        return outputs, learner.generate(outputs)


def _leaves(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same values cut off from their graph: each collects a gradient of its own."""
    return {name: value.detach().requires_grad_() for name, value in values.items()}


def _pass_on(leaves: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    """Send the gradients that the leaves have collected on into the graph of the values."""
    arrived = [
        name
        for name, leaf in leaves.items()
        if leaf.grad is not None and values[name].requires_grad
    ]
    torch.autograd.backward(
        [values[name] for name in arrived], [leaves[name].grad for name in arrived]
    )
