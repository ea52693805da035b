"""The few-shot learner that an audit examines: a model's own, or a new one on its network."""

import difflib
from dataclasses import replace

import torch
from torch import nn

from litecli.audit.settings import AUDITED
from litecli.config import FILM_LEARNERS, LEARNERS, head_of_learner
from litecli.errors import ExitCode, LiteError
from litecli.library.model_library import Model
from litecli.networks.backbone import from_model
from litecli.networks.model import FewShotModel
from litecli.networks.model_folder import load_model
from litecli.networks.parts import shape_for

USUAL_SIDE = 64  # pixels: quick, and the gradients compare as they do at full size


def open_learner(
    found: Model, learner: str | None = None, image_size: int | None = None, seed: int = 0
) -> tuple[FewShotModel, bool]:
    """A model as `audit` takes it, and whether its learner is new.

    With another `learner` than its own the model's network gets a new one: random by `seed`, also
    in what starts at zero, so that FiLM does something. Only what meta-train would train requires
    a gradient. Raises LiteError (USAGE): no such learner, or maml, or no such image size.
    """
    config = found.config
    name = learner or config.learner
    if name not in LEARNERS:
        near = difflib.get_close_matches(name, AUDITED, n=1)
        raise LiteError(
            f"There is no learner {name}.{f' Did you mean {near[0]}?' if near else ''}",
            f"--learner takes {', '.join(AUDITED)}.",
            code=ExitCode.USAGE,
        )
    if name not in AUDITED:
        raise LiteError(
            f"{name} has no support gradient of this kind.",
            "Its gradient steps go through the whole support set.",
            f"--learner {AUDITED[0]}, or {', '.join(AUDITED[1:])}",
            code=ExitCode.USAGE,
        )
    new = name != config.learner
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _new_learner(found, name) if new else load_model(found.folder, config)
    if name in FILM_LEARNERS:
        model.ask_for_gradients(network=False)
    own = config.preprocess.image_size
    side = image_size or (min(own, USUAL_SIDE) if _fits(model, min(own, USUAL_SIDE)) else own)
    if not _fits(model, side):
        raise LiteError(
            f"{config.architecture} of {found.name} cannot see images of {side} px.",
            fix=f"--image-size {own}",
            code=ExitCode.USAGE,
        )
    preprocess = replace(config.preprocess, image_size=side)
    model.backbone = replace(model.backbone, preprocess=preprocess)
    return model, new


def _new_learner(found: Model, learner: str) -> FewShotModel:
    described = from_model(found.folder, found.config)
    head = head_of_learner(learner, "cosine")
    model = FewShotModel(described, head, film=learner in FILM_LEARNERS)
    if model.generator is not None:
        nn.init.normal_(model.generator.outer_weight, std=0.1)
        nn.init.normal_(model.generator.strength, std=0.1)
    if model.head_generator is not None:
        nn.init.normal_(model.head_generator.outer_weight, std=1e-3)
    return model


def _fits(model: FewShotModel, side: int) -> bool:
    try:
        shape_for(model.network, side)
    except ValueError:
        return False
    return True
