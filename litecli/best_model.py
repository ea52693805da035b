"""The best weights of a run so far, as a model folder that every command can use."""

from dataclasses import replace
from pathlib import Path

from litecli import backbone as backbones
from litecli.config import LEARNER_HEADS, TrainConfig
from litecli.model import FewShotModel
from litecli.model_folder import model_config, write_model
from litecli.run_folder import to_toml
from litecli.validation import VAL_SHOTS


def write_best(
    model: FewShotModel,
    config: TrainConfig,
    folder: Path,
    data: str,
    where: str,
    way: int,
    accuracy: float,
    ci95: float,
) -> None:
    """Write `folder` with graph, recipe and card; the model being trained is left as it is.

    `data` names what it was trained on, `where` the step; accuracy (a fraction, with its 95 %
    interval) is on validation tasks of `way` classes.
    """
    own = model.backbone
    network = backbones.rebuild(own.architecture, own.architecture_args, own.pooled)
    copy = FewShotModel(replace(own, network=network), model.head, model.has_film)
    copy.load_state_dict({name: value.detach().cpu() for name, value in model.state_dict().items()})
    name = Path(config.out).name
    described = model_config(name, copy, config.learner, LEARNER_HEADS.get(config.learner, "auto"))
    origin = f"litecli meta-train on {data}; {described.origin}"
    card = (
        f"# {name}\n\n{config.learner} on {config.backbone}, {origin}.\n\n"
        f"Validation accuracy {100 * accuracy:.1f} ± {100 * ci95:.1f} % ({way}-way "
        f"{VAL_SHOTS}-shot, {config.val_tasks} tasks on classes not trained on), "
        f"{where}.\n\nRepeat: `litecli meta-train --config recipe.toml`\n"
    )
    texts = {"README.md": card, "recipe.toml": to_toml(config)}
    described = replace(described, origin=origin)
    if config.learner == "maml":
        described = replace(described, inner_steps=config.inner_steps, inner_lr=config.inner_lr)
    write_model(copy, described, folder, texts)
