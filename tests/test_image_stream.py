"""Images that are read on demand: which ones, and one chunk at a time."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from litecli import image_stream
from litecli.image_stream import CPU, ImagesByNumber, parts, read_ahead, sent_ahead


def test_images_by_number_are_those_of_their_places() -> None:
    """A task's images are counted from 0; the reader knows them by their numbers in the store."""
    asked: list[list[int]] = []

    def read(numbers: np.ndarray) -> Tensor:
        asked.append(numbers.tolist())
        return torch.from_numpy(numbers)[:, None]

    images = ImagesByNumber(read, np.array([30, 10, 20]))
    assert len(images) == 3 and asked == []
    assert images[torch.tensor([2, 0])].tolist() == [[20], [30]]
    assert asked == [[20, 30]]


def test_no_images_are_no_parts() -> None:
    assert list(parts(0, 3)) == []
    assert [part.tolist() for part in parts(5, 3)] == [[0, 1, 2], [3, 4]]


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


def test_one_chunk_is_read_ahead_and_no_two_at_once() -> None:
    """Memory is planned for the chunk in use and the next; what reads may hold one open file."""
    reading, overlaps, asked = threading.Lock(), [], []
    another = threading.Event()

    def read(number: int) -> Tensor:
        if not reading.acquire(blocking=False):
            overlaps.append(number)
            another.set()
            return torch.tensor(number)
        try:
            another.wait(0.1)  # time for a second reader to come, were there one
            return torch.tensor(number)
        finally:
            reading.release()

    def wanted() -> Iterator[int]:
        for number in range(4):
            asked.append(number)
            yield number

    for place, image in enumerate(sent_ahead(read, wanted(), CPU)):
        assert int(image) == place
        assert asked == list(range(min(place + 2, 4)))
    assert overlaps == []


def test_only_a_gpu_has_images_sent_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sent by the thread that reads, received by the one that uses them, which says when it has."""
    told: list[str] = []
    here = threading.current_thread()

    class Way:
        def __init__(self, device: torch.device) -> None:
            told.append(f"to {device}")

        def send(self, images: Tensor) -> Tensor:
            assert threading.current_thread() is not here
            return images + 0.5

        def receive(self, images: Tensor) -> Tensor:
            assert threading.current_thread() is here
            told.append(f"received {float(images)}")
            return images * 10

        def used(self) -> None:
            told.append("used")

    monkeypatch.setattr(image_stream, "_ToGpu", Way)
    images, wanted = torch.tensor([3.0, 4.0]), [torch.tensor([1]), torch.tensor([0])]
    assert [float(one) for one in read_ahead(images, wanted, torch.device("cuda:1"))] == [45, 35]
    assert told == ["to cuda:1", "received 4.5", "used", "received 3.5", "used"]
    for device in ("cpu", "meta"):
        stay = read_ahead(images.to(device), wanted, torch.device(device))
        assert [one.device.type for one in stay] == [device, device]
    assert [float(one) for one in read_ahead(images, wanted)] == [4, 3]
    assert len(told) == 5
