"""Paths that come on stdin, one a line, answered as they come: `--stdin-paths`."""

import os
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from queue import Queue
from threading import Thread

from litecli.cli.output import Output
from litecli.cli.photo_arguments import PhotoArgument, photos_of_line, show_left_out

AHEAD = 10_000  # lines; whoever writes faster has to wait
CHUNK = 1 << 16  # bytes


class StdinPaths:
    """The photos of those paths, in order; a path that is no photo stays, and gets its own answer.

    A thread reads the lines, so that it is known whether one is there already: an answer that is
    ready does not wait for the next path.
    """

    def __init__(self, out: Output, recursive: bool) -> None:
        self._out, self._recursive = out, recursive
        self._lines: Queue[str | None] = Queue(AHEAD)
        self._given: deque[PhotoArgument] = deque()
        self._in_folder = False
        self._first: str | None = None
        # Daemon: at the end of the program it may well still wait for a line.
        Thread(target=self._read, daemon=True).start()

    def idle(self) -> bool:
        """Whether the next photo is not known yet."""
        return self._lines.empty() and not self._in_folder

    def is_empty(self) -> bool:
        """Whether stdin ends without a path; waits for the first one."""
        self._first = self._lines.get()
        return self._first is None

    def __iter__(self) -> Iterator[Path | str]:
        first = [] if self._first is None else [self._first]
        for line in chain(first, iter(self._lines.get, None)):
            expanded = photos_of_line(line, self._recursive)
            show_left_out(self._out, expanded)
            for number, photo in enumerate(expanded.photos, start=1):
                self._in_folder = number < len(expanded.photos)
                self._given.append(photo)
                yield photo.path

    def given(self) -> Iterator[PhotoArgument]:
        """The photos that were given out, each once."""
        while self._given:
            yield self._given.popleft()

    def _read(self) -> None:
        stream = sys.stdin.buffer
        # Not through the buffer: its lock, held by a thread that waits, would end Python badly.
        stream = getattr(stream, "raw", stream)
        rest = b""
        try:
            while chunk := stream.read(CHUNK):
                *lines, rest = (rest + chunk).split(b"\n")
                self._add(lines)
        except OSError:  # a folder, say: no more lines
            pass
        self._add([rest])
        self._lines.put(None)

    def _add(self, lines: list[bytes]) -> None:
        for path in paths_of(lines):
            self._lines.put(path)


def all_paths() -> list[str]:
    """The paths on stdin, once it has ended."""
    return paths_of(sys.stdin.buffer.read().split(b"\n"))


def paths_of(lines: Iterable[bytes]) -> list[str]:
    """One path a line; empty lines are none, and a carriage return ends a line only at its end."""
    return [os.fsdecode(line.rstrip(b"\r")) for line in lines if line.strip()]
