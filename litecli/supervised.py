"""The supervised stage: ordinary classification, if asked for with teachers to imitate."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from litecli.atlas import Atlas
from litecli.augment import colour_jitter, standardised
from litecli.composites import Pictures, draw_pictures, picture
from litecli.config import TrainConfig
from litecli.episodes import Source
from litecli.model import FewShotModel
from litecli.network_parts import features_and_maps
from litecli.stages import Squares, schedule, set_lr
from litecli.teacher import KeptTeacher, LiveTeacher, fitted
from litecli.threads import in_order, workers

BATCHES_AHEAD = 3
NO_LABEL = -1  # of a composite: it shows no one class
MEASURED = 1000  # pictures, at least, that give a live teacher's mean and spread
# With a live teacher, a crop is never fewer pixels of an image than this square has, but of a
# large image it may be a small part: a model's closer looks show no more.
SMALLEST_SIDE, SMALLEST_SHARE, LARGEST_SMALLEST = 40, 0.12, 0.4


class Batch(NamedTuple):
    """Pictures [B, 3, S, S] in 0 to 255, their lights [B, 4], labels [B], kept features [B, D]."""

    pixels: Tensor
    lights: Tensor
    labels: Tensor  # NO_LABEL for composites
    targets: Tensor  # empty without a KeptTeacher


class SupervisedStage:
    """Ordinary classification of all training classes, with batch statistics that move.

    Episodes freeze those statistics, and a network from random weights does not learn that way.
    They depend on the whole batch, so of many ranks the first trains alone
    and the others wait for its weights. With a `teacher`, linear maps of the student's features
    (and of its maps) also predict the teachers'; they are thrown away afterwards (Hinton et al.,
    2015; Romero et al., 2015). An `atlas` makes the pictures on its device, else threads make them.
    """

    name = "supervised"
    settled = True

    def __init__(
        self,
        model: FewShotModel,
        config: TrainConfig,
        squares: Squares,
        sources: Sequence[Source],
        teacher: KeptTeacher | LiveTeacher | None,
        bf16: bool,
        atlas: Atlas | None = None,
    ) -> None:
        self.model, self.config, self.squares, self.teacher = model, config, squares, teacher
        self.bf16, self.atlas = bf16, atlas
        self.device = model.log_scale.device
        self.preprocess = model.backbone.preprocess
        self.numbers, self.labels = labelled_images(sources)
        self._sides = np.zeros(int(self.numbers.max(initial=-1)) + 1, np.int64)
        self._sides[self.numbers] = [len(squares(int(n))) for n in self.numbers]
        self._shares = image_shares(sources, config.pretrain.balance)
        self._orders: dict[int, np.ndarray] = {}  # epoch -> its order
        self.num_steps = math.ceil(config.pretrain.images / config.pretrain.batch)
        if isinstance(teacher, LiveTeacher):
            count = min(math.ceil(MEASURED / config.pretrain.batch), self.num_steps)
            teacher.measure(self._lit(self.batch(k)) for k in range(count))
        self.extra = self._extra_layers().to(self.device)
        self._learned = parameters = [*model.network.parameters(), *self.extra.parameters()]
        # Norm layers and biases are not decayed: pulling a scale to zero switches a channel off.
        self.optimizer = torch.optim.AdamW(
            [
                {"params": [p for p in parameters if p.ndim > 1]},
                {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
            ],
            lr=config.pretrain.lr,
            weight_decay=config.pretrain.weight_decay,
        )

    def _extra_layers(self) -> nn.ModuleDict:
        """The classifier and what turns the student's features and maps into the teachers'."""
        width = self.model.backbone.num_features
        layers: dict[str, nn.Module] = {
            "classifier": nn.Linear(width, int(self.labels.max(initial=0)) + 1)
        }
        if self.teacher is not None:
            layers["projector"] = nn.Linear(width, self.teacher.width)
        if isinstance(self.teacher, LiveTeacher) and self.teacher.with_maps:
            size = self.config.pretrain.image_size
            with torch.no_grad():
                blank = torch.zeros(1, 3, size, size, device=self.device)
                _, maps = features_and_maps(self.model.network, blank)
            for n, (own, wanted) in enumerate(zip(maps, self.teacher.map_widths, strict=True)):
                layers[f"map{n}"] = nn.Conv2d(own.shape[1], wanted, 1)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            for layer in layers.values():
                layer.reset_parameters()  # type: ignore[operator]
        return nn.ModuleDict(layers)

    def steps(self, first: int) -> Iterator[float]:
        """See `Stage.steps`; batches are made ahead of the network in threads."""
        numbers = range(first, self.num_steps)
        threads = workers(self.config.workers)
        batches = in_order(self.batch, numbers, threads, BATCHES_AHEAD)
        warm = max(1, self.num_steps // 20)
        for k, batch in zip(numbers, batches, strict=True):
            set_lr(self.optimizer, schedule(k, self.num_steps, warm))
            loss = self.backward(batch)
            if math.isfinite(loss):
                self.settled = False
                self.optimizer.step()
            yield loss

    def batch(self, k: int) -> Batch:
        """Batch k, a pure function of its number."""
        side = image_size(self.config.pretrain.image_sizes, k, self.num_steps)
        size, count = self.config.pretrain.batch, len(self.numbers)
        places = np.arange(k * size, (k + 1) * size)
        picked = np.array([self._shuffled(int(place // count))[place % count] for place in places])
        rng = np.random.default_rng((self.config.seed, k, 0))
        targets = np.zeros(0, np.float32)
        if isinstance(self.teacher, KeptTeacher):
            pictures, targets = self.teacher.lessons(self.numbers[picked], rng)
        else:
            mix, smallest = 0.0, self.config.smallest_crop
            if self.teacher is not None:
                mix, smallest = self.config.pretrain.mix, smallest_crops(self._sides)
            pictures = draw_pictures(self.numbers[picked], self._sides, mix, smallest, rng)
        lights = rng.uniform(-1.0, 1.0, size=(size, 4)).astype(np.float32)
        labels = np.where(pictures.single, self.labels[picked], NO_LABEL)
        pixels = self._pixels(pictures, side)
        return Batch(pixels, *map(torch.from_numpy, (lights, labels, targets)))

    def _pixels(self, pictures: Pictures, side: int) -> Tensor:
        if self.atlas is not None:
            return self.atlas.render(pictures, side)
        made = [picture(pictures, row, self.squares, side) for row in range(len(pictures))]
        return torch.stack(made)

    def _lit(self, batch: Batch) -> Tensor:
        """The pictures under their lights, float [B, 3, S, S] in 0 to 255 on the device."""
        pixels, lights = batch.pixels.to(self.device).float(), batch.lights.to(self.device)
        return colour_jitter(pixels, lights)

    def _shuffled(self, epoch: int) -> np.ndarray:
        # One epoch's order is asked for by every batch of it: the last two are kept.
        order = self._orders.get(epoch)
        if order is None:  # another thread may drop it again: `order` is what this one uses
            rng = np.random.default_rng((self.config.seed, epoch))
            count = len(self.numbers)
            if self._shares is None:
                order = rng.permutation(count)
            else:
                order = rng.choice(count, count, p=self._shares)
            self._orders[epoch] = order
            self._orders.pop(epoch - 2, None)
        return order

    def backward(self, batch: Batch) -> float:
        """The loss, its clipped gradient in `.grad`; the batch statistics move if all is finite."""
        network = self.model.network
        statistics = [buffer.clone() for buffer in network.buffers()]
        mean = math.nan
        try:
            network.train()
            loss = self.loss(batch)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            # All that learns, in one norm: what belongs to the stage alone can go astray too.
            limit = self.config.pretrain.clip or math.inf
            norm = nn.utils.clip_grad_norm_(self._learned, limit)
            mean = float(loss.detach()) if bool(norm.isfinite()) else math.nan
        finally:
            network.eval()
            if not math.isfinite(mean):  # also when Ctrl-C or a lack of memory cut the step off
                for buffer, before in zip(network.buffers(), statistics, strict=True):
                    buffer.copy_(before)
        return mean

    def loss(self, batch: Batch) -> Tensor:
        """Of a batch: cross-entropy, and what the teachers make of it."""
        settings, teacher = self.config.pretrain, self.teacher
        pixels, labels = self._lit(batch), batch.labels.to(self.device)
        targets, wanted_maps = batch.targets.to(self.device), []
        if isinstance(teacher, LiveTeacher):
            lesson = teacher.lesson(pixels)
            targets, wanted_maps = lesson.features, lesson.maps
        inputs = standardised(pixels, self.preprocess).contiguous(memory_format=torch.channels_last)
        maps: list[Tensor] = []
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            if wanted_maps:
                features, maps = features_and_maps(self.model.network, inputs)
            else:
                features = self.model.network(inputs)
            logits = self.extra["classifier"](features)
            imitated = self.extra["projector"](features) if teacher is not None else None
            maps = [self.extra[f"map{n}"](own) for n, own in enumerate(maps)]
        loss = functional.cross_entropy(
            logits.float(),
            labels,
            ignore_index=NO_LABEL,
            reduction="sum",
            label_smoothing=settings.label_smoothing,
        ) / (labels != NO_LABEL).sum().clamp(min=1)
        if imitated is not None:
            loss = loss + settings.teacher_weight * apart(imitated, targets)
        for own, wanted in zip(maps, wanted_maps, strict=True):
            loss = loss + settings.map_weight / len(maps) * apart(own, fitted(wanted, own))
        return loss


def apart(found: Tensor, wanted: Tensor) -> Tensor:
    """1 - cosine over the channels, the mean of all pictures (and places): [B, C, ...]."""
    return 1 - functional.cosine_similarity(found.float(), wanted, dim=1).mean()


def smallest_crops(sides: np.ndarray) -> np.ndarray:
    """Least share of the area that a crop of each square keeps, for squares of `sides` [n]."""
    share = (SMALLEST_SIDE / np.maximum(sides, 1)) ** 2
    return np.clip(share, SMALLEST_SHARE, LARGEST_SMALLEST)


def image_size(sizes: Sequence[int], step: int, num_steps: int) -> int:
    """Side of the images of a step: the last half of the stage goes through `sizes` in turn.

    Small images teach most of what large ones do, in a fraction of the time (Tan and Le, 2021).
    """
    half = num_steps // 2
    late = max(0, step - half) * (len(sizes) - 1) / max(1, num_steps - half)
    return sizes[math.ceil(late)]


def image_shares(sources: Sequence[Source], balance: float) -> np.ndarray | None:
    """How often each of `labelled_images` comes, [n], sum 1: as its collection's size ^ -balance.

    A collection of many small pictures would otherwise drown those of few large ones. None: all
    equally often.
    """
    if not balance:
        return None
    sizes = [sum(map(len, source.support)) for source in sources]
    weights = np.repeat(np.array(sizes, np.float64) ** -balance, sizes)
    return weights / weights.sum()


def labelled_images(sources: Sequence[Source]) -> tuple[np.ndarray, np.ndarray]:
    """Image numbers [n] and class labels [n] of all classes of all sources, numbered through."""
    numbers: list[int] = []
    labels: list[int] = []
    label = 0
    for source in sources:
        for pool in source.support:
            numbers.extend(pool)
            labels.extend([label] * len(pool))
            label += 1
    return np.array(numbers, dtype=np.int64), np.array(labels, dtype=np.int64)
