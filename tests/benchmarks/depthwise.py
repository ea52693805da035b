"""Time of a training step in bf16 on a CPU, with depthwise convolutions in bf16 and in fp32.

    python tests/benchmarks/depthwise.py [--backbone NAME ...] [--size 96] [--batch 64]

`FewShotModel` computes them in fp32 (`devices.depthwise_in_fp32`): oneDNN has no bf16 kernel for
most of their gradients. The two take turns; a step is forward and backward, random weights.
"""

import argparse
import statistics
import time

import timm
import torch

from litecli.networks.devices import depthwise_in_fp32

NETWORKS = ("mobilenetv4_conv_small", "mobilenetv2_100", "efficientnet_b0", "convnext_atto")


def seconds(network: torch.nn.Module, images: torch.Tensor, bf16: bool) -> float:
    """Seconds of one forward and backward pass."""
    start = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        outputs = network(images)
    outputs.float().square().mean().backward()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description="Depthwise convolutions in bf16 and fp32.")
    parser.add_argument("--backbone", nargs="+", default=NETWORKS)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    print(
        f"{arguments.size} px, batch {arguments.batch}, {torch.get_num_threads()} threads, seconds"
    )
    print(f"{'network':>24} {'fp32':>6} {'bf16':>6} {'mixed':>6} {'bf16/mixed':>10}")
    for name in arguments.backbone:
        networks = [timm.create_model(name, num_classes=0) for _ in range(2)]
        depthwise_in_fp32(networks[1])
        for network in networks:
            network.eval().to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        images = torch.randn(arguments.batch, 3, arguments.size, arguments.size)
        images = images.contiguous(memory_format=torch.channels_last)
        ways = ((networks[0], False), (networks[0], True), (networks[1], True))
        rounds = [
            [seconds(network, images, bf16) for network, bf16 in ways]
            for _ in range(arguments.repeats + 1)
        ][1:]  # the first chooses kernels
        fp32, bf16, mixed = (statistics.median(column) for column in zip(*rounds, strict=True))
        ratio = statistics.median(row[1] / row[2] for row in rounds)
        print(f"{name:>24} {fp32:>6.2f} {bf16:>6.2f} {mixed:>6.2f} {ratio:>10.2f}", flush=True)


if __name__ == "__main__":
    main()
