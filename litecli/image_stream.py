"""Images of a task that are read a chunk at a time, ahead of the network that wants them."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from litecli.threads import in_order

Item = TypeVar("Item")

CPU = torch.device("cpu")


class Images(Protocol):
    """N images that are read when they are asked for; a tensor [N, 3, S, S] is one."""

    def __len__(self) -> int: ...

    def __getitem__(self, indices: Tensor, /) -> Tensor: ...


@dataclass(frozen=True)
class ImagesByNumber:
    """`Images` that `read` makes of stored images' numbers [N], when they are asked for."""

    read: Callable[[np.ndarray], Tensor]
    numbers: np.ndarray

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, indices: Tensor) -> Tensor:
        return self.read(self.numbers[indices.numpy()])


def parts(total: int, chunk: int) -> Iterator[Tensor]:
    """Index tensors [<= chunk] that cover 0 to total-1 in order."""
    return iter(torch.arange(total).split(chunk)) if total else iter(())


def read_ahead(
    images: Images, wanted: Iterable[Tensor], device: torch.device = CPU
) -> Iterator[Tensor]:
    """The images of each index tensor; a thread reads the next ones while these are used.

    It also sends them to `device` where that is a GPU. Elsewhere they stay where they are.
    """
    return sent_ahead(images.__getitem__, wanted, device)


def sent_ahead(
    read: Callable[[Item], Tensor], wanted: Iterable[Item], device: torch.device
) -> Iterator[Tensor]:
    """As `read_ahead`, of anything that `read` makes images of."""
    way = _ToGpu(device) if device.type == "cuda" else _Stay()

    def read_and_send(item: Item) -> Tensor:
        return way.send(read(item))

    for images in in_order(read_and_send, wanted, threads=1, ahead=1):
        yield way.receive(images)
        way.used()


class _Stay:
    """The way of images that are used where they are."""

    def send(self, images: Tensor) -> Tensor:
        """Runs in the reading thread."""
        return images

    def receive(self, images: Tensor) -> Tensor:
        """Images that may be used from here on."""
        return images

    def used(self) -> None:
        """What uses the images that came last has been asked of the device."""


class _ToGpu(_Stay):
    """The way to a GPU: from pinned memory, on a stream of its own, while the GPU computes.

    This process may be far ahead of the GPU, which has the chunks of its work queued: `used` waits
    for the last chunk but one, so that there are never more than three of them.
    """

    def __init__(self, device: torch.device) -> None:
        self.device, self.stream = device, _copying(device)
        self.copied: deque[torch.cuda.Event] = deque()  # in the order of the chunks
        self.before: torch.cuda.Event | None = None  # the work on the chunk before the last

    def send(self, images: Tensor) -> Tensor:
        stream = torch.cuda.current_stream(self.device) if images.is_cuda else self.stream
        with torch.cuda.stream(stream):
            if not images.is_cuda:
                images = images.pin_memory().to(self.device, non_blocking=True)
            self.copied.append(_now(stream))
        return images

    def receive(self, images: Tensor) -> Tensor:
        computing = torch.cuda.current_stream(self.device)
        computing.wait_event(self.copied.popleft())
        images.record_stream(computing)  # or the copying stream could take its memory for the next
        return images

    def used(self) -> None:
        last = _now(torch.cuda.current_stream(self.device))
        if self.before is not None:
            self.before.synchronize()
        self.before = last


def _now(stream: torch.cuda.Stream) -> torch.cuda.Event:
    """The moment when all that was asked of a stream so far is done."""
    event = torch.cuda.Event()
    event.record(stream)
    return event


@cache
def _copying(device: torch.device) -> torch.cuda.Stream:
    """One stream for each GPU: memory that a stream has freed is kept for that stream alone."""
    return torch.cuda.Stream(device)
