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

import numpy as np
import torch
from torch import Tensor

from litecli.config import Preprocess, TrainConfig
from litecli.heads.labelled import unit_rows
from litecli.image_stream import Images
from litecli.lite import Learner, Task, encode_all
from litecli.networks.model import FewShotModel
from litecli.pictures.atlas import Atlas
from litecli.pictures.pixels import Squares
from litecli.tasks.episodes import Source
from litecli.training.teacher import LiveTeacher
from litecli.training.unlabelled import LitPictures, UnlabelledImages

SPREAD = 0.1  # about that of cosines between pictures: the loss is in squares of it


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
        self.model, self.config, self.teacher = model, config, teacher
        self.device = model.log_scale.device
        self.images = UnlabelledImages(config, squares, sources, config.imitation.balance, atlas)

    def task(self, k: int) -> Task:
        """N support pictures and M queries; query labels are the cosines wanted of them [M, N]."""
        settings, preprocess = self.config.imitation, self.model.backbone.preprocess
        rng = np.random.default_rng((self.config.seed, k))
        count = settings.support + settings.query
        numbers = self.images.draw(count, rng)
        pixels, lights = self.images.pictures(numbers, settings.mix, preprocess.image_size, rng)

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
