"""The decisive stage: few-shot tasks, learned from with the support gradient of lite.py."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from litecli import lite
from litecli.config import TrainConfig
from litecli.evaluation.maml import maml_backward
from litecli.image_stream import ImagesByNumber
from litecli.lite import Subset, Task
from litecli.networks.model import FewShotModel
from litecli.pictures.augment import View
from litecli.pictures.pixels import Squares
from litecli.tasks.episodes import Episode, Source, sample_episode
from litecli.threads import workers
from litecli.training.imitation import ImitationTasks
from litecli.training.ranks import ALONE, Ranks
from litecli.training.stages import hash_seed, restore, schedule, set_lr, state_tensors


class EpisodicStage:
    """Few-shot tasks with the support gradient of lite.py; `tasks_per_step` tasks a step.

    With `imitation` its tasks come instead of labelled ones.
    """

    name = "episodes"
    settled = True
    changes_at_end = False

    def __init__(
        self,
        model: FewShotModel,
        config: TrainConfig,
        squares: Squares,
        sources: Sequence[Source],
        bf16: bool,
        ranks: Ranks = ALONE,
        imitation: ImitationTasks | None = None,
    ) -> None:
        self.model, self.config, self.squares, self.sources = model, config, squares, sources
        self.bf16, self.ranks, self.imitation = bf16, ranks, imitation
        self.num_steps = math.ceil(config.tasks / config.tasks_per_step)
        self.extra = nn.ModuleDict()
        # A network that does not learn is not merely given rate 0: its backward pass is saved too.
        projection = model.projection
        later = set(map(id, projection))
        own = [p for p in model.network.parameters() if id(p) not in later]
        learned = own if config.backbone_lr > 0 else []
        new = [p for name, p in model.named_parameters() if not name.startswith("network.")]
        self.optimizer = torch.optim.Adam(
            [{"params": learned, "scale": config.backbone_lr}, {"params": new + projection}],
            lr=config.lr,
        )

    def steps(self, first: int) -> Iterator[float]:
        """See `Stage.steps`; the ranks take the steps together, from where rank 0 stands."""
        if not self.ranks.alone:
            first, tensors = self.ranks.from_first(first, state_tensors(self, self.model))
            if not self.ranks.leads:
                restore(self, self.model, tensors)
        per_step = self.config.tasks_per_step
        self.model.ask_for_gradients(network=self.config.backbone_lr > 0)
        for step in range(first, self.num_steps):
            set_lr(self.optimizer, schedule(step, self.num_steps, self.config.warmup))
            self.optimizer.zero_grad(set_to_none=True)
            numbers = range(step * per_step, min((step + 1) * per_step, self.config.tasks))
            with self.ranks.telling():
                share = self.ranks.share_of(numbers)
                losses = [self._loss_of(k, 1.0 / len(numbers)) for k in share]
            losses = self.ranks.sum_gradients(list(self.model.parameters()), losses)
            limit = self.config.clip if self.config.clip > 0 else math.inf
            norm = nn.utils.clip_grad_norm_(self.model.parameters(), limit)
            mean = float(np.mean(losses)) if bool(norm.isfinite()) else math.nan
            if math.isfinite(mean):
                self.settled = False
                self.optimizer.step()
            yield mean

    def _loss_of(self, k: int, scale: float) -> float:
        """`task_step`, NaN where a head's matrix could not be factored: its numbers are none."""
        try:
            return self.task_step(k, scale)
        except torch.linalg.LinAlgError:  # pyright: ignore[reportPrivateImportUsage]
            return math.nan

    def task_step(self, k: int, scale: float) -> float:
        """Add `scale` x the gradient of task k to `.grad`; return its mean query loss."""
        config = self.config
        generator = torch.Generator().manual_seed(hash_seed(config.seed, k))
        gradient = config.gradient
        if self.imitation is not None:
            task, learner = self.imitation.task(k), self.imitation.learner(self.bf16)
            labels = torch.arange(config.imitation.support)
        else:
            episode = sample_episode(self.sources, config.episodes, config.seed, k)
            if gradient == "small-task":
                episode, gradient = small_task(episode, config.lite_h, generator), "exact"
            task, learner = self.task(episode, k), self.model.functions(self.bf16)
            labels = torch.from_numpy(episode.support_labels)
        if config.learner == "maml":
            return maml_backward(
                task,
                lambda weights, images: self.model.features(images, self.bf16, weights),
                dict(self.model.network.named_parameters()),
                inner_steps=config.inner_steps,
                inner_lr=config.inner_lr,
                chunk=config.chunk,
                query_batch=config.query_batch,
                scale=scale,
            )
        if self.model.generator is not None:
            (self.model.generator.penalty() * scale).backward()
        if gradient == "full":
            return lite.task_backward_full(task, learner, scale=scale)

        def subset() -> Subset:
            return lite.draw_subset(gradient, labels, config.lite_h, generator, config.stratified)

        return lite.task_backward(
            task,
            learner,
            subset=subset(),
            set_subset=subset() if learner.embed is not None else None,
            chunk=config.chunk,
            query_batch=config.query_batch,
            scale=scale,
        )

    def task(self, episode: Episode, k: int) -> Task:
        """The images and labels of an episode; the images are read when they are asked for."""
        augment = (self.config.seed, k) if self.config.augment else None
        preprocess, device = self.model.backbone.preprocess, self.model.log_scale.device
        cores = workers(self.config.workers)
        view = View(self.squares, preprocess, augment, self.config.smallest_crop, cores, device)
        return task_of(episode, view, device)


def task_of(episode: Episode, view: View, device: torch.device) -> Task:
    """An episode's labels on the device, and its images as `view` reads them when asked."""
    return Task(
        ImagesByNumber(view, episode.support),
        torch.from_numpy(episode.support_labels).to(device),
        ImagesByNumber(view, episode.query),
        torch.from_numpy(episode.query_labels).to(device),
    )


def small_task(episode: Episode, size: int, generator: torch.Generator) -> Episode:
    """The episode with only `size` support images, at least one of every class.

    The baseline that LITE is compared with in the paper: a task small enough to be
    back-propagated whole, at the price of a worse support set in the forward pass too.
    """
    labels = torch.from_numpy(episode.support_labels)
    kept = lite.draw_subset("lite", labels, max(size, episode.way), generator, stratified=True)
    numbers = kept.indices.numpy()
    return replace(
        episode, support=episode.support[numbers], support_labels=episode.support_labels[numbers]
    )
