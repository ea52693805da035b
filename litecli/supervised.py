"""The supervised stage: ordinary classification, if asked for with a teacher to imitate."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from litecli import images
from litecli.augment import jittered_inputs, random_box
from litecli.composites import Part, picture
from litecli.config import TrainConfig
from litecli.episodes import Source
from litecli.model import FewShotModel
from litecli.stages import Squares, schedule, set_lr
from litecli.teacher import Teacher

BATCHES_AHEAD = 3
NO_LABEL = -1  # of a composite: it shows no one class


class SupervisedStage:
    """Ordinary classification of all training classes, with batch statistics that move.

    Episodes freeze those statistics, and a network from random weights does not learn that way
    (design decision 12). They depend on the whole batch, so of many ranks the first trains alone
    and the others wait for its weights. With a `teacher`, the student's features also predict the
    teacher's, by a linear map that is thrown away afterwards (Hinton et al., 2015; Romero et al.,
    2015).
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
        self.preprocess = model.backbone.preprocess
        self.numbers, self.labels = labelled_images(sources)
        self._shares = image_shares(sources, config.pretrain.balance)
        self._orders: dict[int, np.ndarray] = {}  # epoch -> its order
        self.num_steps = math.ceil(config.pretrain.images / config.pretrain.batch)
        width = model.backbone.num_features
        layers: dict[str, nn.Module] = {
            "classifier": nn.Linear(width, int(self.labels.max(initial=0)) + 1)
        }
        if teacher is not None:
            layers["projector"] = nn.Linear(width, teacher.width)
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
        batches = images.in_order(self.batch, numbers, threads=workers, ahead=BATCHES_AHEAD)
        warm = max(1, self.num_steps // 20)
        for k, batch in zip(numbers, batches, strict=True):
            set_lr(self.optimizer, schedule(k, self.num_steps, warm))
            loss = self._backward(*batch)
            if math.isfinite(loss):
                self.settled = False
                self.optimizer.step()
            yield loss

    def batch(self, k: int) -> tuple[Tensor, Tensor, Tensor]:
        """Batch k: inputs [B, 3, S, S], labels [B], teacher features [B, D] (or empty).

        A composite has the label NO_LABEL.
        """
        side = image_size(self.config.pretrain.image_sizes, k, self.num_steps)
        size, count = self.config.pretrain.batch, len(self.numbers)
        places = np.arange(k * size, (k + 1) * size)
        picked = np.array([self._shuffled(int(place // count))[place % count] for place in places])
        shown, labels = self.numbers[picked], self.labels[picked]
        crops, colours, targets = [], [], []
        for place, n in enumerate(shown.tolist()):
            rng = np.random.default_rng((self.config.seed, k, n))
            if self.teacher is None:
                box = random_box(len(self.squares(n)), rng, self.config.smallest_crop)
                parts: tuple[Part, ...] = (Part(n, box),)
            else:
                parts, target = self.teacher.lesson(n, shown, rng)
                targets.append(target)
                labels[place] = labels[place] if len(parts) == 1 else NO_LABEL
            crop = picture(parts, self.squares, side)
            crops.append(crop.flip(-1) if rng.random() < 0.5 else crop)
            colours.append(rng.uniform(-1.0, 1.0, size=4))
        inputs = jittered_inputs(crops, colours, self.preprocess)
        imitated = torch.from_numpy(np.stack(targets)) if targets else torch.zeros(0)
        return inputs, torch.from_numpy(labels), imitated

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
        loss = functional.cross_entropy(
            logits.float(),
            labels,
            ignore_index=NO_LABEL,
            reduction="sum",
            label_smoothing=smoothing,
        ) / (labels != NO_LABEL).sum().clamp(min=1)
        if imitated is not None:
            apart = 1 - functional.cosine_similarity(imitated.float(), targets).mean()
            loss = loss + self.config.pretrain.teacher_weight * apart
        return loss


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
