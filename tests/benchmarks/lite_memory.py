"""Peak memory of one task's gradient against the support size N and the number H that go back.

    python tests/benchmarks/lite_memory.py [--backbone NAME] [--size 224] [--device cpu|cuda]

Each row is a process of its own that does one task on a network with random weights. Photos are
read from a file of decoded squares as training reads them, a chunk at a time. The peak is the
largest resident size of the whole process, torch and all (CPU), or torch.cuda.max_memory_allocated;
"task" is that less what the process had before its first task. `full` is ordinary back-propagation,
left out where it would need more than --most GB.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

SUPPORTS = (40, 100, 200, 500, 1000)
LITE_H = (20, 40, 80, 160)
DEFAULT_H, H_SUPPORT = 40, 500
QUERIES, WAY = 40, 10
STORED = 256  # pixels of a stored square's side, as for networks of 224
Row = tuple[str, int, int]  # gradient, H, N


def measure(arguments: argparse.Namespace) -> dict[str, float]:
    """Bytes before and at the peak of one task."""
    import torch

    from litecli import lite, memory
    from litecli.image_stream import ImagesByNumber
    from litecli.networks import backbone
    from litecli.networks.model import FewShotModel
    from litecli.pictures.augment import View
    from litecli.pictures.pixels import PixelStore

    device = torch.device(arguments.device)
    built = backbone.build(arguments.backbone, "none", arguments.size)
    model = FewShotModel(built, "cosine", film=arguments.film).to(device)
    model.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    learner = model.functions(arguments.bf16)
    view = View(PixelStore(arguments.store).__getitem__, built.preprocess, augment=(0, 0))

    def task(num_support: int) -> lite.Task:
        numbers = torch.arange(num_support).numpy()
        labels = (torch.arange(num_support) % WAY).to(device)
        queries = ImagesByNumber(view, numbers[:QUERIES])
        return lite.Task(ImagesByNumber(view, numbers), labels, queries, labels[:QUERIES])

    def peak() -> int:
        if device.type == "cuda":
            return torch.cuda.max_memory_allocated()
        return memory.peak_resident()

    before = torch.cuda.memory_allocated() if device.type == "cuda" else memory.resident()
    if arguments.gradient == "full":
        lite.task_backward_full(task(arguments.support), learner)
    else:
        labels = torch.arange(arguments.support) % WAY

        def subset(seed: int) -> lite.Subset:
            generator = torch.Generator().manual_seed(seed)
            return lite.draw_subset(arguments.gradient, labels, arguments.h, generator, False)

        lite.task_backward(
            task(arguments.support),
            learner,
            subset=subset(0),
            set_subset=subset(1) if arguments.film else None,
            chunk=arguments.chunk,
            query_batch=arguments.chunk,
        )
    return {"before": before, "peak": peak()}


def store_squares(folder: Path, count: int) -> None:
    """Write `count` squares of noise as the cache of a training run."""
    import numpy as np

    from litecli.pictures import pixels

    def square(number: int) -> np.ndarray:
        rng = np.random.default_rng(number)
        return rng.integers(0, 256, (STORED, STORED, 3), dtype=np.uint8)

    for _ in pixels.cache(square, count, "noise", folder, workers=1):
        pass


def rows(arguments: argparse.Namespace) -> list[Row]:
    """What is measured: every N, then every H at N = 500."""
    wanted: list[Row] = []
    for gradient in ("lite", "exact", "full"):
        h = DEFAULT_H if gradient == "lite" else 0
        wanted += [(gradient, h, n) for n in arguments.supports]
    return wanted + [("lite", h, H_SUPPORT) for h in LITE_H if arguments.h_sweep]


def growth(peaks: dict[Row, dict[str, float]], low: Row, high: Row, what: str) -> None:
    """Print the ratio of two rows, of the whole process and of the task alone."""
    if low in peaks and high in peaks:
        a, b = peaks[low], peaks[high]
        alone = (b["peak"] - b["before"]) / (a["peak"] - a["before"])
        print(f"{what}: x {b['peak'] / a['peak']:.2f} (task alone x {alone:.2f})")


def main() -> None:
    parser = argparse.ArgumentParser(description="Memory of a support gradient.")
    parser.add_argument("--backbone", default="mobilenetv2_100")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--chunk", type=int, default=40)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--film", action="store_true")
    parser.add_argument("--supports", type=int, nargs="+", default=SUPPORTS)
    parser.add_argument("--h-sweep", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--most", type=float, default=16, help="GB that `full` may need")
    parser.add_argument("--support", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--gradient", default="lite", help=argparse.SUPPRESS)
    parser.add_argument("--h", type=int, default=DEFAULT_H, help=argparse.SUPPRESS)
    parser.add_argument("--store", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.support is not None:
        print(json.dumps(measure(arguments)))
        return
    print(
        f"{arguments.backbone}, {arguments.size} px, {'bf16' if arguments.bf16 else 'fp32'}, "
        f"{arguments.device}, M = {QUERIES}, chunk {arguments.chunk}"
    )
    print(f"{'gradient':>9} {'H':>4} {'N':>5} {'before MB':>9} {'peak MB':>8}")
    peaks: dict[Row, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        store_squares(Path(name), max(*arguments.supports, H_SUPPORT))
        for row in rows(arguments):
            gradient, h, support = row
            small = peaks.get(("full", 0, arguments.supports[0]))
            if gradient == "full" and small is not None:
                per_photo = (small["peak"] - small["before"]) / (arguments.supports[0] + QUERIES)
                needed = small["before"] + per_photo * (support + QUERIES)
                if needed > arguments.most * 1e9:
                    print(f"{gradient:>9} {'':>4} {support:>5} {'':>9} (about {needed / 1e6:.0f})")
                    continue
            if row not in peaks:
                command = [sys.executable, __file__, *sys.argv[1:], "--support", str(support)]
                command += ["--gradient", gradient, "--h", str(h), "--store", name]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if done.returncode != 0:
                    last = done.stderr.strip().splitlines()[-1:]
                    print(f"{gradient:>9} {h or '':>4} {support:>5} failed: {last}")
                    continue
                peaks[row] = json.loads(done.stdout.splitlines()[-1])
            print(
                f"{gradient:>9} {h or '':>4} {support:>5} {peaks[row]['before'] / 1e6:>9.0f} "
                f"{peaks[row]['peak'] / 1e6:>8.0f}",
                flush=True,
            )
    for gradient, h in (("lite", DEFAULT_H), ("exact", 0), ("full", 0)):
        growth(peaks, (gradient, h, 100), (gradient, h, 1000), f"{gradient}, N 100 -> 1000")
    low, high = ("lite", LITE_H[0], H_SUPPORT), ("lite", LITE_H[-1], H_SUPPORT)
    growth(peaks, low, high, f"lite, H {LITE_H[0]} -> {LITE_H[-1]} at N = {H_SUPPORT}")


if __name__ == "__main__":
    main()
