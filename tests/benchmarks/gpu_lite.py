"""One LITE step on a GPU, time and memory, beside full back-propagation.

    python tests/benchmarks/gpu_lite.py [--backbone NAME] [--support 1000] [--h 40]

A network with random weights, 10 classes, 40 query photos, chunks of 40 that come from the
processor's memory. Memory is torch.cuda.max_memory_allocated, less what the model takes. `full` is
what does not fit first. With `--device cpu` and small numbers the script can be tried without CUDA;
memory is not measured there (lite_memory.py does that).
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from litecli import backbone, lite
from litecli.model import FewShotModel

WAY, QUERIES, CHUNK = 10, 40, 40


class Repeated:
    """`count` images of noise [3, S, S] that are the same few over and over."""

    def __init__(self, size: int, count: int) -> None:
        self.pool = torch.randn(CHUNK, 3, size, size)
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, indices: torch.Tensor) -> torch.Tensor:
        return self.pool[indices % len(self.pool)]


def steps(size: int, arguments: argparse.Namespace) -> dict[str, Callable[[], float]]:
    """One task's gradient by LITE and by ordinary autograd, on one network."""
    device = torch.device(arguments.device)
    built = backbone.build(arguments.backbone, "none", size)
    model = FewShotModel(built, "cosine").to(device)
    model.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    learner = model.functions(arguments.bf16)
    labels = torch.arange(arguments.support) % WAY
    queries = (torch.arange(QUERIES) % WAY).to(device)
    support = Repeated(size, arguments.support)
    task = lite.Task(support, labels.to(device), Repeated(size, QUERIES), queries)

    def with_lite() -> float:
        model.zero_grad()
        generator = torch.Generator().manual_seed(0)
        subset = lite.draw_subset("lite", labels, arguments.h, generator, False)
        return lite.task_backward(task, learner, subset=subset, chunk=CHUNK, query_batch=CHUNK)

    def in_full() -> float:
        model.zero_grad()
        return lite.task_backward_full(task, learner)

    return {"lite": with_lite, "full": in_full}


def measured(step: Callable[[], float], device: str, repeats: int) -> tuple[float, str]:
    """Median seconds of a step, and the bytes at its peak as text."""
    before = 0
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    took = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        step()  # returns the loss as a number: the GPU is done
        if device == "cuda":
            torch.cuda.synchronize()
        took.append(time.perf_counter() - began)
    peak = f"{(torch.cuda.max_memory_allocated() - before) / 1e9:.2f}" if device == "cuda" else "-"
    return statistics.median(took[1:]), peak


def main() -> None:
    parser = argparse.ArgumentParser(description="A LITE step on a GPU.")
    parser.add_argument("--backbone", default="mobilenetv2_100")
    parser.add_argument("--sizes", type=int, nargs="+", default=(224, 320))
    parser.add_argument("--support", type=int, default=1000)
    parser.add_argument("--h", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("This needs a CUDA device (to try it: --device cpu --support 40 --h 10).")
    where = torch.cuda.get_device_name() if arguments.device == "cuda" else "cpu"
    print(
        f"{arguments.backbone}, {'bf16' if arguments.bf16 else 'fp32'}, {where}, "
        f"N = {arguments.support}, H = {arguments.h}, M = {QUERIES}"
    )
    print(f"{'pixels':>6} {'gradient':>8} {'seconds':>8} {'peak GB':>8}")
    for size in arguments.sizes:
        for name, step in steps(size, arguments).items():
            try:
                seconds, peak = measured(step, arguments.device, arguments.repeats)
            except torch.OutOfMemoryError:
                print(f"{size:>6} {name:>8} out of memory", flush=True)
                continue
            print(f"{size:>6} {name:>8} {seconds:>8.2f} {peak:>8}", flush=True)


if __name__ == "__main__":
    main()
