"""The best weights of a run so far, as a model folder that every command can use."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from litecli.config import TrainConfig, head_of_learner
from litecli.evaluation.evaluation import mean_and_interval
from litecli.networks import backbone as backbones
from litecli.networks.model import FewShotModel
from litecli.networks.model_folder import model_config, write_model
from litecli.pictures.training_data import TrainingData
from litecli.training.run_folder import to_toml
from litecli.training.validation import VAL_SHOTS


def write_best(
    model: FewShotModel,
    config: TrainConfig,
    folder: Path,
    data: TrainingData,
    where: str,
    way: int,
    accuracies: Sequence[float],
) -> None:
    """Write `folder` with graph, recipe and card; the model being trained is left as it is.

    `where` names the step; `accuracies` are fractions, one a validation task of `way` classes.
    """
    own = model.backbone
    copy = FewShotModel(replace(own, network=backbones.rebuild(own)), model.head, model.has_film)
    copy.load_state_dict({name: value.detach().cpu() for name, value in model.state_dict().items()})
    name = Path(config.out).name
    described = model_config(name, copy, config.learner, head_of_learner(config.learner, "auto"))
    origin = f"litecli meta-train on {data.summary()}; {described.origin}"
    checked = f"{checks(way, accuracies, data.overlaps)}, {where}"
    card = (
        f"# {name}\n\n{config.learner} on {own.architecture}, {origin}.\n\n{checked}.\n\n"
        "Repeat: `litecli meta-train --config recipe.toml`\n"
    )
    texts = {"README.md": card, "recipe.toml": to_toml(config)}
    described = replace(described, origin=origin, trained_head=model.head)
    if config.learner == "maml":
        described = replace(described, inner_steps=config.inner_steps, inner_lr=config.inner_lr)
    write_model(copy, described, folder, texts)


def checks(way: int, accuracies: Sequence[float], overlaps: Sequence[str]) -> str:
    """What a card says of the validation: accuracy, on how many tasks, and of which classes."""
    accuracy, ci95 = mean_and_interval(accuracies)
    tasks = f"{len(accuracies)} tasks" if len(accuracies) != 1 else "1 task"
    classes = f"; {', '.join(overlaps)}" if overlaps else " on classes not trained on"
    shape = f"{way}-way {VAL_SHOTS}-shot, {tasks}{classes}"
    return f"Validation accuracy {100 * accuracy:.1f} ± {100 * ci95:.1f} % ({shape})"
