"""JPEG decoding on a GPU (torchvision, nvJPEG) beside the loader's, photos a second.

    python tests/benchmarks/gpu_decode.py [--photos 64] [--seconds 3] [--device cuda]

Both ways turn files into uint8 squares of 224 px, as a training run does for its cache. `loader`
is Pillow, which decodes to a smaller size, in one thread a core. `nvJPEG` is
`litecli.pictures.gpu_decoding`: whole pictures, many at once, shrunk on the device. With
`--device cpu` torchvision decodes on the processor, to try the script.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from made_photos import MEGAPIXELS_12, write_photos

from litecli.photos import images
from litecli.pictures import gpu_decoding
from litecli.threads import in_order, workers

SIDE = 224
SIZES = (MEGAPIXELS_12, (1600, 1200))
Squares = list[np.ndarray | None]  # uint8 [224, 224, 3]


def by_loader(paths: list[Path]) -> Squares:
    """Every photo's square, in one thread a core."""
    return [*in_order(lambda path: images.load_pixels(path, SIDE), paths)]


def by_device(paths: list[Path], device: torch.device) -> Squares:
    """The same squares, decoded on the device."""
    return [*gpu_decoding.read_all(paths, SIDE, workers(), device=device)]


def rate(work: Callable[[list[Path]], Squares], paths: list[Path], seconds: float) -> float:
    """Photos a second, after a first round that does not count."""
    work(paths)
    began, done = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        work(paths)
        done += len(paths)
    return done / (time.perf_counter() - began)


def difference(one: Squares, other: Squares) -> float:
    """Mean absolute difference of two ways' squares, in grey levels of 255."""
    pairs = zip(one, other, strict=True)
    return float(np.mean([np.abs(a.astype(int) - b).mean() for a, b in pairs if a is not None]))


def main() -> None:
    parser = argparse.ArgumentParser(description="JPEG decoding on a GPU.")
    parser.add_argument("--photos", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    print(f"{arguments.photos} photos to {SIDE} px, {workers()} cores, {arguments.device}")
    print(f"{'size':>12} {'MB each':>8} {'loader /s':>10} {'nvJPEG /s':>10} {'ratio':>6} differ by")
    for size in SIZES:
        with tempfile.TemporaryDirectory() as name:
            made = write_photos(Path(name), min(8, arguments.photos), 1, size)
            paths = [made[n % len(made)] for n in range(arguments.photos)]
            megabytes = sum(path.stat().st_size for path in made) / len(made) / 1e6
            loader = rate(by_loader, paths, arguments.seconds)
            nvjpeg = rate(lambda some: by_device(some, device), paths, arguments.seconds)
            apart = difference(by_device(made, device), by_loader(made))
        sides = f"{size[0]:>7}x{size[1]:<4}"
        speeds = f"{loader:>10.0f} {nvjpeg:>10.0f} {nvjpeg / loader:>6.2f}"
        print(f"{sides} {megabytes:>8.2f} {speeds} {apart:.2f}", flush=True)


if __name__ == "__main__":
    main()
