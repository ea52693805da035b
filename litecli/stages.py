"""The stages of meta-training, each a sequence of steps that are pure functions of their number.

A stage owns its optimiser and any layers that only it needs. Step k draws everything random from
(seed, k), so that a run stopped after any step and resumed ends with the same weights.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from litecli import images, lite
from litecli.augment import View, jittered_inputs, random_box, resized
from litecli.config import TrainConfig
from litecli.episodes import Episode, Source, sample_episode
from litecli.lite import Task
from litecli.model import FewShotModel
from litecli.teacher import teacher_box

Squares = Callable[[int], np.ndarray]  # image number -> uint8 [side, side, 3]
BATCHES_AHEAD = 3


class Stage(Protocol):
    """What the training loop needs of a stage."""

    name: str
    num_steps: int
    extra: nn.ModuleDict  # layers that belong to the stage, not to the model
    settled: bool  # False while the weights belong to no counted step: no state to save

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """The stage's own optimiser."""
        ...

    def steps(self, first: int) -> Iterator[float]:
        """Take steps `first` to `num_steps` - 1, yielding each one's mean loss.

        A step whose loss or gradient is not finite, or that is interrupted, changes nothing; the
        former yields NaN. `settled` is False from the update on; who counts the step sets it again.
        """
        ...


