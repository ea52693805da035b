"""First-order MAML (Finn et al., ICML 2017): gradient steps on a task's support set.

The inner loop starts from a copy of the weights and a linear head of zeros, and takes a few steps
down the support set's loss. First order: the meta-gradient is the query loss's gradient at the
adapted weights, handed to the weights they started from. FineTuner is the same loop over fewer
weights (baselines.py).

Pure functions: weights come in as tensors by name and are left as they are. Gradients are summed
over chunks that count by their size, so neither `chunk` nor `query_batch` changes the result, and
memory is one chunk beside the copy of the weights.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from litecli.image_stream import Images, parts, read_ahead
from litecli.lite import Task

Features = Callable[[Mapping[str, Tensor], Tensor], Tensor]  # weights, images -> features [B, D]
MakeOptimizer = Callable[[list[Tensor]], torch.optim.Optimizer]


@dataclass(frozen=True)
class Adapted:
    """What the steps end with: the network's weights by name, a head [C, D] and its bias [C]."""

    weights: dict[str, Tensor]
    head: Tensor
    bias: Tensor

    def tensors(self) -> list[Tensor]:
        """Everything that the steps change."""
        return [*self.weights.values(), self.head, self.bias]

    def scores(self, features: Tensor) -> Tensor:
        """Logits [B, C] of features [B, D]."""
        return functional.linear(features, self.head, self.bias)


def start(
    features: Features, parameters: Mapping[str, Tensor], images: Images, num_classes: int
) -> Adapted:
    """Copies of `parameters` that can take steps, and a head of zeros as wide as the features.

    `images` [N, 3, S, S] is asked for one, which tells the features' width D; the head is
    [num_classes, D], its bias [num_classes].
    """
    weights = {name: value.detach().clone().requires_grad_() for name, value in parameters.items()}
    with torch.no_grad():
        width = features(weights, images[torch.arange(1)])
    head = width.new_zeros(num_classes, width.shape[1]).requires_grad_()
    return Adapted(weights, head, width.new_zeros(num_classes).requires_grad_())


def adapt(
    images: Images,
    labels: Tensor,
    features: Features,
    parameters: Mapping[str, Tensor],
    *,
    steps: int,
    optimizer: MakeOptimizer,
    chunk: int,
) -> Adapted:
    """Take `steps` steps down the mean cross-entropy of a support set.

    `images` are [N, 3, S, S] (or what else `features` takes), `labels` [N] of 0 to C-1. At most
    `chunk` images are in the network at once. `parameters` are the weights that move, by name;
    `features` gets their copies.
    """
    adapted = start(features, parameters, images, int(labels.max()) + 1)
    rule = optimizer(adapted.tensors())
    for _ in range(steps):
        rule.zero_grad()
        loss_backward(adapted, features, images, labels, chunk)
        rule.step()
    return adapted


def loss_backward(
    adapted: Adapted,
    features: Features,
    images: Images,
    labels: Tensor,
    chunk: int,
    scale: float = 1.0,
) -> float:
    """Add the gradient of `scale` x the mean cross-entropy to the `.grad` of `adapted`'s tensors.

    Returns the mean cross-entropy.
    """
    sums = list[Tensor]()
    ahead = read_ahead(images, parts(len(labels), chunk), labels.device)
    for pixels, own in zip(ahead, labels.split(chunk), strict=True):
        with torch.enable_grad():
            scores = adapted.scores(features(adapted.weights, pixels))
            summed = functional.cross_entropy(scores, own, reduction="sum")
            (summed * (scale / len(labels))).backward()
        sums.append(summed.detach())  # read at the end: a GPU would be waited for
    return sum(torch.stack(sums).tolist()) / len(labels)


def maml_backward(
    task: Task,
    network_features: Features,
    parameters: Mapping[str, Tensor],
    *,
    inner_steps: int,
    inner_lr: float,
    chunk: int,
    query_batch: int,
    scale: float = 1.0,
) -> float:
    """Add the first-order gradient of `scale` x the mean query loss to the `.grad` of `parameters`.

    The inner loop is plain gradient descent at rate `inner_lr`. Returns the mean query loss after
    it. A parameter that needs no gradient adapts to the task, but gets none.
    """
    adapted = adapt(
        task.support_images,
        task.support_labels,
        network_features,
        parameters,
        steps=inner_steps,
        optimizer=lambda tensors: torch.optim.SGD(tensors, lr=inner_lr),
        chunk=chunk,
    )
    for tensor in adapted.tensors():
        tensor.grad = None
    loss = loss_backward(
        adapted, network_features, task.query_images, task.query_labels, query_batch, scale
    )
    for name, parameter in parameters.items():
        gradient = adapted.weights[name].grad
        if gradient is None or not parameter.requires_grad:
            continue
        parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
    return loss
