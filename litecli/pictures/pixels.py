"""Decoded training images: read once, kept as uint8 squares in one memory-mapped file.

Training reads every image many times; decoding it each time would starve the network on a small
machine. Squares are stored at their own size up to `side`, so small images take little room.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from litecli import memory, storage
from litecli.errors import ExitCode, LiteError, PhotoError
from litecli.photos import images
from litecli.threads import in_order

Squares = Callable[[int], np.ndarray]  # image number -> uint8 [side, side, 3]
# Photos, side, threads -> in order, squares uint8 [s, s, 3], None of a photo that cannot be used
ReadAll = Callable[[Sequence[Path], int, int], Iterator[np.ndarray | None]]

MAPPED = 16_000_000  # bytes of the photos' file that are mapped at once
AROUND = 2 * 2**16  # bytes that Linux maps with what is asked for


class PixelStore:
    """Images by number: `store[n]` is a uint8 array [side_n, side_n, 3] backed by the file.

    `usable` [count] is False where the photo could not be read.
    """

    def __init__(self, folder: Path) -> None:
        index = json.loads((folder / "index.json").read_text())
        self.sides = np.array(index["sides"], dtype=np.int64)
        sizes = self.sides**2 * 3
        ends = np.cumsum(sizes)
        self.starts = ends - sizes  # of each image in `pixels`
        total = int(sizes.sum())
        self.pixels = (
            np.memmap(folder / "pixels.u8", dtype=np.uint8, mode="r", shape=(total,))
            if total
            else np.zeros(0, np.uint8)
        )
        self.usable = self.sides > 0

    def __len__(self) -> int:
        return len(self.sides)

    def __getitem__(self, number: int) -> np.ndarray:
        start, side = self.starts[number], int(self.sides[number])
        return self.pixels[start : start + side * side * 3].reshape(side, side, 3)


class FewMapped(PixelStore):
    """Photos of which no more than MAPPED bytes are in the memory of this process at once."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.seen = 0  # bytes mapped since they were let go

    def __getitem__(self, number: int) -> np.ndarray:
        square = super().__getitem__(number)
        self.seen += square.nbytes + AROUND
        if self.seen > MAPPED:
            memory.let_go(self.pixels)
            self.seen = square.nbytes + AROUND
        return square


def cache_photos(
    paths: Sequence[Path], side: int, folder: Path, workers: int, read_all: ReadAll | None = None
) -> Iterator[tuple[int, int]]:
    """Decode every photo to `folder` unless it is there already; yields (done, total) as it goes.

    Squares are at most `side` pixels. The cache is keyed by the photos' paths, sizes and times,
    and not by who reads them: `read_all`, else the loader. Raises LiteError as `cache` does.
    """

    def read(number: int) -> np.ndarray:
        return images.load_pixels(paths[number], side)

    squares = read_all(paths, side, workers) if read_all else _squares(read, len(paths), workers)
    yield from _fill(squares, len(paths), photos_key(paths, side), folder)


def photos_key(paths: Sequence[Path], side: int) -> str:
    """Names the squares of these photos as they are now."""
    digest = hashlib.sha256(str(side).encode())
    for path in paths:
        try:
            facts = path.stat()
            told = f"\0{facts.st_size}\0{facts.st_mtime_ns}\n"
        except OSError:  # a dangling link, or gone since it was listed: an unusable photo
            told = "\0\n"
        digest.update(os.fsencode(path) + told.encode())  # a name need not be UTF-8
    return digest.hexdigest()


def cache(
    read: Squares, count: int, key: str, folder: Path, workers: int
) -> Iterator[tuple[int, int]]:
    """Fill `folder` with `read(n)` for n below `count`, unless it already holds `key`.

    Raises LiteError (MACHINE) where the disk is full or refuses; then nothing of it stays.
    """
    yield from _fill(_squares(read, count, workers), count, key, folder)


def no_room(folder: Path, error: OSError, size: int) -> LiteError:
    """What to say where decoded images or features of `size` bytes cannot be kept."""
    return LiteError(
        f"Could not keep the decoded images ({storage.plain_reason(error)}).",
        f"They need about {size / 1e9:.1f} GB in {folder}.",
        "--out with a folder on a disk that has room",
        code=ExitCode.MACHINE,
    )


def reserve(path: Path, size: int) -> None:
    """Make a file of `size` bytes that the disk has room for; raises OSError where it has not.

    A mapped file without room ends the process at the first page that finds none.
    """
    with path.open("wb") as file:
        if hasattr(os, "posix_fallocate") and size:
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.truncate(size)


def _squares(read: Squares, count: int, workers: int) -> Iterator[np.ndarray | None]:
    def attempt(number: int) -> np.ndarray | None:
        try:
            return read(number)
        except PhotoError:
            return None

    return in_order(attempt, range(count), threads=workers)


def _fill(
    squares: Iterator[np.ndarray | None], count: int, key: str, folder: Path
) -> Iterator[tuple[int, int]]:
    """Write the squares, then the index; who has mapped older ones keeps them."""
    if is_whole(folder, key):
        yield count, count
        return
    folder.mkdir(parents=True, exist_ok=True)
    index_path, pixels_path = folder / "index.json", folder / "pixels.u8"
    part = folder / "pixels.part"
    index_path.unlink(missing_ok=True)
    sides: list[int] = []
    try:
        with part.open("wb") as out:
            for pixels in squares:
                sides.append(0 if pixels is None else len(pixels))
                if pixels is not None:
                    out.write(np.ascontiguousarray(pixels).data)
                if len(sides) % 64 == 0 or len(sides) == count:
                    yield len(sides), count
            out.flush()
            os.fsync(out.fileno())
        part.replace(pixels_path)
    except OSError as error:
        written = 3 * sum(side**2 for side in sides)
        raise no_room(folder, error, written * count // max(len(sides), 1)) from error
    finally:
        part.unlink(missing_ok=True)
    # The index is written last: a cache that was cut off has none and is made anew.
    storage.atomic_write(index_path, json.dumps({"key": key, "sides": sides}).encode())


def is_whole(folder: Path, key: str) -> bool:
    """Whether `folder` holds all the squares of `key`."""
    try:
        index = json.loads((folder / "index.json").read_text())
        sizes = 3 * np.array(index["sides"], dtype=np.int64) ** 2
        return index["key"] == key and (folder / "pixels.u8").stat().st_size == sizes.sum()
    except (OSError, ValueError, KeyError, TypeError):
        return False
