"""Support gradients with LITE (Bronskill et al., NeurIPS 2021, arXiv 2107.01105): pure functions
that know no model.

A learner combines per-image outputs e_n = f(x_n) of a support set of N images. Every e_n is
computed without gradient, chunk by chunk, so that the forward pass is exact for any N. The loss of
the queries then gives dL/de_n for all N, and *one* backward pass runs again through a subset only:
H images chosen uniformly, each weighted N/H, give an unbiased estimate of the full gradient. The
weight belongs to the support path alone; the path through the queries is exact and unscaled.
Memory is one chunk, whatever N and H are.

`lite`, `stratified`, `exact` and `none` are the same backward pass with another subset; `full` is
ordinary back-propagation through everything, the reference the others are tested against.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

Encode = Callable[[Tensor], Tensor]  # images [B, 3, S, S] -> outputs [B, D]
Fit = Callable[[Tensor, Tensor], dict[str, Tensor]]  # features [N, D], labels [N] -> parameters
SummedLoss = Callable[[dict[str, Tensor], Tensor, Tensor], Tensor]  # parameters, queries, labels


class Images(Protocol):
    """N images that are read when they are asked for; a tensor [N, 3, S, S] is one."""

    def __len__(self) -> int: ...

    def __getitem__(self, indices: Tensor, /) -> Tensor: ...


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

    `labels` is [N]; `num_back` is H. Sampling is without replacement. `exact` takes all N with
    weight 1, `none` takes nothing, `lite` takes H uniformly with weight N/H, or with `stratified`
    spreads H over the classes. H >= N is `exact`: ordinary back-propagation.
    """
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
    ends = keep.cumsum(0)
    # Rounding must not lose the last ticket: the cumulative sum ends at exactly H.
    ends[-1] = float(num_back)
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


def parts(total: int, chunk: int) -> Iterator[Tensor]:
    """Index tensors [<= chunk] that cover 0 to total-1 in order."""
    return iter(torch.arange(total).split(chunk)) if total else iter(())


def encode_all(encode: Encode, images: Images, chunk: int) -> Tensor:
    """Outputs [N, D] of every image without a graph, `chunk` images at a time."""
    with torch.no_grad():
        return torch.cat([encode(images[part]) for part in parts(len(images), chunk)])


def support_backward(
    encode: Encode, images: Images, gradients: Tensor, subset: Subset, chunk: int
) -> None:
    """Run the subset again with gradient and feed it its share of dL/de, chunk by chunk.

    `gradients` is dL/de_n [N, D], taken at the exact forward values. Adds to the `.grad` of
    everything `encode` depends on.
    """
    for part in parts(len(subset.indices), chunk):
        chosen = subset.indices[part]
        with torch.enable_grad():
            outputs = encode(images[chosen])
        if not outputs.requires_grad:
            return  # a frozen encoder: nothing to learn on this path
        weights = subset.weights[part].to(outputs)
        outputs.backward(gradients[chosen.to(gradients.device)] * weights[:, None])


def task_backward(
    task: Task,
    encode: Encode,
    fit: Fit,
    loss: SummedLoss,
    *,
    subset: Subset,
    chunk: int,
    query_batch: int,
    scale: float = 1.0,
) -> float:
    """Add the gradient of `scale` x the task's mean query loss to `.grad`; return the mean loss.

    `fit` turns support features [N, D] into the task's parameters, `loss` sums the loss of one
    query batch. The support set is encoded once per task however many query batches there are;
    batches count by their size, so the result does not depend on `query_batch` or `chunk`.
    """
    device = task.support_labels.device
    features = encode_all(encode, task.support_images, chunk).requires_grad_()
    with torch.enable_grad():
        fitted = fit(features, task.support_labels)
    leaves = {name: value.detach().requires_grad_() for name, value in fitted.items()}

    num_query = len(task.query_labels)
    total = 0.0
    for part in parts(num_query, query_batch):
        with torch.enable_grad():
            queries = encode(task.query_images[part])
            summed = loss(leaves, queries, task.query_labels[part.to(device)])
            (summed * (scale / num_query)).backward()
        total += float(summed.detach())

    arrived = [
        name
        for name, value in leaves.items()
        if value.grad is not None and fitted[name].requires_grad
    ]
    torch.autograd.backward(
        [fitted[name] for name in arrived], [leaves[name].grad for name in arrived]
    )
    if features.grad is not None:
        support_backward(encode, task.support_images, features.grad, subset, chunk)
    return total / num_query


def task_backward_full(
    task: Task, encode: Encode, fit: Fit, loss: SummedLoss, *, scale: float = 1.0
) -> float:
    """The same gradient by ordinary autograd over the whole task at once: the reference."""
    everything = torch.arange(len(task.support_labels)), torch.arange(len(task.query_labels))
    with torch.enable_grad():
        fitted = fit(encode(task.support_images[everything[0]]), task.support_labels)
        queries = encode(task.query_images[everything[1]])
        mean = loss(fitted, queries, task.query_labels) / len(task.query_labels)
        (mean * scale).backward()
    return float(mean.detach())
