"""What a stage of meta-training is: a sequence of steps that are pure functions of their number.

A stage owns its optimiser and any layers that only it needs. Step k draws everything random from
(seed, k), so that a run stopped after any step and resumed ends with the same weights. The stages
are supervised.py, nuisance.py and episodic.py.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from litecli.networks.model import FewShotModel


class Stage(Protocol):
    """What the training loop needs of a stage."""

    name: str
    num_steps: int
    extra: nn.ModuleDict  # layers that belong to the stage, not to the model
    settled: bool  # False while the weights belong to no counted step: no state to save
    changes_at_end: bool  # the model, in the last step alone: no other is worth a validation

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """The stage's own optimiser."""
        ...

    def steps(self, first: int) -> Iterator[float]:
        """Take steps `first` to `num_steps` - 1, yielding each one's mean loss.

        A step whose loss or gradient is not finite, or that is interrupted, changes nothing; the
        former yields NaN. `settled` is False from the update on; who counts the step sets it again.
        """
        ...


def schedule(step: int, num_steps: int, warmup: int) -> float:
    """Share of the learning rate at a step: linear warm-up, then half a cosine down to zero."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, num_steps - warmup)))


def set_lr(optimizer: torch.optim.Optimizer, share: float) -> None:
    """Set every group's rate to `share` of the base rate (times the group's own `scale`)."""
    base = optimizer.defaults["lr"]
    for group in optimizer.param_groups:
        group["lr"] = base * share * group.get("scale", 1.0)


def hash_seed(*numbers: int) -> int:
    """One 63-bit seed from several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


def state_tensors(stage: Stage, model: FewShotModel) -> dict[str, Tensor]:
    """Everything a stage's next step depends on, as named tensors."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"extra.{name}": value for name, value in stage.extra.state_dict().items()}
    for number, slots in stage.optimizer.state_dict()["state"].items():
        for slot, value in slots.items():
            tensors[f"optimizer.{number}.{slot}"] = torch.as_tensor(value)
    return tensors


def restore(stage: Stage, model: FewShotModel, tensors: Mapping[str, Tensor]) -> None:
    """Put `state_tensors` back."""

    def part(prefix: str) -> dict[str, Tensor]:
        start = f"{prefix}."
        return {n.removeprefix(start): v for n, v in tensors.items() if n.startswith(start)}

    model.load_state_dict(part("model"))
    stage.extra.load_state_dict(part("extra"))
    state = stage.optimizer.state_dict()
    parameters = [p for group in stage.optimizer.param_groups for p in group["params"]]
    slots: dict[int, dict[str, Tensor]] = {}
    for name, value in part("optimizer").items():
        number, _, slot = name.partition(".")
        like = parameters[int(number)]
        # Moments lie in memory as their parameter does. A step count stays on the processor, also
        # that of a parameter which is one number as it is.
        if slot != "step" and value.shape == like.shape:
            value = torch.empty_like(like, dtype=value.dtype).copy_(value)
        slots.setdefault(int(number), {})[slot] = value
    stage.optimizer.load_state_dict({**state, "state": slots})
