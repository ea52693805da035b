"""Of an object with more files than are used, those that may be photos: a sample is of them.

Few bytes of each are read. Whether the rest of a photo can be read too shows when it is used.
"""

import os
from collections import defaultdict
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from litecli.errors import PhotoError
from litecli.photos.decoding import read_file, reader_of
from litecli.photos.walk import Walk

HEAD = 4096  # bytes; copies are looked for among files that begin alike


def candidates(files: Iterable[Path], walk: Walk) -> list[Path]:
    """The files that begin as a picture does, copies once; `walk` is told why the others are not.

    As when photos are used, of copies the one with the shortest name is kept.
    """
    alike: dict[tuple[int, bytes], list[Path]] = defaultdict(list)
    for path in files:
        try:
            head = read_file(path, HEAD)
            reader_of(head)
            alike[_length(path), head].append(path)
        except PhotoError as error:
            walk.skip(path, error.reason)
    kept = []
    for group in alike.values():
        same: dict[bytes, list[Path]] = defaultdict(list)
        for path in group:
            same[_digest(path) if len(group) > 1 else b""].append(path)
        for copies in same.values():
            names = {path: walk.relative(path) for path in copies}
            first = min(copies, key=lambda path: (len(names[path]), names[path]))
            kept.append(first)
            for path in copies:
                if path != first:
                    walk.skip(path, f"same photo as {names[first]}")
    return kept


def _length(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # gone by now, which is said when it is used
        return -1


def _digest(path: Path) -> bytes:
    try:
        return sha256(read_file(path)).digest()
    except PhotoError:
        return os.fsencode(path)  # like no other
