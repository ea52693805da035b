"""What a task takes, counted on the real network: passes, multiply-accumulates, memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from litecli.config import TrainConfig
from litecli.networks.model import FewShotModel
from litecli.networks.parts import count_macs
from litecli.training.task_size import TaskSize, at_once, goes_back, graph_bytes

BYTES = 4  # of a float32
LEARNED = 4 * BYTES  # a learned weight, its gradient and Adam's two moments
COPIED = 2 * BYTES  # maml: a task's own copy of a weight, and the gradient of that


class Passes(NamedTuple):
    """Photos that a task sends through a network: without a gradient, and there and back."""

    forward: int
    back: int


def network_passes(config: TrainConfig, task: TaskSize) -> Passes:
    """Of the network that makes the features, all passes of one task together."""
    back = goes_back(config, task)
    if config.learner == "maml":  # one more photo tells how wide features are
        return Passes(1, config.inner_steps * back + task.query)
    if config.projection and not (learns(config) or config.uses_film):  # none goes into it
        again = task.query if config.gradient == "full" else goes_back(config, task) + task.query
        return Passes(_kept(config, task) + again, 0)
    if not (learns(config) or config.uses_film):  # no gradient: one chunk is looked at for it
        whole = config.gradient == "full"
        return Passes(_kept(config, task) + task.query + (not whole) * min(back, config.chunk), 0)
    if config.gradient == "full":
        return Passes(0, task.support + task.query)
    return Passes(_kept(config, task), back + task.query)


def set_encoder_passes(config: TrainConfig, task: TaskSize) -> Passes:
    """Of the set encoder that FiLM takes: the support set's only."""
    if not config.uses_film:
        return Passes(0, 0)
    forward = 0 if config.gradient == "full" else _kept(config, task)
    return Passes(forward, goes_back(config, task))


def learns(config: TrainConfig) -> bool:
    """Whether the network's own weights get a gradient in a task."""
    return config.learner == "maml" or config.backbone_lr > 0


def task_macs(config: TrainConfig, model: FewShotModel, task: TaskSize) -> int:
    """Multiply-accumulates of one task: the networks and what generates weights, no head's own.

    A way back costs two passes: the gradient of what came in, and that of the weights, which a
    frozen network leaves out.
    """
    network, inner = network_passes(config, task), set_encoder_passes(config, task)
    macs = count_macs(model.network, config.image_size) * (
        network.forward + (3 if learns(config) else 2) * network.back
    )
    if model.set_encoder is not None:
        one = count_macs(model.set_encoder, config.image_size)
        macs += one * (inner.forward + 3 * inner.back)
    if model.generator is not None:  # once a task
        macs += 3 * (model.generator.inner_weight.numel() + model.generator.outer_weight.numel())
    if model.head_generator is not None:  # once a class
        head = model.head_generator
        macs += 3 * task.way * (head.inner_weight.numel() + head.outer_weight.numel())
    return macs


def weight_bytes(config: TrainConfig, model: FewShotModel) -> int:
    """Memory of all weights while tasks train them: gradients and the optimiser's too."""
    network = sum(parameter.numel() for parameter in model.network.parameters())
    new = sum(parameter.numel() for parameter in model.parameters()) - network
    each = (LEARNED if config.backbone_lr > 0 else BYTES) + COPIED * (config.learner == "maml")
    return network * each + new * LEARNED


class Graphs(NamedTuple):
    """Bytes that autograd keeps of one photo in the network and in the set encoder."""

    network: int
    set_encoder: int

    def peak(self, config: TrainConfig, task: TaskSize) -> int:
        """Bytes of all graphs that exist at the same time in a task of this size."""
        if config.gradient == "full" and config.learner != "maml":
            return self.network * at_once(config, task) + self.set_encoder * task.support
        conditioned = min(goes_back(config, task), config.chunk)
        return max(self.network * at_once(config, task), self.set_encoder * conditioned)


def graphs_of(config: TrainConfig, model: FewShotModel, bf16: bool = False) -> Graphs:
    """Measured on one photo, with the gradients that `config` asks for."""
    with _as_trained(model, learns(config)):
        network = graph_bytes(model.network, config.image_size, bf16)
    if model.set_encoder is None:
        return Graphs(network, 0)
    return Graphs(network, graph_bytes(model.set_encoder, config.image_size, bf16))


@contextmanager
def _as_trained(model: FewShotModel, learned: bool) -> Iterator[None]:
    """The network's weights asking for gradients as in a task; before and after, as they are."""
    parameters = dict(model.network.named_parameters())
    before = {name: parameter.requires_grad for name, parameter in parameters.items()}
    model.network.requires_grad_(learned)
    for layer in model.generator.layers if model.generator is not None else ():
        norm = model.network.get_submodule(layer.name)  # its values come with a gradient
        norm.requires_grad_(True)
    try:
        yield
    finally:
        for name, parameter in parameters.items():
            parameter.requires_grad_(before[name])


def _kept(config: TrainConfig, task: TaskSize) -> int:
    """Support photos of the task that is learned from: a small task is a part of it."""
    return goes_back(config, task) if config.gradient == "small-task" else task.support
