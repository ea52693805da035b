"""`litecli classify` of a large folder: photos a second, and memory against the folder's size.

    python tests/benchmarks/inbox.py [--model NAME] [--photos 100 10000] [--size 1600 1200]

The floor: processor seconds of decoding alone and of the network alone, shared by the cores. Files
of a large folder are hard links to a hundred photos: reading them costs what reading photos costs.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from adapt import decode, shared
from made_photos import environment, write_photos

from litecli import library
from litecli.encoder import Encoder

LITECLI = (sys.executable, "-m", "litecli")
DIFFERENT = 100  # photos; the others are links to them


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
        blank = np.zeros((len(preprocess.crops), 3, side, side), np.float32)
        network = shared(lambda: [encoder.features(blank) for _ in paths])
        floor = (shared(lambda: decode(paths, model)) + network) / len(paths)
        print(f"{model.name}, {arguments.size[0]} x {arguments.size[1]}: floor {1 / floor:.0f}/s")
        print(f"{'photos':>7} {'seconds':>8} {'photos/s':>9} {'of floor':>9} {'peak MB':>8}")
        for count in arguments.photos:
            inbox = Path(name, f"inbox{count}")
            inbox.mkdir()
            for number in range(count):
                os.link(paths[number % len(paths)], inbox / f"IMG_{number:05}.jpg")
            csv = Path(name, "answers.csv")
            command = (*LITECLI, "classify", str(inbox), "--csv", str(csv))
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
            print(f"{count:>7} {taken:>8.1f} {rate:>9.0f} {rate * floor:>9.2f} {peak:>8.0f}")
            csv.unlink()


if __name__ == "__main__":
    assert resource  # the peak is the system's own figure: POSIX only
    main()
