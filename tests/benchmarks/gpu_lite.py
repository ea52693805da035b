"""LITE on a GPU: memory against N and H, one step against full back-propagation, and its floor.

    python tests/benchmarks/gpu_lite.py [--backbone NAME] [--size 224] [--step-sizes 224 320]
        [--only memory|steps]

A network with random weights, 10 classes, 40 query photos, chunks of 40 that come from the
processor's memory. A gradient's memory is torch.cuda.max_memory_allocated: the model's own (before)
and at the peak of one task. Steps are timed in fp32 (without TF32) and bf16, medians.
`full` is what does not fit first. The floor of a step is measured by lite_time.py.
With `--device cpu` and small numbers the script can be tried without CUDA; memory is not measured
there (lite_memory.py does that).
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator

import torch

from litecli import lite
from litecli.networks import backbone
from litecli.networks.devices import resolve_device
from litecli.networks.model import FewShotModel

WAY, QUERIES, CHUNK, H = 10, 40, 40, 40
SUPPORTS = (40, 100, 200, 500, 1000)
LITE_H, H_SUPPORT = (20, 40, 80, 160), 500
Row = tuple[str, int, int]  # gradient, H, N


class Repeated:
    """`count` images of noise [3, S, S] that are the same few over and over."""

    def __init__(self, size: int, count: int) -> None:
        self.pool = torch.randn(CHUNK, 3, size, size)
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, indices: torch.Tensor) -> torch.Tensor:
        if len(indices) <= CHUNK:
            return self.pool[: len(indices)]
        return self.pool[indices % CHUNK]  # all at once, for `full`


class Bench:
    """Gradients of tasks on one network at one size, and what they take."""

    def __init__(self, backbone_name: str, size: int, device: torch.device) -> None:
        self.size, self.device = size, device
        built = backbone.build(backbone_name, "none", size)
        self.model = FewShotModel(built, "cosine").to(device)
        self.model.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def step(self, row: Row, bf16: bool) -> Callable[[], float]:
        """One task's gradient; it returns the loss as a number, so the GPU is done then."""
        gradient, h, support = row
        learner = self.model.functions(bf16)
        labels, queries = torch.arange(support) % WAY, torch.arange(QUERIES) % WAY
        task = lite.Task(
            Repeated(self.size, support),
            labels.to(self.device),
            Repeated(self.size, QUERIES),
            queries.to(self.device),
        )

        def run() -> float:
            self.model.zero_grad()
            if gradient == "full":
                return lite.task_backward_full(task, learner)
            generator = torch.Generator().manual_seed(0)
            subset = lite.draw_subset(gradient, labels, h, generator, False)
            return lite.task_backward(task, learner, subset=subset, chunk=CHUNK, query_batch=CHUNK)

        return run

    def seconds(self, run: Callable[[], float], repeats: int) -> float:
        """Median of `repeats`, after a first one that does not count."""
        took = []
        for _ in range(repeats + 1):
            began = time.perf_counter()
            run()
            self._finish()
            took.append(time.perf_counter() - began)
        return statistics.median(took[1:])

    def peak(self, run: Callable[[], float]) -> tuple[int, int]:
        """Bytes of tensors before, and at the peak; zeros without CUDA."""
        run()  # gradients are there, and kernels have their workspaces
        if self.device.type != "cuda":
            return 0, 0
        self._finish()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        self._finish()
        return before, torch.cuda.max_memory_allocated()

    def _finish(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def memory_rows(supports: tuple[int, ...], h_support: int) -> Iterator[Row]:
    """Every N with every gradient, then every H; `full` last, for it may not fit."""
    yield from (("lite", H, n) for n in supports)
    yield from (("lite", h, h_support) for h in LITE_H)
    yield from (("exact", 0, n) for n in supports)
    yield from (("full", 0, n) for n in supports)


def memory(bench: Bench, supports: tuple[int, ...], h_support: int, bf16: bool) -> None:
    """Print peaks against N and H, and how much they grow."""
    print(f"\nmemory, {bench.size} px, {'bf16' if bf16 else 'fp32'}")
    print(f"{'gradient':>8} {'H':>4} {'N':>5} {'before MB':>9} {'peak MB':>8}")
    peaks: dict[Row, tuple[int, int]] = {}
    for row in memory_rows(supports, h_support):
        gradient, h, support = row
        if row not in peaks:
            try:
                peaks[row] = bench.peak(bench.step(row, bf16))
            except torch.OutOfMemoryError:
                bench.model.zero_grad()
                torch.cuda.empty_cache()
                print(f"{gradient:>8} {'':>4} {support:>5} out of memory", flush=True)
                continue
        before, peak = (value / 1e6 for value in peaks[row])
        print(f"{gradient:>8} {h or '':>4} {support:>5} {before:>9.0f} {peak:>8.0f}", flush=True)
    low, high = (100 if 100 in supports else supports[0]), supports[-1]
    grown = [(("lite", H, low), ("lite", H, high)), (("exact", 0, low), ("exact", 0, high))]
    grown += [(("full", 0, low), ("full", 0, high))]
    grown += [(("lite", LITE_H[0], h_support), ("lite", LITE_H[-1], h_support))]
    for a, b in grown:
        if a in peaks and b in peaks and peaks[a][1]:
            (start, least), (_, most) = peaks[a], peaks[b]
            alone = (most - start) / (least - start)
            print(f"{a} -> {b}: x {most / least:.3f} (task alone x {alone:.3f})", flush=True)


def times(arguments: argparse.Namespace, device: torch.device) -> None:
    """Print seconds and peak of one LITE step beside full back-propagation."""
    print(f"\none step, N = {arguments.step_support}, H = {H}, M = {QUERIES}")
    print(f"{'pixels':>6} {'kind':>5} {'gradient':>8} {'seconds':>8} {'peak GB':>8}")
    for size in arguments.step_sizes:
        bench = Bench(arguments.backbone, size, device)
        for bf16 in (False, True):
            for gradient in ("lite", "full"):
                run = bench.step((gradient, H, arguments.step_support), bf16)
                kind = "bf16" if bf16 else "fp32"
                line = f"{size:>6} {kind:>5} {gradient:>8}"
                try:
                    _, peak = bench.peak(run)
                    seconds = bench.seconds(run, arguments.repeats)
                except torch.OutOfMemoryError:
                    bench.model.zero_grad()
                    torch.cuda.empty_cache()
                    print(f"{line} out of memory", flush=True)
                    continue
                print(f"{line} {seconds:>8.3f} {peak / 1e9:>8.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="LITE on a GPU.")
    parser.add_argument("--backbone", default="mobilenetv2_100")
    parser.add_argument("--size", type=int, default=224, help="pixels, for the memory")
    parser.add_argument("--supports", type=int, nargs="+", default=SUPPORTS)
    parser.add_argument("--h-support", type=int, default=H_SUPPORT)
    parser.add_argument("--bf16", action="store_true", help="memory in bf16 too")
    parser.add_argument("--only", choices=("memory", "steps"), help="one of the two tables")
    parser.add_argument("--step-sizes", type=int, nargs="+", default=(224, 320))
    parser.add_argument("--step-support", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    arguments = parser.parse_args()
    device = resolve_device(arguments.device)
    where = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    print(f"{arguments.backbone}, {where}, torch {torch.__version__}, chunk {CHUNK}", flush=True)
    if arguments.only != "steps":
        bench = Bench(arguments.backbone, arguments.size, device)
        for bf16 in (False, True)[: 1 + arguments.bf16]:
            memory(bench, tuple(arguments.supports), arguments.h_support, bf16)
        del bench
    if arguments.only != "memory":
        times(arguments, device)


if __name__ == "__main__":
    main()
