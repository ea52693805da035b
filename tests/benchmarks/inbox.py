"""`litecli classify` of a large folder: photos a second, and memory against the folder's size.

    python tests/benchmarks/inbox.py [--model NAME] [--photos 100 10000] [--size 1600 1200]

The floor: processor seconds of decoding alone and of the network alone, shared by the cores, the
median of rounds before and after. Files of a large folder are hard links to a hundred photos:
reading them costs what reading photos costs.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from adapt import decode, shared
from made_photos import environment, write_photos

from litecli import library
from litecli.networks.encoder import Encoder
from litecli.threads import in_order

LITECLI = (sys.executable, "-m", "litecli")
DIFFERENT = 100  # photos; the others are links to them
FLOORS = 5  # rounds before, and as many after


def main() -> None:
    parser = argparse.ArgumentParser(description="A folder's throughput and memory.")
    parser.add_argument("--model")
    parser.add_argument("--photos", type=int, nargs="+", default=(100, 1000, 10_000))
    parser.add_argument("--size", type=int, nargs=2, default=(1600, 1200))
    arguments = parser.parse_args()
    model = library.find_model(arguments.model)
    with tempfile.TemporaryDirectory() as name:
        home, photos = Path(name, "home"), Path(name, "photos")
        paths = write_photos(photos, 10, DIFFERENT // 10, tuple(arguments.size))
        adapt = (*LITECLI, "adapt", str(photos), "--model", str(model.folder))
        subprocess.run(adapt, check=True, capture_output=True, env=environment(home))
        encoder, preprocess = Encoder(model.folder), model.config.preprocess
        side = preprocess.image_size
        blank = np.zeros((len(preprocess.look_shares), 3, side, side), np.float32)

        def network() -> None:
            for _ in in_order(lambda _: encoder.features(blank), paths):
                pass

        def floors() -> list[float]:
            """Seconds a photo, several times: a shared machine is not always equally fast."""
            works = (lambda: decode(paths, model)), network
            return [sum(map(shared, works)) / len(paths) for _ in range(FLOORS)]

        floors()  # the first round of anything is slow
        print(f"{model.name}, {arguments.size[0]} x {arguments.size[1]}")
        head = ("photos", "seconds", "photos/s", "floor/s", "of floor", "peak MB")
        print(" ".join(f"{title:>9}" for title in head))
        for count in arguments.photos:
            inbox = Path(name, f"inbox{count}")
            inbox.mkdir()
            for number in range(count):
                os.link(paths[number % len(paths)], inbox / f"IMG_{number:05}.jpg")
            csv = Path(name, "answers.csv")
            command = (*LITECLI, "classify", str(inbox), "--csv", str(csv))
            around = floors()
            began = time.perf_counter()
            process = subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment(home)
            )
            _, status, usage = os.wait4(process.pid, 0)
            taken = time.perf_counter() - began
            assert status == 0, status
            unit = 1 if sys.platform == "darwin" else 1024
            peak = usage.ru_maxrss * unit / 1e6
            rate = count / taken
            floor = statistics.median([*around, *floors()])
            print(
                f"{count:>9} {taken:>9.1f} {rate:>9.0f} {1 / floor:>9.0f} {rate * floor:>9.2f}"
                f" {peak:>9.0f}"
            )
            csv.unlink()


if __name__ == "__main__":
    assert resource  # the peak is the system's own figure: POSIX only
    main()
