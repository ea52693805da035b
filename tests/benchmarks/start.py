"""`litecli classify` of one photo as a whole process, beside `import torch` as a whole process.

    python tests/benchmarks/start.py [--model NAME] [--runs 15]

The two take turns, so a busy machine slows both; the ratio is the median of the pairs'. Needs the
model's name as `litecli models list` shows it (none: the one that comes along).
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from made_photos import environment, write_photos

from litecli import library

LITECLI = (sys.executable, "-m", "litecli")


def seconds(command: Sequence[str], home: Path) -> float:
    """Seconds of the clock for a command that must succeed."""
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env=environment(home))
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description="One answer against import torch.")
    parser.add_argument("--model")
    parser.add_argument("--runs", type=int, default=15)
    arguments = parser.parse_args()
    model = str(library.find_model(arguments.model).folder)
    with tempfile.TemporaryDirectory() as name:
        home, photos = Path(name, "home"), Path(name, "photos")
        paths = write_photos(photos, objects=5, photos=3)
        seconds([*LITECLI, "adapt", str(photos), "--model", model], home)
        commands = {
            "import torch": (sys.executable, "-c", "import torch"),
            "import timm": (sys.executable, "-c", "import timm"),
            "litecli classify": (*LITECLI, "classify", str(paths[0])),
            "litecli --help": (*LITECLI, "--help"),
            "python -c pass": (sys.executable, "-c", "pass"),
        }
        rounds = [
            [seconds(command, home) for command in commands.values()]
            for _ in range(arguments.runs + 1)
        ][1:]
    print(f"{'whole process':>18} {'seconds':>8} {'of import torch':>16}")
    for place, what in enumerate(commands):
        middle = statistics.median(row[place] for row in rounds)
        share = statistics.median(row[place] / row[0] for row in rounds)
        print(f"{what:>18} {middle:>8.3f} {share:>16.3f}")


if __name__ == "__main__":
    main()
