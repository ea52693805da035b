"""`adapt` by onnxruntime and by torch: whole processes, and the network alone.

    python tests/benchmarks/engines.py MODEL ... [--photos 100] [--runs 3] [--size 4032 3024]

Whole: photos of drawn things in ten folders, all ways in turn, each a process of its own with its
start; beside the seconds, how far the features are from onnxruntime's and how many of the photos
the check names otherwise. Alone: photos a second of what `adapt` calls, as it calls it, from
pixels in the processor's memory, beside timm's own network in channels-last on batches that wait
on the device (of 8 on the processor; on CUDA of 128 or 256, whichever is faster); the ratio is to
its bf16.
With CUDA, CUDA's rows are added; `--ways onnx torch_fp32_cuda` leaves out the others. A MODEL is
a name of `litecli models list` or a folder.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from made_photos import MEGAPIXELS_12, environment, write_photos

from litecli import library
from litecli.cli.engine import CUDA_TOGETHER
from litecli.library.model_files import Model
from litecli.networks import backbone
from litecli.networks.encoder import Encoder
from litecli.networks.torch_encoder import CUDA_CHUNK, TorchEncoder
from litecli.photos.images import to_input
from litecli.threads import in_order, workers

FP32 = "import sys; from litecli.cli import main; sys.exit(main())"
BF16 = (
    "from functools import partial; from litecli.networks import torch_encoder as t; "
    "t.TorchEncoder = partial(t.TorchEncoder, bf16=True); " + FP32
)
SECONDS_ALONE = 2.0  # that the network alone runs, after its first photos


def ways(cuda: bool) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Name -> program and arguments of `adapt`."""
    chosen: dict[str, tuple[str, tuple[str, ...]]] = {"onnx": (FP32, ("--engine", "onnx"))}
    for device in ("cpu", "cuda")[: 1 + cuda]:
        for kind, program in (("fp32", FP32), ("bf16", BF16)):
            arguments = ("--engine", "torch", "--device", device)
            chosen[f"torch {kind} {device}"] = program, arguments
    return chosen


def whole(model: Model, photos: Path, runs: int, scratch: Path, wanted: list[str]) -> None:
    """Print the table of whole processes."""
    chosen = {name: way for name, way in ways(torch.cuda.is_available()).items() if name in wanted}
    took: dict[str, list[float]] = {name: [] for name in chosen}
    told: dict[str, dict] = {}
    for _ in range(runs):
        for name, (program, arguments) in chosen.items():
            file = scratch / f"{name}.safetensors"
            file.unlink(missing_ok=True)
            command = [sys.executable, "-c", program, "adapt", str(photos), "--json"]
            command += ["-m", str(model.folder), "-o", str(file), *arguments]
            began = time.perf_counter()
            done = subprocess.run(command, capture_output=True, env=environment(scratch))
            took[name].append(time.perf_counter() - began)
            if done.returncode:
                raise SystemExit(done.stderr.decode())
            told[name] = json.loads(done.stdout)
    first = statistics.median(took["onnx"])
    reference = library.read_profile(scratch / "onnx.safetensors", "onnx")
    print(f"{'whole':>16} {'seconds':>8} {'/ onnx':>7} {'encode s':>8} {'difference':>10} checked")
    for name in chosen:
        profile = library.read_profile(scratch / f"{name}.safetensors", name)
        off = np.abs(profile.embeddings - reference.embeddings).max()
        off /= np.abs(reference.embeddings).max()
        right = told[name]["check"]["correct"]
        seconds = statistics.median(took[name])
        print(
            f"{name:>16} {seconds:>8.2f} {seconds / first:>7.2f} "
            f"{told[name]['seconds']['encode']:>8.2f} {off:>10.1e} {right:>7}",
            flush=True,
        )


