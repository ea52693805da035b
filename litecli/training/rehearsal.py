"""A training step rehearsed on made-up photos, to see what it takes and make it fit a memory.

`chunk` and `query_batch` are all there is to lower: they change no result, and with the passes of
lite.py neither the support size nor H makes a difference to the peak.

On a CPU the peak is the resident memory of the whole process, libraries and mapped photos too. For
the run to come out as rehearsed, training does not keep memory that is freed (`memory.kept`), and
the photos' file is mapped a little at a time (`FewMapped`).
"""

import copy
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import torch

from litecli import memory, storage
from litecli.config import EpisodeConfig, TrainConfig
from litecli.errors import ExitCode, LiteError
from litecli.networks.model import FewShotModel
from litecli.pictures.pixels import MAPPED, PixelStore
from litecli.pictures.training_data import TrainingData, stored_side
from litecli.tasks.episodes import Source
from litecli.training.best_model import write_best
from litecli.training.episodic import EpisodicStage
from litecli.training.meter import Meter
from litecli.training.run_folder import STATE_FILE
from litecli.training.supervised import SupervisedStage
from litecli.training.task_size import graph_bytes, kept_bytes
from litecli.training.validation import validate

ROOM = 0.88  # share of the memory asked for that a lowered chunk may fill: runs take a little more
SPREAD = 1.3  # what a graph takes against its tensors' bytes, before that is measured
PIECES = 1.2  # on a CPU: many tasks leave free memory in smaller pieces than one rehearsal does
WRITING = 150_000_000  # bytes of the libraries that export a model on a CPU, and of their work
LEFT = 3  # copies of what is learned that a step leaves: its gradient, and Adam's two moments


