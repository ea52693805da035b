"""What a task solver is made of: classifiers on features, and the baselines they compare with.

named_head       a head of heads/heads.py
own_head         the head that a model was trained with, such as the one CNAPs generates
logistic_probe   logistic regression on frozen features
finetuned_head   a linear layer by gradient steps on frozen features (ORBIT's FineTuner)
finetune_film    the same, and the scales and shifts of the norm layers, on the photos
maml_solver      MAML's inner loop over all weights, on the photos
"""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor

from litecli.errors import ExitCode, LiteError
from litecli.evaluation import maml
from litecli.evaluation.defaults import Baseline
from litecli.evaluation.solvers import Classifier, Fit, GradientSteps, Inputs
from litecli.heads.choice import choose_head
from litecli.heads.heads import HEADS
from litecli.heads.labelled import unit_rows
from litecli.networks.film import check_film
from litecli.networks.model import FewShotModel


def named_head(head: str, lam: float | None = None) -> Fit:
    """A head of heads/heads.py; `auto` takes the one with the better leave-one-out in each task.

    `lam` is ridge's penalty; None chooses it in each task.
    """

    def fit(
        features: np.ndarray, labels: np.ndarray, crops: np.ndarray | None = None
    ) -> Classifier:
        way = int(labels.max()) + 1
        if head == "auto":
            chosen, options = choose_head(features, labels, way, crops=crops)
        else:
            chosen, options = HEADS[head], None
        if options is None or (lam is not None and chosen.name == "ridge"):
            penalty = lam if chosen.name == "ridge" else None
            options = chosen.options(features, labels, way, lam=penalty, crops=crops)
        params = chosen.fit(features, labels, way, crops=crops, **options)
        return Classifier(lambda queries: chosen.score(params, queries), count_numbers(params))

    return fit


def own_head(model: FewShotModel) -> Fit:
    """The head as the model was trained with it: CNAPs' generated classifier, for one."""

    def placed(features: np.ndarray) -> Tensor:
        return torch.from_numpy(features).to(model.log_scale)

    @torch.no_grad()
    def fit(
        features: np.ndarray, labels: np.ndarray, crops: np.ndarray | None = None
    ) -> Classifier:
        fitted = model.fit(placed(features), torch.from_numpy(labels).to(model.log_scale.device))

        @torch.no_grad()
        def scores(queries: np.ndarray) -> np.ndarray:
            return model.scores(fitted, placed(queries)).cpu().numpy()

        return Classifier(scores, count_numbers(fitted))

    return fit


def logistic_probe(
    features: np.ndarray, labels: np.ndarray, crops: np.ndarray | None = None
) -> Classifier:
    """Multinomial logistic regression on unit-length features (arXiv 2003.11539).

    The penalty is fixed, so that nothing has to be chosen from a few photos. Measured with
    mobilenetv2_100, C = 100 gains 3 to 7 points on C = 1 at 20-way 5-shot, and hardly more comes.
    """
    from sklearn.linear_model import LogisticRegression

    probe = LogisticRegression(C=100.0, max_iter=1000).fit(unit_rows(features), labels)

    def scores(queries: np.ndarray) -> np.ndarray:
        found = probe.decision_function(unit_rows(queries))
        return found if found.ndim == 2 else np.stack([-found, found], axis=1)  # two classes

    return Classifier(scores, probe.coef_.size + probe.intercept_.size)


def finetuned_head(baseline: Baseline) -> Fit:
    """A linear layer on the features as they are, by steps of Adam (ORBIT's FineTuner)."""

    def fit(
        features: np.ndarray, labels: np.ndarray, crops: np.ndarray | None = None
    ) -> Classifier:
        known = torch.from_numpy(features)
        adapted = maml.adapt(
            known,
            torch.from_numpy(labels),
            lambda weights, rows: rows,
            {},
            steps=baseline.steps,
            optimizer=lambda tensors: torch.optim.Adam(tensors, lr=baseline.lr),
            chunk=len(known),
        )

        def scores(queries: np.ndarray) -> np.ndarray:
            with torch.no_grad():
                return adapted.scores(torch.from_numpy(queries)).numpy()

        return Classifier(scores, sum(tensor.numel() for tensor in adapted.tensors()))

    return fit


def finetune_film(
    model: FewShotModel, inputs: Inputs, baseline: Baseline, chunk: int
) -> GradientSteps:
    """FineTuner with FiLM: Adam on a linear layer and every norm layer's scale and shift.

    Raises LiteError (USAGE) when the network has no such layers.
    """
    layers = check_film(model.network, model.backbone.architecture)
    parameters = {name: value.detach() for name, value in model.network.named_parameters()}
    return GradientSteps(
        lambda weights, images: model.features(images, film={**parameters, **weights}),
        {name: parameters[name] for layer in layers for name in layer.parameter_names},
        inputs,
        baseline.steps,
        lambda tensors: torch.optim.Adam(tensors, lr=baseline.lr),
        chunk,
        model.log_scale.device,
    )


def maml_solver(
    model: FewShotModel, inputs: Inputs, baseline: Baseline, chunk: int, bf16: bool = False
) -> GradientSteps:
    """MAML's inner loop over all the network's weights and a linear layer (maml.py)."""
    return GradientSteps(
        lambda weights, images: model.features(images, bf16, weights),
        dict(model.network.named_parameters()),
        inputs,
        baseline.steps,
        lambda tensors: torch.optim.SGD(tensors, lr=baseline.lr),
        chunk,
        model.log_scale.device,
    )


def count_numbers(params: Mapping[str, Any]) -> int:
    """How many numbers a head's parameters are."""
    return sum(int(np.prod(np.shape(value))) for value in params.values())


def check_installed(baseline: Baseline) -> None:
    """LiteError (MACHINE) when the baseline needs a package that is not there."""
    if baseline.name == "linear" and find_spec("sklearn") is None:
        raise LiteError(
            "The linear baseline needs scikit-learn, which is not installed.",
            fix="pip install scikit-learn",
            code=ExitCode.MACHINE,
        )
