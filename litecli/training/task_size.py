"""The size of a run's largest task, and what autograd keeps of it, counted."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import nn

from litecli.config import TrainConfig
from litecli.image_stream import parts
from litecli.tasks.episodes import Source


class TaskSize(NamedTuple):
    """How many classes, support photos and query photos a task has."""

    way: int
    support: int
    query: int


def largest_task(config: TrainConfig, sources: Sequence[Source]) -> TaskSize:
    """The largest task that the sources allow (none: any would)."""
    if config.imitation.teacher:
        return TaskSize(config.imitation.support, config.imitation.support, config.imitation.query)
    episodes = config.episodes
    way, support = episodes.way_max, episodes.support_max
    query = way * episodes.query
    if sources:
        way = min(way, max(len(source.classes) for source in sources))
        pools = sorted((len(pool) for s in sources for pool in s.support), reverse=True)[:way]
        support = min(support, sum(pools))
        query = max(_most_queries(source, way, episodes.query) for source in sources)
    return TaskSize(min(way, support), support, query)


def _most_queries(source: Source, way: int, each: int) -> int:
    """Query photos of a task of `way` classes, at most `each` of a class.

    Where a class has one pool, a photo of it is left for the support set.
    """
    left = (
        [len(pool) - 1 for pool in source.support]
        if source.query is None
        else [min(len(pool), each) for pool in source.query]
    )
    return min(way * each, sum(sorted(left, reverse=True)[:way]))


def goes_back(config: TrainConfig, task: TaskSize) -> int:
    """Support photos that a gradient goes back through; of maml, in each of its inner steps."""
    if config.gradient == "small-task":  # of any learner; it keeps every class
        return min(max(config.lite_h, task.way), task.support)
    if config.learner == "maml" or config.gradient in ("exact", "full"):
        return task.support
    return 0 if config.gradient == "none" else min(config.lite_h, task.support)


def all_backward(config: TrainConfig, sources: Sequence[Source]) -> list[str]:
    """A warning where LITE is ordinary back-propagation: H is all the support photos there are."""
    support = largest_task(config, sources).support
    if config.gradient != "lite" or config.learner == "maml" or config.lite_h < support:
        return []
    return [
        f"tasks have at most {support} support photos, and --lite-h {config.lite_h}: all of "
        "them get a gradient, as in ordinary back-propagation"
    ]


def at_once(config: TrainConfig, task: TaskSize) -> int:
    """Most photos whose graphs exist at the same time, in a task of this size."""
    if config.gradient == "full" and config.learner != "maml":
        return task.support + task.query
    passes = ((goes_back(config, task), config.chunk), (task.query, config.query_batch))
    return max((len(part) for size, most in passes for part in parts(size, most)), default=1)


def graph_bytes(network: nn.Module, image_size: int, bf16: bool = False) -> int:
    """Bytes that autograd keeps of one image's forward pass, the weights left out."""
    own = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
    device = next(network.parameters()).device
    images = torch.zeros(1, 3, image_size, image_size, device=device)

    def forward() -> torch.Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            return network(images)

    return kept_bytes(forward, own)


def kept_bytes(forward: Callable[[], object], own: set[int]) -> int:
    """Bytes of the tensors that autograd keeps of a call, storages at the addresses `own` apart."""
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
    with hooks, torch.enable_grad():
        outputs = forward()  # alive until all is counted: an address is not used twice
    del outputs
    return sum(kept.values())
