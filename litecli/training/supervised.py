"""The supervised stage: ordinary classification, if asked for with teachers to imitate."""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from litecli.config import TrainConfig
from litecli.networks.inputs import standardised
from litecli.networks.model import FewShotModel
from litecli.networks.parts import features_and_maps
from litecli.pictures.atlas import Atlas
from litecli.pictures.augment import colour_jitter
from litecli.pictures.pixels import Squares
from litecli.tasks.episodes import Source
from litecli.threads import in_order, workers
from litecli.training.stages import hash_seed, schedule, set_lr
from litecli.training.supervised_batches import NO_LABEL, Batch, Batches
from litecli.training.teacher import KeptTeacher, LiveTeacher, fitted

BATCHES_AHEAD = 3
MEASURED = 1000  # pictures, at least, that give a live teacher's mean and spread


class SupervisedStage:
    """Ordinary classification of all training classes, with batch statistics that move.

    Episodes freeze those statistics, and a network from random weights does not learn that way.
    They depend on the whole batch, so of many ranks the first trains alone and the others wait for
    its weights. With a `teacher`, linear maps of the student's features (and of its maps) also
    predict the teachers'; they are thrown away afterwards (Hinton et al., 2015; Romero et al.,
    2015). An `atlas` makes the pictures on its device, else threads make them.
    """

    name = "supervised"
    settled = True
    changes_at_end = False

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
        self.model, self.config, self.teacher, self.bf16 = model, config, teacher, bf16
        self.device = model.log_scale.device
        self._devices = [self.device] if self.device.type == "cuda" else []
        self.preprocess = model.backbone.preprocess
        self.batches = Batches(config, squares, sources, teacher, atlas)
        self.batch, self.num_steps = self.batches.batch, self.batches.num_steps
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
        layers: dict[str, nn.Module] = {"classifier": nn.Linear(width, self.batches.num_classes)}
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
            with torch.random.fork_rng(self._devices):  # of dropout and stochastic depth
                torch.manual_seed(hash_seed(self.config.seed, k))
                loss = self.backward(batch)
            if math.isfinite(loss):
                self.settled = False
                self.optimizer.step()
            yield loss

    def _lit(self, batch: Batch) -> Tensor:
        """The pictures under their lights, float [B, 3, S, S] in 0 to 255 on the device."""
        pixels, lights = batch.pixels.to(self.device).float(), batch.lights.to(self.device)
        return colour_jitter(pixels, lights)

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
