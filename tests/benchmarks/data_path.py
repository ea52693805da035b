"""Does the reading of training images keep the network waiting? Time of a step beside its floor.

    python tests/benchmarks/data_path.py FOLDER [--backbone NAME] [--size 128] [--steps 12]

The photos are decoded once into a file of uint8 squares. `step` reads them from there, cuts out and
augments as training does; `given` takes the same images from memory, ready made. The two take
turns, medians; the share is that of the step in which the network has nothing to do.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from litecli import lite
from litecli.config import EpisodeConfig, PretrainConfig, TrainConfig
from litecli.pictures.training_data import TrainingData, open_data
from litecli.tasks.episodes import sample_episode
from litecli.training.episodic import EpisodicStage
from litecli.training.ranks import Ranks
from litecli.training.run_setup import initial_model
from litecli.training.supervised import SupervisedStage


def timed(work: Callable[[], object]) -> float:
    """Seconds of the clock."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def supervised(config: TrainConfig, data: TrainingData, steps: int) -> tuple[list, list]:
    """Seconds of supervised steps, and of the same steps on batches that are there already."""
    model = initial_model(config, torch.device("cpu"), offline=True)
    stage = SupervisedStage(model, config, data.squares, data.training, None, bf16=True)
    running = stage.steps(0)
    for _ in range(4):  # the threads run ahead, and kernels are chosen
        next(running)
    given = stage.batch(0)
    pairs = [
        (timed(lambda: next(running)), timed(lambda: stage.backward(given))) for _ in range(steps)
    ]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


class Given:
    """Images that were read before."""

    def __init__(self, images: lite.Images) -> None:
        self.pixels = images[torch.arange(len(images))]

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, indices: torch.Tensor) -> torch.Tensor:
        return self.pixels[indices]


def episodic(config: TrainConfig, data: TrainingData, steps: int) -> tuple[list, list]:
    """Seconds of tasks with LITE, and of the same tasks on images that are there already."""
    model = initial_model(config, torch.device("cpu"), offline=True)
    stage = EpisodicStage(model, config, data.squares, data.training, True, Ranks())
    learner = model.functions(True)
    read, given = [], []
    for k in range(steps + 1):
        episode = sample_episode(data.training, config.episodes, config.seed, k)
        task = stage.task(episode, k)
        ready = lite.Task(
            Given(task.support_images),
            task.support_labels,
            Given(task.query_images),
            task.query_labels,
        )
        labels = torch.from_numpy(episode.support_labels)
        draw = torch.Generator().manual_seed(k)
        subset = lite.draw_subset("lite", labels, config.lite_h, draw, stratified=False)
        step = partial(
            lite.task_backward,
            learner=learner,
            subset=subset,
            chunk=config.chunk,
            query_batch=config.query_batch,
        )
        read.append(timed(partial(step, task)))
        given.append(timed(partial(step, ready)))
    return read[1:], given[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description="Time of a training step beside its floor.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--backbone", default="mobilenetv4_conv_small")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=12)
    arguments = parser.parse_args()
    config = TrainConfig(
        data=(str(arguments.folder),),
        backbone=arguments.backbone,
        weights="none",
        image_size=arguments.size,
        pretrain=PretrainConfig(images=128 * 1000, image_size=arguments.size),
        episodes=EpisodeConfig(way_min=10, way_max=10, support_max=100, query=5),
    )
    with tempfile.TemporaryDirectory() as name:
        started, data = time.perf_counter(), None
        for item in open_data(config, Path(name)):
            data = item if isinstance(item, TrainingData) else None
        assert data is not None
        rate = len(data.store) / (time.perf_counter() - started)
        print(f"{len(data.store)} photos decoded once, {rate:.0f} a second")
        print(f"{arguments.backbone}, {arguments.size} px, {torch.get_num_threads()} threads")
        print(f"{'stage':>12} {'step s':>7} {'given s':>8} {'share without work':>19}")
        for stage in (supervised, episodic):
            read, given = stage(config, data, arguments.steps)
            share = statistics.median(1 - b / a for a, b in zip(read, given, strict=True))
            middle = np.median(read), np.median(given)
            print(f"{stage.__name__:>12} {middle[0]:>7.2f} {middle[1]:>8.2f} {share:>19.1%}")


if __name__ == "__main__":
    main()
