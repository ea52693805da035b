"""Time of one task's gradient with LITE against the least that the passes of the network can take.

    python tests/benchmarks/lite_time.py [--backbone NAME] [--size 224] [--learner NAME ...]

The floor is the bare timm network: N forwards without gradient, H and M forwards with their
backwards, in the same chunks and the same precision. With FiLM it also has the set encoder's N
forwards and H forward-backwards. (On a GPU the task, but not the floor, sends several chunks at
once through a pass without gradient: `lite.CHUNKS_WITHOUT_GRAPH`.) Task and floor take turns; the
ratio is the median of the pairs'. All images wait on the device, or with --from-host those of the
task in the processor's memory. Processor time is printed beside the clock's, for a machine that
has other things to do.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from litecli import lite
from litecli.config import FILM_LEARNERS, head_of_learner
from litecli.image_stream import parts
from litecli.networks import backbone
from litecli.networks.devices import resolve_device
from litecli.networks.model import FewShotModel

WAY = 10
QUERIES = (40, 500)  # one batch; 13 batches
Passes = Callable[[], None]


def task_and_floor(
    learner_name: str, num_query: int, arguments: argparse.Namespace
) -> tuple[Passes, Passes]:
    """The two things to time, on the same network and images."""
    device = resolve_device(arguments.device)
    film = learner_name in FILM_LEARNERS
    built = backbone.build(arguments.backbone, "none", arguments.size)
    model = FewShotModel(built, head_of_learner(learner_name, "cosine"), film).to(device)
    model.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    learner = model.functions(arguments.bf16)
    labels = torch.arange(arguments.support) % WAY
    # The same few images over and over: reading them is not what is measured.
    most = arguments.chunk * lite.CHUNKS_WITHOUT_GRAPH
    pool = torch.randn(most, 3, arguments.size, arguments.size, device=device)
    pool = pool.contiguous(memory_format=torch.channels_last)
    read = pool.cpu() if arguments.from_host else pool
    support, query = Repeated(read, arguments.support), Repeated(read, num_query)
    queries = torch.arange(num_query) % WAY
    task = lite.Task(support, labels.to(device), query, queries.to(device))

    def subset(seed: int) -> lite.Subset:
        generator = torch.Generator().manual_seed(seed)
        return lite.draw_subset("lite", labels, arguments.h, generator, False)

    def whole() -> None:
        model.zero_grad()
        lite.task_backward(
            task,
            learner,
            subset=subset(0),
            set_subset=subset(1) if film else None,
            chunk=arguments.chunk,
            query_batch=arguments.chunk,
        )

    def passes(network: torch.nn.Module, backwards: tuple[int, ...]) -> None:
        def outputs(count: int) -> torch.Tensor:
            with torch.autocast(device.type, torch.bfloat16, enabled=arguments.bf16):
                return network(pool[:count])

        with torch.no_grad():
            for part in parts(arguments.support, arguments.chunk):
                outputs(len(part))
        for count in backwards:
            for part in parts(count, arguments.chunk):
                outputs(len(part)).sum().backward()

    def floor() -> None:
        model.zero_grad()
        passes(model.network, (arguments.h, num_query))
        if model.set_encoder is not None:
            passes(model.set_encoder, (arguments.h,))

    return whole, floor


class Repeated:
    """`count` images that are those of `pool` [P, 3, S, S] over and over, P at most at once."""

    def __init__(self, pool: torch.Tensor, count: int) -> None:
        self.pool, self.count = pool, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, indices: torch.Tensor) -> torch.Tensor:
        return self.pool[: len(indices)]


def seconds(run: Passes, device: str) -> tuple[float, float]:
    """Seconds of the clock and of the processor."""
    if device == "cuda":
        torch.cuda.synchronize()
    clock, processor = time.perf_counter(), time.process_time()
    run()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - clock, time.process_time() - processor


def main() -> None:
    parser = argparse.ArgumentParser(description="Time of a task against its passes.")
    parser.add_argument("--backbone", default="mobilenetv2_100")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--support", type=int, default=200)
    parser.add_argument("--h", type=int, default=40)
    parser.add_argument("--chunk", type=int, default=40)
    parser.add_argument("--queries", type=int, nargs="+", default=QUERIES)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument(
        "--from-host",
        action="store_true",
        help="the task's images, not the floor's, are on the CPU",
    )
    learners = ("protonets", "ridge", "cnaps", "simple-cnaps")
    parser.add_argument("--learner", nargs="+", choices=learners, default=learners)
    arguments = parser.parse_args()
    print(
        f"{arguments.backbone}, {arguments.size} px, {'bf16' if arguments.bf16 else 'fp32'}, "
        f"{arguments.device}{' from the host' * arguments.from_host}, "
        f"{torch.get_num_threads()} threads, N = {arguments.support}, "
        f"H = {arguments.h}, chunk {arguments.chunk}, median of {arguments.repeats}"
    )
    print(f"{'learner':>12} {'M':>4} {'floor s':>8} {'task s':>8} {'ratio':>6} {'processor':>9}")
    for learner in arguments.learner:
        for num_query in arguments.queries:
            whole, floor = task_and_floor(learner, num_query, arguments)
            for first in (floor, whole) * 2:
                first()  # kernels are chosen and caches filled
            pairs = [
                (*seconds(floor, arguments.device), *seconds(whole, arguments.device))
                for _ in range(arguments.repeats)
            ]
            floors, _, tasks, _ = (statistics.median(column) for column in zip(*pairs, strict=True))
            ratio = statistics.median(task / least for least, _, task, _ in pairs)
            processor = statistics.median(task / least for _, least, _, task in pairs)
            print(
                f"{learner:>12} {num_query:>4} {floors:>8.3f} {tasks:>8.3f} {ratio:>6.2f} "
                f"{processor:>9.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
