"""One run in many processes, as torchrun starts them: who takes which task, and their sums.

    torchrun --nproc-per-node 2 -m litecli meta-train ./photos

Rank r of R takes the tasks k of a step with k mod R = r. A task's gradient is weighted by one over
the number of tasks in the step, so the sum over the ranks is the gradient of the step for any R,
also where some ranks have no task. Rank 0 leads: it alone writes, validates and talks. The others
follow it, tell it of what goes wrong, and end when it ends.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from litecli.errors import ExitCode, LiteError
from litecli.memory import is_out_of_memory

GRACE = 1.0  # seconds between one process's end and the signal that ended it coming here


@dataclass(frozen=True)
class Ranks:
    """This process's place among those of its run; the default is a run of one process."""

    rank: int = 0
    count: int = 1
    local_rank: int = 0  # among the processes of its machine
    group: dist.ProcessGroup | None = None  # gloo, for everything but the gradients on GPUs

    @property
    def leads(self) -> bool:
        """Whether this process writes, validates and talks."""
        return self.rank == 0

    @property
    def alone(self) -> bool:
        """Whether there is nobody to talk to; one process that is connected talks to itself."""
        return self.count == 1 and self.group is None

    def share_of(self, numbers: range) -> list[int]:
        """Those of a step's tasks that this rank takes; the ranks together take each one once."""
        return [k for k in numbers if k % self.count == self.rank]

    def device(self, device: torch.device) -> torch.device:
        """This process's own GPU where `device` is one; LiteError (MACHINE) if there are too few.

        Other devices are shared by all.
        """
        if self.count == 1 or device.type != "cuda":
            return device
        if self.local_rank >= torch.cuda.device_count():
            raise LiteError(
                f"Process {self.local_rank + 1} of this machine has no GPU of its own.",
                f"There are {torch.cuda.device_count()}.",
                f"--nproc-per-node {torch.cuda.device_count()}, or --device cpu",
                code=ExitCode.MACHINE,
            )
        torch.cuda.set_device(self.local_rank)
        return torch.device("cuda", self.local_rank)

    def on(self, device: torch.device) -> str:
        """What a person is told: "cpu", or "2 x cpu" of two processes."""
        return device.type if self.count == 1 else f"{self.count} x {device.type}"

    def exchange(self, value: Any) -> list[Any]:
        """Every rank's value, in order of rank; all ranks call this at the same point.

        Raises the error that a rank has told instead, or LiteError (MACHINE): one has ended.
        """
        return self._exchange(value, None)

    def _exchange(self, value: Any, failure: "_Failure | None") -> list[Any]:
        if self.alone:
            return [value]
        told: list[Any] = [None] * self.count
        with _connected():
            dist.all_gather_object(told, (value, failure), group=self.group)
        for _, other in told:
            if other is not None:
                raise other.error()
        return [value for value, _ in told]

    @contextmanager
    def telling(self) -> Iterator[None]:
        """What fails in here on another rank than 0 is raised by everyone's next `exchange`."""
        try:
            yield
        except Exception as error:
            if not self.leads:
                self._exchange(None, _Failure.of(error, self.rank))
            raise  # rank 0 need not tell: when it ends, all end

    def sum_gradients(self, parameters: Sequence[Tensor], losses: Sequence[float]) -> list[float]:
        """Make every `.grad` the sum over the ranks; return the losses of all ranks' tasks.

        A parameter that has a gradient on no rank keeps none. Raises as `exchange`.
        """
        if self.alone:
            return list(losses)
        told = self.exchange((list(losses), [p.grad is not None for p in parameters]))
        reached = map(any, zip(*(has for _, has in told), strict=True))
        chosen = [p for p, has in zip(parameters, reached, strict=True) if has]
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in chosen]
        if gradients:
            flat = torch.cat([gradient.flatten() for gradient in gradients])
            total = flat if flat.is_cuda else flat.cpu()
            with _connected():
                dist.all_reduce(total, group=None if total.is_cuda else self.group)
            parts = total.split([p.numel() for p in chosen])
            for parameter, gradient, part in zip(chosen, gradients, parts, strict=True):
                parameter.grad = gradient.copy_(part.view_as(gradient))
        return [loss for others, _ in told for loss in others]

    def from_first(
        self, value: Any, tensors: Mapping[str, Tensor]
    ) -> tuple[Any, dict[str, Tensor]]:
        """Rank 0's value and (on the CPU) its tensors, on every rank. Raises as `exchange`."""
        outlines = {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()}
        value, outlines = self.exchange((value, outlines) if self.leads else None)[0]
        received = {}
        with _connected():
            for name, (shape, dtype) in outlines.items():
                tensor = torch.empty(shape, dtype=dtype)
                if self.leads:
                    tensor.copy_(tensors[name].detach())
                dist.broadcast(tensor, src=0, group=self.group)
                received[name] = tensor
        return value, received


ALONE = Ranks()


@contextmanager
def _connected() -> Iterator[None]:
    """An error of the connection as LiteError (MACHINE)."""
    try:
        yield
    except RuntimeError as error:
        # Ctrl-C ends every process, but not at the same moment: here it may be about to arrive.
        time.sleep(GRACE)
        raise LiteError(
            "Another process of this run has ended.",
            "Its own messages tell why; what was learned so far is saved.",
            "the same command with --resume",
            code=ExitCode.MACHINE,
        ) from error


@dataclass(frozen=True)
class _Failure:
    """What went wrong on one rank, as it travels to the others."""

    what: str
    why: str = ""
    fix: str = ""
    code: ExitCode = ExitCode.BUG
    memory: bool = False

    @classmethod
    def of(cls, error: Exception, rank: int) -> "_Failure":
        if isinstance(error, LiteError):
            return cls(error.what, error.why, error.fix, error.code)
        text = f"Process {rank} failed ({type(error).__name__}: {str(error)[:200]})."
        lacking = is_out_of_memory(error)
        return cls(text, "This is a bug in litecli, not your mistake.", memory=lacking)

    def error(self) -> Exception:
        """The error to raise."""
        if self.memory:
            return MemoryError(self.what)
        return LiteError(self.what, self.why, self.fix, code=self.code)
