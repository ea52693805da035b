"""Tasks without labels: pictures of anything, which a network is to find as alike as teachers do.

What labelled tasks of a few collections teach, which features tell *these* classes apart, may be of
no use for other things, or do harm. A teacher that has seen more can be asked about any picture: a
support set of N pictures, each a class of its own, and queries whose cosines with all N should be
as the teachers' are (relations instead of features: Park et al., "Relational knowledge
distillation", 2019; Tung and Mori, "Similarity-preserving knowledge distillation", 2019). The
support set of such a task is as large as one likes, and its gradient is that of any other task:
lite.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from litecli import threads
from litecli.config import Preprocess, TrainConfig
from litecli.heads.labelled import unit_rows
from litecli.image_stream import Images
from litecli.lite import Learner, Task, encode_all
from litecli.networks.model import FewShotModel
from litecli.pictures.atlas import Atlas
from litecli.pictures.augment import colour_jitter, standardised
from litecli.pictures.composites import draw_pictures
from litecli.tasks.episodes import Source
from litecli.training.stages import Squares
from litecli.training.supervised_batches import (
    image_shares,
    labelled_images,
    rendered,
    smallest_crops,
    square_sides,
)
from litecli.training.teacher import LiveTeacher

SPREAD = 0.1  # about that of cosines between pictures: the loss is in squares of it


@dataclass(frozen=True)
class LitPictures:
    """`Images` under their lights: float [B, 3, S, S] in 0 to 255, or inputs with `preprocess`."""

    pixels: Tensor  # [N, 3, S, S], bytes where threads made them
    lights: Tensor  # [N, 4]
    device: torch.device
    preprocess: Preprocess | None = None

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, indices: Tensor) -> Tensor:
        pixels = self.pixels[indices.to(self.pixels.device)].to(self.device).float()
        lit = colour_jitter(pixels, self.lights[indices].to(self.device))
        return lit if self.preprocess is None else standardised(lit, self.preprocess)


class ImitationTasks:
    """Task k, a pure function of (seed, k), and the learner that it is for.

    Its pictures are kept, as bytes, for as long as the task is: teachers and network see the same.
    """

    def __init__(
        self,
        model: FewShotModel,
        config: TrainConfig,
        squares: Squares,
        sources: Sequence[Source],
        teacher: LiveTeacher,
        atlas: Atlas | None = None,
    ) -> None:
        self.model, self.config, self.squares = model, config, squares
        self.teacher, self.atlas = teacher, atlas
        self.device = model.log_scale.device
        self.numbers, _ = labelled_images(sources)
        self.shares = image_shares(sources, config.imitation.balance)
        self.sides = square_sides(self.numbers, squares)

    def task(self, k: int) -> Task:
        """N support pictures and M queries; query labels are the cosines wanted of them [M, N]."""
        settings, preprocess = self.config.imitation, self.model.backbone.preprocess
        rng = np.random.default_rng((self.config.seed, k))
        count = settings.support + settings.query
        numbers = rng.choice(self.numbers, count, p=self.shares)
        pictures = draw_pictures(numbers, self.sides, settings.mix, smallest_crops(self.sides), rng)
        amounts = rng.uniform(-1.0, 1.0, size=(count, 4)).astype(np.float32)
        lights = torch.from_numpy(amounts if self.config.augment else 0 * amounts)
        cores = threads.workers(self.config.workers)
        pixels = rendered(pictures, preprocess.image_size, self.squares, self.atlas, cores)

        def lit(part: slice, inputs: Preprocess | None) -> Images:
            return LitPictures(pixels[part], lights[part], self.device, inputs)

        shown = lit(slice(None), None)
        seen = encode_all(self.teacher.directions, shown, self.config.chunk, self.device)
        known, asked = seen.split([settings.support, settings.query])
        cosines = asked @ known.T / len(self.teacher.widths)
        return Task(
            lit(slice(settings.support), preprocess),
            torch.arange(settings.support, device=self.device),
            lit(slice(settings.support, None), preprocess),
            cosines.clamp(min=0).pow(settings.power).to(self.model.log_scale),
        )

    def learner(self, bf16: bool) -> Learner:
        """The model's network with the cosine to each support picture in place of its head."""
        own = self.model.functions(bf16)
        return Learner(own.encode, _directions, _summed_loss, own.embed, own.generate)


def _directions(features: Tensor, labels: Tensor) -> dict[str, Tensor]:
    return {"known": unit_rows(features)}


def _summed_loss(fitted: dict[str, Tensor], queries: Tensor, wanted: Tensor) -> Tensor:
    """Mean squared difference of a query's cosines from those wanted [M, N], summed over M."""
    apart = unit_rows(queries) @ fitted["known"].T - wanted
    return (apart / SPREAD).square().mean(dim=1).sum()
