"""A second `adapt` of the same photos, and one answer: one thread for numpy, or one a core.

    python tests/benchmarks/threads_of_numpy.py [--model NAME] [--photos 40 400 1500] [--runs 5]

Of photos that it has embedded before, `adapt` has the head to fit and to check: numpy's work. The
two settings take turns, on a machine with nothing else to do and beside a process that keeps one
core busy. The photos are small: they are read once, before anything is measured.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from made_photos import environment, write_photos

from litecli import library
from litecli.threads import workers

LITECLI = (sys.executable, "-m", "litecli")
OBJECTS = 10
SMALL = (320, 240)


def seconds(command: Sequence[str], home: Path, threads: int) -> float:
    """Seconds of the clock for a command that must succeed."""
    variables = {**environment(home), "OPENBLAS_NUM_THREADS": str(threads)}
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env=variables)
    return time.perf_counter() - began


@contextmanager
def one_core_busy(wanted: bool) -> Iterator[None]:
    """A process beside that computes without end, if `wanted`."""
    if not wanted:
        yield
        return
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        busy.kill()
        busy.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description="One thread for numpy, or one a core.")
    parser.add_argument("--model")
    parser.add_argument("--photos", type=int, nargs="+", default=[40, 400, 1500])
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    os.environ.pop("OPENBLAS_NUM_THREADS", None)
    model, settings = str(library.find_model(arguments.model).folder), (workers(), 1)
    print(f"seconds: {settings[0]} threads, 1 thread (ratio of the pairs)")
    print(f"{'photos':>7} {'beside':>8} {'adapt again':>20} {'one answer':>20}")
    for number in arguments.photos:
        with tempfile.TemporaryDirectory() as name:
            home, photos = Path(name, "home"), Path(name, "photos")
            paths = write_photos(photos, OBJECTS, number // OBJECTS, SMALL)
            adapt = [*LITECLI, "adapt", str(photos), "--model", model]
            commands = {"adapt": adapt, "classify": [*LITECLI, "classify", str(paths[0])]}
            seconds(adapt, home, 1)
            for busy in (False, True):
                with one_core_busy(busy):
                    taken = {
                        what: [
                            [seconds(command, home, threads) for threads in settings]
                            for _ in range(arguments.runs)
                        ]
                        for what, command in commands.items()
                    }
                cells = "".join(f" {_cell(pairs):>20}" for pairs in taken.values())
                print(f"{number:>7} {'a loop' if busy else 'nothing':>8}{cells}", flush=True)


def _cell(pairs: list[list[float]]) -> str:
    many, one = (statistics.median(pair[place] for pair in pairs) for place in (0, 1))
    ratio = statistics.median(pair[0] / pair[1] for pair in pairs)
    return f"{many:.2f}, {one:.2f} ({ratio:.2f})"


if __name__ == "__main__":
    main()
