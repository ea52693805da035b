"""What keeping freed memory between training steps gives (`litecli.memory.kept`).

    python tests/benchmarks/kept_memory.py [--backbone NAME ...] [--size 128] [--batch 128]

Supervised steps on noise, with the memory kept and handed back in turn, five steps each time:
medians of a step and of the part of the processor's time that the system took, and the most memory
the process had after one.
"""

import argparse
import contextlib
import os
import statistics
import time

import numpy as np
import torch

from litecli import memory
from litecli.config import PretrainConfig, TrainConfig
from litecli.tasks.episodes import Source
from litecli.training.run_setup import initial_model
from litecli.training.supervised import SupervisedStage

BLOCK = 5  # steps of one kind before the other; the first of them finds the other's memory


def measured(network: str, size: int, batch: int, rounds: int) -> None:
    pretrain = PretrainConfig(images=10**7, batch=batch, image_size=size)
    config = TrainConfig(backbone=network, weights="none", image_size=size, pretrain=pretrain)
    model = initial_model(config, torch.device("cpu"), offline=True)
    pixels = np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8)
    sources = [Source("noise", ("a", "b"), (tuple(range(500)), tuple(range(500, 1000))))]
    stage = SupervisedStage(model, config, lambda _: pixels, sources, None, bf16=True)
    given = stage.batch(0)
    seen: dict[bool, list[tuple[float, float, float]]] = {True: [], False: []}

    def step() -> None:
        stage.backward(given)
        stage.optimizer.step()

    step()
    for turn in range(2 * rounds):
        kept = turn % 2 == 0
        with memory.kept() if kept else contextlib.nullcontext():
            for number in range(BLOCK):
                before, began = os.times(), time.perf_counter()
                step()
                after, spent = os.times(), time.perf_counter() - began
                busy = after.user + after.system - before.user - before.system
                if number:
                    share = (after.system - before.system) / max(busy, 1e-9)
                    seen[kept].append((spent, share, memory.resident()))
        memory.give_back()
    for kept, rows in seen.items():
        seconds, shares, resident = zip(*rows, strict=True)
        print(
            f"{network:<24} {'kept' if kept else 'handed back':<12}"
            f"{1e3 * statistics.median(seconds):>9.0f}{100 * statistics.median(shares):>10.0f} %"
            f"{memory.written(max(resident)):>10}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description="Training steps with memory kept and handed back.")
    names = ["mobilenetv4_conv_small", "fasternet_t0"]
    parser.add_argument("--backbone", nargs="+", default=names)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=4, help="of each kind")
    arguments = parser.parse_args()
    print(f"{'network':<24} {'memory':<12}{'ms a step':>9}{'system':>12}{'after it':>10}")
    for network in arguments.backbone:
        measured(network, arguments.size, arguments.batch, arguments.rounds)


if __name__ == "__main__":
    main()