def alone(model: Model, runs: int, wanted: list[str]) -> None:
    """Print the table of the network alone; each row of the processor is a process of its own."""
    if len(wanted) < len(ways(torch.cuda.is_available())):  # onnx is what others differ from
        wanted = [way for way in wanted if "cuda" in way] or wanted
    devices = sorted({"cuda" if "cuda" in way else "cpu" for way in wanted})
    names = wanted + [f"timm {kind} {device}" for device in devices for kind in ("fp32", "bf16")]
    together = [[name] for name in names if "cuda" not in name]  # threads are set but once
    together += [[name for name in names if "cuda" in name]]
    free = {key: value for key, value in os.environ.items() if not key.startswith("OMP_")}
    rates: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(runs):
        for some in filter(None, together):
            command = [sys.executable, __file__, str(model.folder), "--alone", *some]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=free, check=True)
            for name, found in zip(some, done.stdout.split(), strict=True):
                rates[name].append(float(found))
    print(f"{'alone':>16} {'photos/s':>8} {'/ timm':>7}")
    for name, found in rates.items():
        beside = rates[f"timm bf16 {'cuda' if 'cuda' in name else 'cpu'}"]
        ratio = statistics.median(a / b for a, b in zip(found, beside, strict=True))
        print(f"{name:>16} {statistics.median(found):>8.1f} {ratio:>7.2f}", flush=True)


def rate(model: Model, name: str) -> float:
    """Photos a second of one row; the first ones do not count."""
    preprocess = model.config.preprocess
    side = preprocess.image_size
    shape = (CUDA_TOGETHER, len(preprocess.look_shares), side, side, 3)
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    inputs = to_input(pixels[: 64 if "cpu" in name or name == "onnx" else None], preprocess)
    if name == "onnx":
        return measured(encoded_by(Encoder(model.folder).encode, inputs), len(inputs))
    library_name, kind, device = name.split()
    if library_name == "torch":
        encoder = TorchEncoder(model, device, bf16=kind == "bf16")
        if device == "cuda":
            return measured(lambda: encoder.encode_pixels(pixels), len(pixels))
        return measured(encoded_by(encoder.encode_pixels, pixels), len(pixels))
    dtype = torch.bfloat16 if kind == "bf16" else torch.float32
    batches = (8,) if device == "cpu" else (CUDA_CHUNK, CUDA_TOGETHER)
    return max(
        measured(of_timm(model, device, inputs, dtype, batch), len(inputs)) for batch in batches
    )


def measured(encode: Callable[[], object], photos: int) -> float:
    """Photos a second of calls that take so many each."""
    encode()
    began, done = time.perf_counter(), 0
    while time.perf_counter() - began < SECONDS_ALONE:
        encode()
        done += photos
    return done / (time.perf_counter() - began)


def encoded_by(each: Callable[[np.ndarray], object], photos: np.ndarray) -> Callable[[], object]:
    """Photos one at a time, from as many threads as there are cores, as `adapt` does it."""
    return lambda: list(in_order(each, photos))


def of_timm(
    model: Model, device: str, looks: np.ndarray, dtype: torch.dtype, batch: int
) -> Callable[[], object]:
    """The bare network on batches that wait on the device."""
    torch.set_num_threads(workers())
    torch.backends.cudnn.allow_tf32 = False
    form = {"dtype": dtype, "memory_format": torch.channels_last}
    network = backbone.from_model(model.folder, model.config).network.to(device, **form)
    parts = torch.from_numpy(looks).flatten(0, 1).to(device, **form).split(batch)

    def encode() -> None:
        with torch.inference_mode():
            for part in parts:
                network(part)
        if device == "cuda":
            torch.cuda.synchronize()

    return encode


def main() -> None:
    parser = argparse.ArgumentParser(description="adapt by onnxruntime and by torch.")
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--photos", type=int, default=100)
    parser.add_argument("--size", type=int, nargs=2, default=MEGAPIXELS_12)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--ways", nargs="+", help="such as onnx torch_fp32_cuda; all")
    parser.add_argument("--only", choices=("whole", "alone"), help="one of the two tables")
    parser.add_argument("--alone", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.alone:
        model = library.find_model(arguments.models[0])
        print(*(rate(model, name) for name in arguments.alone))
        return
    every = [*ways(torch.cuda.is_available())]
    wanted = [w for w in every if not arguments.ways or w.replace(" ", "_") in arguments.ways]
    print(f"{arguments.photos} photos, {arguments.size}, {workers()} cores")
    with tempfile.TemporaryDirectory() as name:
        photos = Path(name, "photos")
        if arguments.only != "alone":
            write_photos(photos, 10, arguments.photos // 10, tuple(arguments.size))
        for model in map(library.find_model, arguments.models):
            print(f"\n{model.name}, {model.config.preprocess.image_size} px")
            if arguments.only != "alone":
                whole(model, photos, arguments.runs, Path(name), wanted)
            if arguments.only != "whole":
                alone(model, arguments.runs, wanted)


if __name__ == "__main__":
    main()