@dataclass(frozen=True)
class Teacher:
    """Features of a teacher network on fixed random crops of every training image.

    `features` is float16 [views, num_images, D]; crop v of image n is `teacher_box(side, v, n)`.
    """

    features: np.ndarray
    mean: np.ndarray  # float32 [D], over all images
    std: np.ndarray  # float32 [D]

    @classmethod
    def of(cls, features: np.ndarray) -> "Teacher":
        """The teacher with the statistics of (at most 20,000 of) its own features."""
        sample = features[0, :: -(-features.shape[1] // 20_000)].astype(np.float32)
        return cls(features, sample.mean(axis=0), sample.std(axis=0) + 1e-3)

    def standardised(self, features: np.ndarray) -> np.ndarray:
        """Features [B, D] with mean 0 and spread 1: a cosine then compares what differs."""
        return (features - self.mean) / self.std


class SupervisedStage:
    """Ordinary classification of all training classes, with batch statistics that move.

    Episodes freeze those statistics, and a network from random weights does not learn that way
    (design decision 12). With a `teacher`, the student's features also predict the teacher's,
    by a linear map that is thrown away afterwards (Hinton et al., 2015; Romero et al., 2015).
    """

    name = "supervised"
    settled = True

    def __init__(
        self,
        model: FewShotModel,
        config: TrainConfig,
        squares: Squares,
        sources: Sequence[Source],
        teacher: Teacher | None,
        bf16: bool,
    ) -> None:
        self.model, self.config, self.squares, self.teacher = model, config, squares, teacher
        self.bf16 = bf16
        self.device = model.log_scale.device
        self.preprocess = replace(model.backbone.preprocess, image_size=config.pretrain.image_size)
        self.numbers, self.labels = labelled_images(sources)
        self._orders: dict[int, np.ndarray] = {}  # epoch -> its order
        self.num_steps = math.ceil(config.pretrain.images / config.pretrain.batch)
        width = model.backbone.num_features
        layers: dict[str, nn.Module] = {
            "classifier": nn.Linear(width, int(self.labels.max(initial=0)) + 1)
        }
        if teacher is not None:
            layers["projector"] = nn.Linear(width, teacher.features.shape[-1])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            for layer in layers.values():
                layer.reset_parameters()  # type: ignore[operator]
        self.extra = nn.ModuleDict(layers).to(self.device)
        parameters = [*model.network.parameters(), *self.extra.parameters()]
        # Norm layers and biases are not decayed: pulling a scale to zero switches a channel off.
        self.optimizer = torch.optim.AdamW(
            [
                {"params": [p for p in parameters if p.ndim > 1]},
                {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
            ],
            lr=config.pretrain.lr,
            weight_decay=config.pretrain.weight_decay,
        )

    def steps(self, first: int) -> Iterator[float]:
        """See `Stage.steps`; batches are made ahead of the network in threads."""
        numbers = range(first, self.num_steps)
        workers = self.config.workers or 2
        batches = images.in_order(self.batch, numbers, workers=workers, ahead=BATCHES_AHEAD)
        warm = max(1, self.num_steps // 20)
        for k, batch in zip(numbers, batches, strict=True):
            set_lr(self.optimizer, schedule(k, self.num_steps, warm))
            loss = self._backward(*batch)
            if math.isfinite(loss):
                self.settled = False
                self.optimizer.step()
            yield loss

    def batch(self, k: int) -> tuple[Tensor, Tensor, Tensor]:
        """Batch k: inputs [B, 3, S, S], labels [B], teacher features [B, D] (or empty)."""
        size, count = self.config.pretrain.batch, len(self.numbers)
        places = np.arange(k * size, (k + 1) * size)
        picked = np.array([self._shuffled(int(place // count))[place % count] for place in places])
        crops, colours, targets = [], [], []
        for n in self.numbers[picked].tolist():
            rng = np.random.default_rng((self.config.seed, k, n))
            square = self.squares(n)
            if self.teacher is None:
                box = random_box(len(square), rng, self.config.smallest_crop)
            else:
                view = int(rng.integers(len(self.teacher.features)))
                box = teacher_box(len(square), self.config.seed, view, n)
                targets.append(self.teacher.features[view, n].astype(np.float32))
            crop = resized(square, box, self.preprocess.image_size)
            crops.append(crop.flip(-1) if rng.random() < 0.5 else crop)
            colours.append(rng.uniform(-1.0, 1.0, size=4))
        inputs = jittered_inputs(crops, colours, self.preprocess)
        standard = torch.zeros(0)
        if self.teacher is not None:
            standard = torch.from_numpy(self.teacher.standardised(np.stack(targets)))
        return inputs, torch.from_numpy(self.labels[picked]), standard

    def _shuffled(self, epoch: int) -> np.ndarray:
        # One epoch's order is asked for by every batch of it: the last two are kept.
        order = self._orders.get(epoch)
        if order is None:  # another thread may drop it again: `order` is what this one uses
            rng = np.random.default_rng((self.config.seed, epoch))
            order = self._orders[epoch] = rng.permutation(len(self.numbers))
            self._orders.pop(epoch - 2, None)
        return order

    def _backward(self, *batch: Tensor) -> float:
        """The loss, its clipped gradient in `.grad`; the batch statistics move if all is finite."""
        network = self.model.network
        statistics = [buffer.clone() for buffer in network.buffers()]
        mean = math.nan
        try:
            network.train()
            loss = self._loss(*(tensor.to(self.device) for tensor in batch))
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            norm = nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            mean = float(loss.detach()) if bool(norm.isfinite()) else math.nan
        finally:
            network.eval()
            if not math.isfinite(mean):  # also when Ctrl-C or a lack of memory cut the step off
                for buffer, before in zip(network.buffers(), statistics, strict=True):
                    buffer.copy_(before)
        return mean

    def _loss(self, inputs: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
        inputs = inputs.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            features = self.model.network(inputs)
            logits = self.extra["classifier"](features)
            imitated = self.extra["projector"](features) if self.teacher is not None else None
        smoothing = self.config.pretrain.label_smoothing
        loss = functional.cross_entropy(logits.float(), labels, label_smoothing=smoothing)
        if imitated is not None:
            apart = 1 - functional.cosine_similarity(imitated.float(), targets).mean()
            loss = loss + self.config.pretrain.teacher_weight * apart
        return loss


class EpisodicStage:
    """Few-shot tasks with the support gradient of lite.py; `tasks_per_step` tasks a step."""

    name = "episodes"
    settled = True

    def __init__(
        self,
        model: FewShotModel,
        config: TrainConfig,
        squares: Squares,
        sources: Sequence[Source],
        bf16: bool,
    ) -> None:
        self.model, self.config, self.squares, self.sources = model, config, squares, sources
        self.bf16 = bf16
        self.num_steps = math.ceil(config.tasks / config.tasks_per_step)
        self.extra = nn.ModuleDict()
        self.optimizer = torch.optim.Adam(
            [
                {"params": list(model.network.parameters()), "scale": config.backbone_lr},
                {"params": [model.log_scale]},
            ],
            lr=config.lr,
        )

    def steps(self, first: int) -> Iterator[float]:
        """See `Stage.steps`."""
        per_step = self.config.tasks_per_step
        for step in range(first, self.num_steps):
            set_lr(self.optimizer, schedule(step, self.num_steps, self.config.warmup))
            self.optimizer.zero_grad(set_to_none=True)
            numbers = range(step * per_step, min((step + 1) * per_step, self.config.tasks))
            losses = [self.task_step(k, 1.0 / len(numbers)) for k in numbers]
            limit = self.config.clip if self.config.clip > 0 else math.inf
            norm = nn.utils.clip_grad_norm_(self.model.parameters(), limit)
            mean = float(np.mean(losses)) if bool(norm.isfinite()) else math.nan
            if math.isfinite(mean):
                self.settled = False
                self.optimizer.step()
            yield mean

    def task_step(self, k: int, scale: float) -> float:
        """Add `scale` x the gradient of task k to `.grad`; return its mean query loss."""
        config = self.config
        episode = sample_episode(self.sources, config.episodes, config.seed, k)
        task = self.task(episode, k)

        def encode(batch: Tensor) -> Tensor:
            return self.model.features(batch, self.bf16)

        if config.gradient == "full":
            return lite.task_backward_full(
                task, encode, self.model.fit, self.model.summed_loss, scale=scale
            )
        generator = torch.Generator().manual_seed(hash_seed(config.seed, k))
        subset = lite.draw_subset(
            config.gradient,
            torch.from_numpy(episode.support_labels),
            config.lite_h,
            generator,
            config.stratified,
        )
        return lite.task_backward(
            task,
            encode,
            self.model.fit,
            self.model.summed_loss,
            subset=subset,
            chunk=config.chunk,
            query_batch=config.query_batch,
            scale=scale,
        )

    def task(self, episode: Episode, k: int) -> Task:
        """The images and labels of an episode; the images are read when they are asked for."""
        augment = (self.config.seed, k) if self.config.augment else None
        preprocess = self.model.backbone.preprocess
        view = View(self.squares, preprocess, augment, self.config.smallest_crop)
        device = self.model.log_scale.device
        return Task(
            ImagesByNumber(view, episode.support),
            torch.from_numpy(episode.support_labels).to(device),
            ImagesByNumber(view, episode.query),
            torch.from_numpy(episode.query_labels).to(device),
        )


@dataclass(frozen=True)
class ImagesByNumber:
    """`lite.Images` of an episode: `view` makes inputs of the stored images `numbers` [N]."""

    view: View
    numbers: np.ndarray

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, indices: Tensor) -> Tensor:
        return self.view(self.numbers[indices.numpy()].tolist())


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


def schedule(step: int, num_steps: int, warmup: int) -> float:
    """Share of the learning rate at a step: linear warm-up, then half a cosine down to zero."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, num_steps - warmup)))


def set_lr(optimizer: torch.optim.Optimizer, share: float) -> None:
    """Set every group's rate to `share` of the base rate (times the group's own `scale`)."""
    base = optimizer.defaults["lr"]
    for group in optimizer.param_groups:
        group["lr"] = base * share * group.get("scale", 1.0)


def hash_seed(*numbers: int) -> int:
    """One 63-bit seed from several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


def state_tensors(stage: Stage, model: FewShotModel) -> dict[str, Tensor]:
    """Everything a stage's next step depends on, as named tensors."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"extra.{name}": value for name, value in stage.extra.state_dict().items()}
    for number, slots in stage.optimizer.state_dict()["state"].items():
        for slot, value in slots.items():
            tensors[f"optimizer.{number}.{slot}"] = torch.as_tensor(value)
    return tensors


def restore(stage: Stage, model: FewShotModel, tensors: Mapping[str, Tensor]) -> None:
    """Put `state_tensors` back."""

    def part(prefix: str) -> dict[str, Tensor]:
        start = f"{prefix}."
        return {n.removeprefix(start): v for n, v in tensors.items() if n.startswith(start)}

    model.load_state_dict(part("model"))
    stage.extra.load_state_dict(part("extra"))
    state = stage.optimizer.state_dict()
    parameters = [p for group in stage.optimizer.param_groups for p in group["params"]]
    slots: dict[int, dict[str, Tensor]] = {}
    for name, value in part("optimizer").items():
        number, _, slot = name.partition(".")
        like = parameters[int(number)]
        if value.shape == like.shape:  # moments lie in memory as their parameter does
            value = torch.empty_like(like, dtype=value.dtype).copy_(value)
        slots.setdefault(int(number), {})[slot] = value
    stage.optimizer.load_state_dict({**state, "state": slots})
