"""Ways to solve a few-shot task, behind one interface: `TaskSolver`.

    FrozenFeatures   a classifier on features that every task shares
    FilmFeatures     a classifier on features under FiLM values that the support set generates
    GradientSteps    gradient steps on the photos themselves, from the same start in every task

A solver is built once for a collection of photos, which it knows by number. It learns from support
photos and labels alone: nothing about the queries reaches it before it has learned. baselines.py
has the classifiers and the solvers made of these.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from litecli.evaluation import maml
from litecli.image_stream import ImagesByNumber, parts, read_ahead
from litecli.lite import encode_all
from litecli.networks.model import FewShotModel

Inputs = Callable[[np.ndarray], Tensor]  # photo numbers [B] -> network inputs [B, 3, S, S]


@dataclass(frozen=True)
class Classifier:
    """Photos (by number, or their features) [M] -> scores [M, C], and how many numbers it took."""

    scores: Callable[[np.ndarray], np.ndarray]
    num_parameters: int  # that were set for the task


class Fit(Protocol):
    """How a classifier of features is made."""

    def __call__(
        self, features: np.ndarray, labels: np.ndarray, crops: np.ndarray | None = None
    ) -> Classifier:
        """From features [N, D], labels [N] and, for those that learn from them, crops [N, V, D]."""
        ...


class TaskSolver(Protocol):
    """One way to learn a task's classes."""

    def adapt(self, support: np.ndarray, labels: np.ndarray) -> Classifier:
        """Learn from photos `support` [N] with labels 0 to C-1 [N]; the answer takes numbers."""
        ...


@dataclass(frozen=True)
class FrozenFeatures:
    """A classifier on features of all photos, which no task changes."""

    features: np.ndarray  # [n, D]
    fit: Fit
    crops: np.ndarray | None = None  # [n, V, D], of each photo's looks where there are several

    def adapt(self, support: np.ndarray, labels: np.ndarray) -> Classifier:
        """See `TaskSolver.adapt`."""
        crops = None if self.crops is None else self.crops[support]
        fitted = self.fit(self.features[support], labels, crops)
        return Classifier(lambda n: fitted.scores(self.features[n]), fitted.num_parameters)


@dataclass(frozen=True)
class FilmFeatures:
    """A classifier on features under FiLM; `outputs` [n, d] are the set encoder's, task or not."""

    model: FewShotModel
    inputs: Inputs
    outputs: Tensor
    fit: Fit
    chunk: int
    bf16: bool = False

    def adapt(self, support: np.ndarray, labels: np.ndarray) -> Classifier:
        """See `TaskSolver.adapt`."""
        with torch.no_grad():
            film = self.model.generate(self.outputs[torch.from_numpy(support)])

        def features(numbers: np.ndarray) -> np.ndarray:
            photos = ImagesByNumber(self.inputs, numbers)
            encoded = encode_all(
                lambda images: self.model.features(images, self.bf16, film),
                photos,
                self.chunk,
                self.model.log_scale.device,
            )
            return encoded.cpu().numpy()

        fitted = self.fit(features(support), labels)
        generated = sum(value.numel() for value in film.values())
        return Classifier(lambda n: fitted.scores(features(n)), fitted.num_parameters + generated)


def film_features(
    model: FewShotModel,
    inputs: Inputs,
    numbers: np.ndarray,
    fit: Fit,
    chunk: int,
    bf16: bool = False,
) -> FilmFeatures:
    """The solver of a model with FiLM for tasks of the photos `numbers` [n], embedded here once."""
    embedded = encode_all(
        lambda images: model.embed(images, bf16),
        ImagesByNumber(inputs, numbers),
        chunk,
        model.log_scale.device,
    )
    outputs = embedded.new_zeros(int(numbers.max()) + 1, embedded.shape[1])
    outputs[torch.from_numpy(numbers)] = embedded
    return FilmFeatures(model, inputs, outputs, fit, chunk, bf16)


@dataclass(frozen=True)
class GradientSteps:
    """Gradient steps on copies of `parameters` and a linear layer; every task starts alike."""

    features: maml.Features
    parameters: Mapping[str, Tensor]
    inputs: Inputs
    steps: int
    optimizer: maml.MakeOptimizer
    chunk: int
    device: torch.device

    def adapt(self, support: np.ndarray, labels: np.ndarray) -> Classifier:
        """See `TaskSolver.adapt`."""
        adapted = maml.adapt(
            ImagesByNumber(self.inputs, support),
            torch.from_numpy(labels).to(self.device),
            self.features,
            self.parameters,
            steps=self.steps,
            optimizer=self.optimizer,
            chunk=self.chunk,
        )

        def scores(numbers: np.ndarray) -> np.ndarray:
            photos = ImagesByNumber(self.inputs, numbers)
            ahead = read_ahead(photos, parts(len(photos), self.chunk), self.device)
            with torch.no_grad():
                batches = [adapted.scores(self.features(adapted.weights, x)) for x in ahead]
            return torch.cat(batches).cpu().numpy()

        return Classifier(scores, sum(tensor.numel() for tensor in adapted.tensors()))
