"""How an evaluation adapts: which task solver, and what it costs for each support photo."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from litecli.config import TrainConfig
from litecli.evaluation import baselines, solvers
from litecli.evaluation.defaults import BASELINES, Baseline
from litecli.evaluation.solvers import Fit, FrozenFeatures, Inputs, TaskSolver
from litecli.heads.heads import HEADS
from litecli.library.model_files import Model
from litecli.networks.devices import resolve_device
from litecli.networks.encoder import Encoder
from litecli.networks.model import FewShotModel
from litecli.networks.model_folder import described_head, load_model
from litecli.networks.parts import count_macs
from litecli.photos import images

CHUNK = TrainConfig.chunk  # photos that go through the network at once
PASSES_PER_STEP = 3  # one forwards; backwards, one to the activations and one to the weights
BLANKS = 10  # timed photos; their median counts

Decoded = Mapping[int, np.ndarray]  # photo number -> uint8 [S, S, 3]
# Features [n, looks, D] of all photos, or their squares where it `needs_photos` -> the solver.
MakeSolver = Callable[[Any], TaskSolver]


@dataclass(frozen=True)
class Method:
    """A way to adapt: its solver, and the cost for one support photo."""

    head: str
    solver: MakeSolver
    passes: int  # of the network, over each look
    needs_photos: bool = False  # the decoded ones, in place of their features
    other_macs: int = 0  # beside the network's
    seconds_ahead: float = 0.0  # of the work that is done once for all tasks
    looks: int = 1  # at a photo
    support_looks: int = 0  # more, at a support photo


def choose_method(
    model: Model,
    encoder: Encoder,
    head: str | None = None,
    lam: float | None = None,
    baseline: Baseline | None = None,
    device: str = "cpu",
) -> Method:
    """The baseline's way; without one the model's own, with its own head unless `head` is given.

    A model that was trained with maml takes the steps that it was trained with.

    Raises LiteError: a package or the device is not there (MACHINE), weights that do not fit
    (MISSING), no norm layers for FiLM (USAGE).
    """
    own = described_head(model.config) == "generated" and head is None
    chosen = "generated" if own else head or model.config.head
    if model.config.inner_steps and baseline in (None, BASELINES["maml"]) and head is None:
        steps, lr = model.config.inner_steps, model.config.inner_lr
        baseline = replace(BASELINES["maml"], steps=steps, lr=lr)
    if baseline is not None:
        baselines.check_installed(baseline)
        if baseline.on_photos:
            return _steps_on_photos(model, baseline, device)
        linear = baseline.name == "linear"
        fit = baselines.logistic_probe if linear else baselines.finetuned_head(baseline)
        return _frozen("linear", fit, encoder, model)
    if not own and not model.config.film:
        learns = chosen == "auto" or HEADS[chosen].learns_crops
        more = model.config.preprocess.support_looks if learns else 0
        return _frozen(chosen, baselines.named_head(chosen, lam), encoder, model, more)
    network = _loaded(model, device)
    fit = baselines.own_head(network) if own else baselines.named_head(chosen, lam)
    if not network.has_film:
        return _frozen(chosen, fit, encoder, model)
    return _film(network, chosen, fit)


def _frozen(head: str, fit: Fit, encoder: Encoder, model: Model, support_looks: int = 0) -> Method:
    size, looks = model.config.preprocess.image_size, len(model.config.preprocess.look_shares)
    blank = np.zeros((looks + support_looks, 3, size, size), np.float32)
    seconds = _median_seconds(lambda: encoder.features(blank))

    def solver(crops: np.ndarray) -> TaskSolver:
        several = crops if crops.shape[1] > 1 else None
        return FrozenFeatures(crops[:, :looks].mean(axis=1), fit, several)

    return Method(head, solver, 1, seconds_ahead=seconds, looks=looks, support_looks=support_looks)


def _film(model: FewShotModel, head: str, fit: Fit) -> Method:
    size = model.backbone.preprocess.image_size
    blank = torch.zeros(1, 3, size, size)

    @torch.no_grad()
    def embed_one() -> None:
        model.embed(blank).cpu()

    def solver(squares: Decoded) -> TaskSolver:
        inputs = square_inputs(model, squares)
        return solvers.film_features(model, inputs, np.array(sorted(squares)), fit, CHUNK)

    assert model.set_encoder is not None
    other_macs = count_macs(model.set_encoder, size)
    return Method(head, solver, 1, True, other_macs, _median_seconds(embed_one))


def _steps_on_photos(model: Model, baseline: Baseline, device: str) -> Method:
    network = _loaded(model, device)
    make = baselines.maml_solver if baseline.name == "maml" else baselines.finetune_film
    passes = PASSES_PER_STEP * baseline.steps

    def solver(squares: Decoded) -> TaskSolver:
        return make(network, square_inputs(network, squares), baseline, CHUNK)

    return Method("linear", solver, passes, needs_photos=True)


def _loaded(model: Model, device: str) -> FewShotModel:
    place = resolve_device(device)  # no waiting for weights that have nowhere to go
    return load_model(model.folder, model.config).to(place)


def square_inputs(model: FewShotModel, squares: Decoded) -> Inputs:
    """Inputs of photos by number: the first look at each, that `images.load_looks` gave."""

    def inputs(numbers: np.ndarray) -> torch.Tensor:
        convert = partial(images.to_input, preprocess=model.backbone.preprocess)
        return torch.from_numpy(np.stack([convert(squares[int(n)]) for n in numbers]))

    return inputs


def _median_seconds(work: Callable[[], object]) -> float:
    seconds = []
    for _ in range(BLANKS):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return float(np.median(seconds))
