"""How far each support gradient is from the exact one, by the number H of photos it goes back
through: the experiment that the LITE paper (arXiv 2107.01105) makes of its gradient.

A random gradient is drawn many times on the same task; moments.py keeps the score.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import count

import torch
from torch import Tensor, nn

from litecli import lite
from litecli.audit.data import AuditData
from litecli.audit.moments import Moments, Row, length, over_tasks
from litecli.audit.settings import AuditSettings
from litecli.config import TrainConfig
from litecli.lite import Subset
from litecli.networks.model import FewShotModel
from litecli.pictures.augment import View
from litecli.tasks.episodes import Episode
from litecli.training.episodic import small_task, task_of
from litecli.training.stages import hash_seed

# "lite, shared" has one subset for both uses that a learner with FiLM makes of the support set.
SAMPLED, SHARED = ("lite", "stratified", "small-task"), "lite, shared"
ALL, SET_ENCODER = "all", "set encoder"  # parts of a gradient

Progress = Callable[[int, int], None]


def audit(
    model: FewShotModel, data: AuditData, settings: AuditSettings, progress: Progress | None = None
) -> list[Row]:
    """Compare each support gradient of `model` with the exact one, over all that it learns.

    With FiLM the set encoder has rows of its own: a shared subset is wrong there and nowhere
    else. `progress` is told (done, total).
    """
    plan = list(_plan(model.has_film, settings))
    total = len(data.episodes) * (1 + sum(draws for _, _, draws in plan))
    if model.has_film:
        total += sum(len(episode.support) + 2 for episode in data.episodes)
    numbers = count(1)

    def tick() -> None:
        if progress is not None:
            progress(next(numbers), total)

    parts, found = _parts(model), []
    device = model.log_scale.device
    view = View(data.squares.__getitem__, model.backbone.preprocess, device=device)
    for k, episode in enumerate(data.episodes):
        draw = _Draw(model, view, episode, tick)
        exact = draw("exact", 0, torch.Generator())
        shared_bias = _shared_bias(draw, parts[SET_ENCODER]) if model.has_film else None
        rows = []
        for gradient, h, draws in plan:
            generator = torch.Generator().manual_seed(hash_seed(settings.seed, k))
            moments = {part: Moments(exact[place]) for part, place in parts.items()}
            for _ in range(draws):
                drawn = draw(gradient, h, generator)
                for part, place in parts.items():
                    moments[part].add(drawn[place])
            back = len(episode.support) if gradient == "exact" else h
            for part, seen in moments.items():
                row = seen.row(gradient, back, part)
                if gradient == SHARED and shared_bias is not None:
                    row = replace(
                        row, bias=shared_bias(h) / seen.length, noise=0.0, most_evidence=math.inf
                    )
                rows.append(row)
        found.append(rows)
    return [over_tasks(rows) for rows in zip(*found, strict=True)]


def _plan(film: bool, settings: AuditSettings) -> Iterator[tuple[str, int, int]]:
    """Every gradient, its H, and how often to draw it."""
    yield "exact", 0, 1
    yield "none", 0, 1
    for gradient in (*SAMPLED, SHARED) if film else SAMPLED:
        yield from ((gradient, h, settings.draws) for h in settings.lite_h)


@dataclass(frozen=True)
class _Draw:
    """Draws gradients [P] of one task's mean query loss; regularisers are the same in all."""

    model: FewShotModel
    view: View
    episode: Episode
    tick: Callable[[], None]  # after each

    def __call__(self, gradient: str, h: int, generator: torch.Generator) -> Tensor:
        episode = self.episode
        if gradient == "small-task":
            episode, gradient = small_task(episode, h, generator), "exact"
        kind = "lite" if gradient in (*SAMPLED, SHARED) else gradient

        def subset() -> Subset:
            labels = torch.from_numpy(episode.support_labels)
            return lite.draw_subset(kind, labels, h, generator, gradient == "stratified")

        first = subset()
        return self.back(episode, first, first if gradient == SHARED else subset())

    def back(self, episode: Episode, subset: Subset, set_subset: Subset) -> Tensor:
        """The gradient with these subsets going back."""
        lite.task_backward(
            task_of(episode, self.view, self.model.log_scale.device),
            self.model.functions(),
            subset=subset,
            set_subset=set_subset,
            chunk=TrainConfig.chunk,
            query_batch=TrainConfig.query_batch,
        )
        self.tick()
        return _taken(self.model)


def _shared_bias(draw: _Draw, place: slice) -> Callable[[int], float]:
    """How far one subset for both uses takes the set encoder's expected gradient off, by H.

    Its draws scatter too much to show it, so it is computed. A photo is kept with itself H / N of
    the time and with another one H(H - 1) / N(N - 1), always with weight (N / H)^2. Of the gradient
    `both` that passes through the two uses, the pairs of different photos thus count
    a = N(H - 1) / H(N - 1) times, and the pairs `same` of a photo with itself N / H times.
    """
    size = len(draw.episode.support)

    def back(chosen: Tensor, set_chosen: Tensor) -> Tensor:
        subsets = (Subset(indices, torch.ones(len(indices))) for indices in (chosen, set_chosen))
        return draw.back(draw.episode, *subsets)[place]

    whole = torch.arange(size)
    queries = back(whole[:0], whole)  # the rest of the gradient, in which there is one sum only
    both = back(whole, whole) - queries
    same = -queries
    for photo in whole.split(1):
        same += back(photo, photo)

    def bias(h: int) -> float:
        if h >= size:
            return 0.0
        others = size * (h - 1) / (h * (size - 1))
        return length((others - 1) * both + (size / h - others) * same)

    return bias


def _learned(model: FewShotModel) -> dict[str, nn.Parameter]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def _taken(model: FewShotModel) -> Tensor:
    """The accumulated gradient of all that is learned as one vector [P], taken out."""
    values = []
    for parameter in _learned(model).values():
        grad, parameter.grad = parameter.grad, None
        values.append((torch.zeros_like(parameter) if grad is None else grad).flatten())
    return torch.cat(values)


def _parts(model: FewShotModel) -> dict[str, slice]:
    """The parts of `_taken`'s vector that have rows: all of it, and the set encoder."""
    parts, start, places = {ALL: slice(None)}, 0, []
    for name, parameter in _learned(model).items():
        if name.startswith("set_encoder."):
            places += [start, start + parameter.numel()]
        start += parameter.numel()
    return parts | ({SET_ENCODER: slice(places[0], places[-1])} if places else {})
