"""Decoded training images: read once, kept as uint8 squares in one memory-mapped file.

Training reads every image many times; decoding it each time would starve the network on a small
machine. Squares are stored at their own size up to `side`, so small images take little room.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from litecli import images, storage
from litecli.errors import PhotoError
from litecli.threads import in_order

Read = Callable[[int], np.ndarray]  # image number -> uint8 [side, side, 3]


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


def cache_photos(
    paths: Sequence[Path], side: int, folder: Path, workers: int
) -> Iterator[tuple[int, int]]:
    """Decode every photo to `folder` unless it is there already; yields (done, total) as it goes.

    Squares are at most `side` pixels. The cache is keyed by the photos' paths, sizes and times.
    """
    digest = hashlib.sha256(str(side).encode())
    for path in paths:
        try:
            facts = path.stat()
            digest.update(f"{path}\0{facts.st_size}\0{facts.st_mtime_ns}\n".encode())
        except OSError:  # a dangling link, or gone since it was listed: an unusable photo
            digest.update(f"{path}\0\n".encode())

    def read(number: int) -> np.ndarray:
        return images.load_pixels(paths[number], side)

    yield from cache(read, len(paths), digest.hexdigest(), folder, workers)


def cache(
    read: Read, count: int, key: str, folder: Path, workers: int
) -> Iterator[tuple[int, int]]:
    """Fill `folder` with `read(n)` for n below `count`, unless it already holds `key`."""
    index_path = folder / "index.json"
    if _is_whole(folder, key):
        yield count, count
        return
    folder.mkdir(parents=True, exist_ok=True)
    index_path.unlink(missing_ok=True)

    def attempt(number: int) -> np.ndarray | None:
        try:
            return read(number)
        except PhotoError:
            return None

    sides: list[int] = []
    with (folder / "pixels.u8").open("wb") as out:
        decoded = in_order(attempt, range(count), threads=workers)
        for pixels in decoded:
            sides.append(0 if pixels is None else len(pixels))
            if pixels is not None:
                out.write(np.ascontiguousarray(pixels).tobytes())
            if len(sides) % 64 == 0 or len(sides) == count:
                yield len(sides), count
    # The index is written last: a cache that was cut off has none and is made anew.
    storage.atomic_write(index_path, json.dumps({"key": key, "sides": sides}).encode())


def _is_whole(folder: Path, key: str) -> bool:
    """Whether `folder` holds all the squares of `key`."""
    try:
        index = json.loads((folder / "index.json").read_text())
        sizes = 3 * np.array(index["sides"], dtype=np.int64) ** 2
        return index["key"] == key and (folder / "pixels.u8").stat().st_size == sizes.sum()
    except (OSError, ValueError, KeyError, TypeError):
        return False
