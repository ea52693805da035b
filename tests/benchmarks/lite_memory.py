"""Peak memory and time of one task's gradient against the support size, by gradient.

    python tests/benchmarks/lite_memory.py [--backbone NAME] [--size 224] [--device cpu|cuda]

Each cell is a process of its own. On a CPU the peak is the process's largest resident size less
what it had before the first image; images are made when they are asked for, as training reads
them. `floor` is the time of N forwards without gradient and H + M forward-backwards of the bare
network, measured in the same process; `full` is ordinary back-propagation.
"""

import argparse
import json
import resource
import subprocess
import sys
import time

SUPPORTS = (40, 100, 200, 500, 1000)
LITE_H = (20, 40, 160)
QUERIES, WAY = 40, 10


def measure(arguments: argparse.Namespace) -> dict[str, float]:
    """Peak bytes and seconds of one task (after a small one that warms up)."""
    import timm
    import torch

    from litecli import backbone, lite, stages
    from litecli.model import FewShotModel

    device = torch.device(arguments.device)
    built = backbone.build(arguments.backbone, "none", arguments.size)
    assert timm.is_model(arguments.backbone)
    model = FewShotModel(built, "cosine").to(device)

    class Noise:
        """Images [n, 3, S, S] that exist only while they are used."""

        def __init__(self, count: int) -> None:
            self.count = count

        def __len__(self) -> int:
            return self.count

        def __getitem__(self, indices: torch.Tensor) -> torch.Tensor:
            generator = torch.Generator().manual_seed(int(indices[0]))
            return torch.randn(len(indices), 3, arguments.size, arguments.size, generator=generator)

    def run(num_support: int, gradient: str, num_back: int) -> None:
        labels = torch.arange(num_support) % WAY
        task = lite.Task(
            Noise(num_support),
            labels.to(device),
            Noise(QUERIES),
            torch.arange(QUERIES).to(device) % WAY,
        )
        model.zero_grad()
        if gradient == "full":
            lite.task_backward_full(task, model.features, model.fit, model.summed_loss)
        else:
            generator = torch.Generator().manual_seed(stages.hash_seed(0))
            subset = lite.draw_subset(gradient, labels, num_back, generator, False)
            lite.task_backward(
                task,
                model.features,
                model.fit,
                model.summed_loss,
                subset=subset,
                chunk=arguments.chunk,
                query_batch=arguments.chunk,
            )

    def floor(num_support: int, num_back: int) -> float:
        started = time.perf_counter()
        lite.encode_all(model.features, Noise(num_support), arguments.chunk)
        for count in (num_back, QUERIES):
            images = Noise(count)
            for part in lite.parts(count, arguments.chunk):
                model.features(images[part]).sum().backward()
        return time.perf_counter() - started

    def peak() -> float:
        if device.type == "cuda":
            return torch.cuda.max_memory_allocated()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    run(WAY, "exact", WAY)
    before = peak() if device.type == "cpu" else 0
    started = time.perf_counter()
    run(arguments.support, arguments.gradient, arguments.h)
    seconds = time.perf_counter() - started
    result = {"bytes": peak() - before, "peak": peak(), "seconds": seconds}
    back = (
        arguments.support if arguments.gradient == "exact" else min(arguments.h, arguments.support)
    )
    return {**result, "floor": floor(arguments.support, back)}


def main() -> None:
    parser = argparse.ArgumentParser(description="Memory and time of a support gradient.")
    parser.add_argument("--backbone", default="mobilenetv3_small_100")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--chunk", type=int, default=40)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--supports", type=int, nargs="+", default=SUPPORTS)
    parser.add_argument("--support", type=int)
    parser.add_argument("--gradient", default="lite")
    parser.add_argument("--h", type=int, default=40)
    arguments = parser.parse_args()
    if arguments.support is not None:
        print(json.dumps(measure(arguments)))
        return
    rows = [("lite", h) for h in LITE_H] + [("exact", 0), ("full", 0)]
    print(f"{arguments.backbone}, {arguments.size} px, M = {QUERIES}, chunk {arguments.chunk}")
    print(f"{'gradient':>9} {'H':>4} {'N':>5} {'peak MB':>8} {'seconds':>8} {'of floor':>8}")
    for gradient, h in rows:
        for support in arguments.supports:
            command = [sys.executable, __file__, *sys.argv[1:], "--support", str(support)]
            command += ["--gradient", gradient, "--h", str(h)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                print(f"{gradient:>9} {h:>4} {support:>5}  did not fit")
                continue
            found = json.loads(done.stdout.splitlines()[-1])
            ratio = "" if gradient == "full" else f"{found['seconds'] / found['floor']:.2f}"
            print(
                f"{gradient:>9} {h or '':>4} {support:>5} {found['peak'] / 1e6:>8.0f} "
                f"{found['seconds']:>8.2f} {ratio:>8}",
                flush=True,
            )


if __name__ == "__main__":
    main()
