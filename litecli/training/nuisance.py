"""A start for a projection: what differs between looks at one photo is made to count for less.

Crop, size and light are no part of what a thing is. Features of several looks at a photo say in
which directions they move all the same: S, the covariance within photos of features of length 1.
The projection W becomes A W with A = (I + c S / m)^(-1/2), m being the mean eigenvalue of S: a soft
form of nuisance attribute projection (Solomonoff et al., "Advances in channel compensation for SVM
speaker recognition", 2005), or of within-class covariance normalisation (Hatch et al., 2006) with
photos in place of classes. Closed form, no labels; tasks go on from there in a tenth of the steps.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from litecli.config import TrainConfig
from litecli.heads.labelled import unit_rows
from litecli.lite import encode_all
from litecli.networks.model import FewShotModel
from litecli.pictures.atlas import Atlas
from litecli.pictures.pixels import Squares
from litecli.tasks.episodes import Source
from litecli.training.unlabelled import LitPictures, UnlabelledImages

PHOTOS = 40  # in a step


class NuisanceStage:
    """Looks at training photos, `PHOTOS` a step; the last step changes the projection.

    A step's loss is the mean squared distance of two looks at one photo, halved: 1 - their cosine.
    """

    name = "nuisance"
    settled = True
    changes_at_end = True

    def __init__(
        self,
        model: FewShotModel,
        config: TrainConfig,
        squares: Squares,
        sources: Sequence[Source],
        bf16: bool,
        atlas: Atlas | None = None,
    ) -> None:
        self.model, self.config, self.bf16 = model, config, bf16
        self.num_steps = math.ceil(config.nuisance.photos / PHOTOS)
        self.images = UnlabelledImages(config, squares, sources, config.nuisance.balance, atlas)
        self.scatter = Scatter(model.backbone.num_features)
        self.extra = nn.ModuleDict({"scatter": self.scatter})
        self.optimizer = torch.optim.SGD(model.projection, lr=0.0)  # nothing here learns by slopes

    def steps(self, first: int) -> Iterator[float]:
        """See `Stage.steps`."""
        for k in range(first, self.num_steps):
            looks = unit_rows(self.features(k).cpu().double())
            apart = looks - looks.mean(dim=1, keepdim=True)
            number = self.config.nuisance.looks
            loss = float(apart.square().sum() / (len(looks) * (number - 1)))
            if math.isfinite(loss):
                self.settled = False
                self.scatter.add(apart)
                if k == self.num_steps - 1:
                    self.project()
            yield loss

    def features(self, k: int) -> Tensor:
        """Features [PHOTOS, looks, D] of step k, a pure function of its number."""
        settings, device = self.config.nuisance, self.model.log_scale.device
        rng = np.random.default_rng((self.config.seed, k))
        numbers = np.repeat(self.images.draw(PHOTOS, rng), settings.looks)
        seen = self.model.backbone.preprocess
        pixels, lights = self.images.pictures(numbers, 0.0, seen.image_size, rng)
        shown = LitPictures(pixels, lights, device, seen)

        def encode(images: Tensor) -> Tensor:
            return self.model.features(images, self.bf16)

        features = encode_all(encode, shown, self.config.chunk, device)
        return features.reshape(PHOTOS, settings.looks, -1)

    def project(self) -> None:
        """Put A in front of the projection's weights."""
        (weight,) = self.model.projection
        shrunken = shrinking(self.scatter.total, self.config.nuisance.strength)
        with torch.no_grad():
            weight.copy_((shrunken @ weight.cpu().double()).to(weight))


class Scatter(nn.Module):
    """The sum of outer products of deviations from their photo's mean: the state of the stage."""

    total: Tensor  # float64 [D, D], on the processor: a GPU of a Mac has no float64

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.register_buffer("total", torch.zeros(num_features, num_features, dtype=torch.float64))

    def add(self, apart: Tensor) -> None:
        """Deviations [photos, looks, D]."""
        rows = apart.flatten(0, 1)
        self.total += rows.T @ rows


def shrinking(scatter: Tensor, strength: float) -> Tensor:
    """A = (I + strength S / m)^(-1/2) [D, D] of S, up to a factor; m is its mean eigenvalue.

    The identity where nothing differs.
    """
    values, vectors = torch.linalg.eigh(scatter)
    mean = values.mean().clamp(min=torch.finfo(values.dtype).tiny)
    shares = (values / mean).clamp(min=0)
    return vectors * (1 + strength * shares).rsqrt() @ vectors.T