class Rehearsal:
    """Steps of the episodic stage that learn nothing; `peaks` is photos at once -> bytes."""

    def __init__(self, config: TrainConfig, model: FewShotModel, bf16: bool) -> None:
        self.config, self.model, self.bf16 = config, model, bf16
        self.device = model.log_scale.device
        self.meter = Meter(self.device)
        if not self.meter.tells:
            raise LiteError(
                f"This system does not tell how much memory {self.device.type} takes.",
                fix="leave out --memory; choose --chunk and --query-batch",
                code=ExitCode.USAGE,
            )
        self.before = self.meter.now()
        self.unloaded = 0  # bytes of libraries that only a run will load
        side = stored_side(config)
        noise = np.random.default_rng(0)
        self.square = noise.integers(0, 256, (side, side, 3), dtype=np.uint8)
        self.graph = graph_bytes(model.network, config.image_size, bf16)
        self.peaks: dict[int, int] = {}

    def grow(self, most: int, limit: int) -> int:
        """Rehearse with 1, 2, 4, ... `most` photos at once; the most that fit `limit` bytes.

        A number is tried only when it is expected to fit. At least 1, whether that fits or not.
        """
        photos, peak = 1, self.peak(1)
        while photos < most:
            slope = max(SPREAD * self.graph, self.slope())
            # All of `most` may fill the limit; less than that leaves room for what varies.
            everything = peak + slope * (most - photos) <= limit
            room = int(((limit if everything else ROOM * limit) - peak) / slope)
            if room < 1:
                break
            further = min(most, 2 * photos, photos + room)
            if self.peak(further) > (limit if further == most else ROOM * limit):
                break
            photos, peak = further, self.peaks[further]
        return photos

    def slope(self) -> float:
        """Bytes that one more photo takes, by the last two sizes; never below its tensors'."""
        if len(self.peaks) < 2:
            return self.graph
        (few, low), (many, high) = list(self.peaks.items())[-2:]
        return max(self.graph, (high - low) / (many - few))

    def expected(self, photos: int) -> int:
        """The peak in bytes with this many photos at once: tried, or in a straight line on."""
        if photos in self.peaks:
            return self.peaks[photos]
        tried = max(self.peaks)
        return self.peaks[tried] + round(self.slope() * (photos - tried))

    def so_far(self) -> int:
        """Bytes that are in the final peak whatever comes: a process's memory has been had."""
        return memory.peak_resident() if self.device.type == "cpu" else 0

    def peak(self, photos: int) -> int:
        """Bytes to expect of a run in which graphs of `photos` photos exist at once."""
        stages = [
            EpisodicStage(self.model, trial, self._square, [_source(photos)], self.bf16)
            for trial in self._trials(photos)
        ]
        parameters = list(self.model.parameters())
        learned = [parameter.requires_grad for parameter in parameters]
        self.model.ask_for_gradients(network=self.config.backbone_lr > 0)
        memory.give_back()  # what smaller steps left behind is no use to this one
        self.meter.reset()
        # What Adam will remember of the weights is there while the graphs are.
        moments = self._copies(2, self.config.backbone_lr > 0)
        for stage in stages:
            stage.task_step(0, 1.0)
        del moments
        for parameter, learns in zip(parameters, learned, strict=True):
            parameter.grad = None
            parameter.requires_grad_(learns)
        self.peaks[photos] = self._in_pieces(self.meter.peak())
        return self.peaks[photos]

    def head_bytes(self, support: int) -> int:
        """Bytes that features, and the head fitted to them, take with `support` photos."""
        shape = (support, self.model.backbone.num_features)
        features = torch.rand(shape, device=self.device, requires_grad=True)
        way = min(self.config.episodes.way_max, support)
        labels = torch.arange(support, device=self.device) % way
        kept = kept_bytes(lambda: self.model.fit(features, labels), set())
        mapped = MAPPED if self.device.type == "cpu" else 0
        return kept + 2 * features.nbytes + mapped  # the photos' own, and their gradient

    def supervised(self, limit: int) -> int:
        """Bytes at the peak of a supervised step, if about `limit` or less; 0 without the stage."""
        pretrain = self.config.pretrain
        if not pretrain.images:
            return 0
        largest = pretrain.image_sizes[-1]
        area = (largest / self.config.image_size) ** 2
        about = self.before + 4 * self._weights() + round(pretrain.batch * area * self.graph)
        if about > limit:
            return about
        several = replace(pretrain, images=8 * pretrain.batch, image_size=largest, teacher=())
        config = replace(self.config, pretrain=several)
        sources = [_source(pretrain.batch)]
        memory.give_back()
        self.meter.reset()
        # On a copy: the step moves weights and batch statistics, and may draw random numbers.
        with torch.random.fork_rng():
            model = copy.deepcopy(self.model)
            stage = SupervisedStage(model, config, self._square, sources, None, self.bf16)
            for _ in zip(range(2), stage.steps(0), strict=False):  # later batches are made ahead
                pass
        return self.meter.peak() + self.unloaded

    def writing(self, limit: int) -> int:
        """Bytes when a model is validated and written; 0 on CUDA: there the CPU's memory is used.

        Done for real if about `limit` or less are needed. What stays of it is there in all steps.
        """
        if self.device.type == "cuda":
            return 0
        memory.give_back()
        about = self.meter.now() + WRITING + (4 + LEFT) * self._weights()
        if about > limit:
            self.unloaded = WRITING
            self.before += self.unloaded
            return about
        short = replace(self.config, chunk=1, val_tasks=1, inner_steps=1, out="rehearsal")
        pools = (tuple(range(10)), tuple(range(10, 20)))
        store = cast(PixelStore, _Same(self.square))
        data = TrainingData(store, "", (), (Source("rehearsal", ("a", "b"), pools),), ())
        learned = self.config.backbone_lr > 0 or self.config.pretrain.images > 0
        for _ in range(2):  # the first time loads libraries, which are beside all that follows
            self.meter.reset()
            moments, gradients = self._copies(2, learned), self._copies(1, learned)
            with torch.random.fork_rng(devices=[]), tempfile.TemporaryDirectory() as scratch:
                for _ in validate(self.model, data, short, self.bf16):
                    pass
                write_best(self.model, short, Path(scratch) / "model", data, "", 2, [1.0, 1.0])
                memory.give_back()
                state = [*self.model.state_dict().values(), *moments]
                tensors = {str(n): tensor.numpy() for n, tensor in enumerate(state)}
                storage.write_tensors(Path(scratch) / STATE_FILE, tensors, {})
                import matplotlib.backends.backend_agg  # noqa: F401  of the curves
            peak = self.meter.peak()
            del moments, gradients, state, tensors
            memory.give_back()
        self.before = self.meter.now()
        return self._in_pieces(peak) + MAPPED  # no photos' file is mapped here

    def _in_pieces(self, peak: int) -> int:
        """What a peak that was rehearsed will be after many tasks."""
        pieces = PIECES if self.device.type == "cpu" else 1.0
        return self.before + round(pieces * (peak + self.unloaded - self.before))

    def _copies(self, count: int, network: bool) -> list[torch.Tensor]:
        """Ones like all that is learned, with or without the network's own weights."""
        named = self.model.named_parameters()
        learned = [p for name, p in named if network or not name.startswith("network.")]
        return [torch.ones_like(parameter) for parameter in learned for _ in range(count)]

    def _weights(self) -> int:
        return sum(parameter.nbytes for parameter in self.model.parameters())

    def _trials(self, photos: int) -> list[TrainConfig]:
        """Settings of tasks, every kind of pass of which has `photos` photos at once, and fewer."""
        # Of several sizes, as real ones: memory that is in pieces is part of the peak.
        counts = (2 * photos - 1, photos + photos // 2, photos + photos // 3, 2 * photos - 1)
        whole = self.config.gradient == "full"  # then there is one size
        return [self._trial(photos, n) for n in (counts[:1] if whole else dict.fromkeys(counts))]

    def _trial(self, photos: int, count: int) -> TrainConfig:
        """Settings of a task of `count` support and query photos, `photos` of them at once."""
        # One class, for then the sampler takes exactly what is asked for.
        episodes = EpisodeConfig(1, 1, count, count, count)
        sizes = {"chunk": photos, "query_batch": photos, "lite_h": count}
        if self.config.gradient == "full":  # support and query at once
            half = photos - photos // 2
            episodes = EpisodeConfig(1, 1, half, half, max(1, photos // 2))
        return replace(self.config, episodes=episodes, inner_steps=2, **sizes)

    def _square(self, number: int) -> np.ndarray:
        return self.square


class _Same:
    """The same square under every number."""

    def __init__(self, square: np.ndarray) -> None:
        self.square = square

    def __getitem__(self, number: int) -> np.ndarray:
        return self.square


def _source(photos: int) -> Source:
    """One class with more photos than a task of `_trial` asks for."""
    return Source("rehearsal", ("noise",), (tuple(range(4 * photos)),))
