"""JPEG decoding on a GPU (torchvision, nvJPEG) beside the loader's, photos a second.

    python tests/benchmarks/gpu_decode.py [--photos 64] [--seconds 3] [--device cuda]

Both ways turn files that are in memory into uint8 squares of 224 px. `loader` is what adapt and
training use, Pillow decoding to a smaller size in one thread a core. `nvJPEG` decodes batches to
full size on the device and resizes them there, antialiased. With `--device cpu` torchvision decodes
on the processor, to try the script.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from made_photos import MEGAPIXELS_12, write_photos
from torch import Tensor
from torch.nn import functional

from litecli import images
from litecli.threads import in_order, workers

SIDE, BATCH = 224, 32
SIZES = (MEGAPIXELS_12, (1600, 1200))


def by_loader(files: list[bytes]) -> object:
    """Squares uint8 [224, 224, 3] of all files, in one thread a core."""
    return [*in_order(lambda data: images.load_pixels(data, SIDE), files)]


def by_torchvision(files: list[bytes], device: str) -> Tensor:
    """Squares uint8 [N, 3, 224, 224] on the device."""
    from torchvision.io import ImageReadMode, decode_jpeg

    squares = []
    for start in range(0, len(files), BATCH):
        batch = [
            torch.frombuffer(bytearray(data), dtype=torch.uint8)
            for data in files[start : start + BATCH]
        ]
        decoded = decode_jpeg(batch, mode=ImageReadMode.RGB, device=device)
        squares += [_square(picture) for picture in decoded]
    done = torch.stack(squares)
    if device == "cuda":
        torch.cuda.synchronize()
    return done


def _square(picture: Tensor) -> Tensor:
    """The centre square of a picture uint8 [3, H, W] at 224 px."""
    edge = min(picture.shape[1:])
    top, left = (picture.shape[1] - edge) // 2, (picture.shape[2] - edge) // 2
    cut = picture[None, :, top : top + edge, left : left + edge].float()
    small = functional.interpolate(cut, (SIDE, SIDE), mode="bilinear", antialias=True)
    return small[0].round().clamp(0, 255).byte()


def rate(work: Callable[[list[bytes]], object], files: list[bytes], seconds: float) -> float:
    """Photos a second, after a first round that does not count."""
    work(files)
    began, done = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        work(files)
        done += len(files)
    return done / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description="JPEG decoding on a GPU.")
    parser.add_argument("--photos", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    arguments = parser.parse_args()
    print(f"{arguments.photos} photos to {SIDE} px, {workers()} cores, {arguments.device}")
    print(f"{'size':>12} {'MB each':>8} {'loader /s':>10} {'nvJPEG /s':>10} {'ratio':>6}")
    for size in SIZES:
        with tempfile.TemporaryDirectory() as name:
            made = write_photos(Path(name), min(8, arguments.photos), 1, size)
            different = [path.read_bytes() for path in made]
        files = [different[n % len(different)] for n in range(arguments.photos)]
        loader = rate(by_loader, files, arguments.seconds)
        megabytes = sum(map(len, different)) / len(different) / 1e6
        line = f"{size[0]:>7}x{size[1]:<4} {megabytes:>8.2f} {loader:>10.0f}"
        try:
            on_device = rate(
                lambda chosen: by_torchvision(chosen, arguments.device), files, arguments.seconds
            )
        except (RuntimeError, ImportError, OSError) as error:
            print(f"{line} not there: {str(error).splitlines()[0][:100]}", flush=True)
            continue
        print(f"{line} {on_device:>10.0f} {on_device / loader:>6.2f}", flush=True)


if __name__ == "__main__":
    main()
