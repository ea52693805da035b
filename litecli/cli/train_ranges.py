"""What meta-train's settings may be: checked before anything loads."""

import difflib
from operator import attrgetter
from pathlib import Path

from litecli.config import (
    GRADIENTS,
    HEAD_NAMES,
    LARGEST_SEED,
    LEARNERS,
    LEAST_POWER,
    ImitationConfig,
    NuisanceConfig,
    TrainConfig,
)
from litecli.errors import ExitCode, LiteError

CHOICES = {
    "learner": LEARNERS,
    "head": (*HEAD_NAMES, "generated"),
    "film": ("auto", "on", "off"),
    "gradient": GRADIENTS,
    "precision": ("auto", "fp32", "bf16"),
    "device": ("auto", "cpu", "cuda", "mps"),
}
LARGEST = 1_000_000_000
# Setting -> (least, most, flag). Every number of a TrainConfig has a row.
RANGES: dict[str, tuple[float, float, str]] = {
    "image_size": (32, 1024, "--image-size"),
    "feature_power": (LEAST_POWER, 1, "--feature-power"),
    "lite_h": (1, LARGEST, "--lite-h"),
    "chunk": (1, LARGEST, "--chunk"),
    "episodes.way_min": (2, 1000, "--way"),
    "episodes.way_max": (2, 1000, "--way"),
    "episodes.support_min": (1, 100_000, "--support"),
    "episodes.support_max": (2, 100_000, "--support"),  # one photo each of two classes
    "episodes.query": (1, 1000, "--query"),
    "query_batch": (1, LARGEST, "--query-batch"),
    "tasks": (1, LARGEST, "--tasks"),
    "tasks_per_step": (1, 10_000, "--tasks-per-step"),
    "lr": (0, 10, "--lr"),
    "backbone_lr": (0, 1000, "--backbone-lr"),
    "inner_steps": (1, 1000, "--inner-steps"),
    "inner_lr": (0, 1000, "--inner-lr"),
    "warmup": (0, LARGEST, "--warmup"),
    "clip": (0, LARGEST, "--clip"),
    "val_share": (0, 0.5, "val_share"),  # the larger part is for training
    "val_every": (0, LARGEST, "--val-every"),
    "val_tasks": (1, 100_000, "--val-tasks"),
    "smallest_crop": (0, 1, "smallest_crop"),
    "seed": (0, LARGEST_SEED, "--seed"),
    "workers": (0, 1024, "--workers"),
    "nuisance.photos": (0, LARGEST, "nuisance.photos"),
    "nuisance.looks": (2, 1000, "nuisance.looks"),
    "nuisance.strength": (0, LARGEST, "nuisance.strength"),
    "nuisance.balance": (0, 1, "nuisance.balance"),
    "imitation.support": (1, 100_000, "imitation.support"),
    "imitation.query": (1, 100_000, "imitation.query"),
    "imitation.power": (0, 100, "imitation.power"),
    "imitation.mix": (0, 1, "imitation.mix"),
    "imitation.balance": (0, 1, "imitation.balance"),
    "pretrain.images": (0, LARGEST, "--pretrain-images"),
    "pretrain.batch": (2, 100_000, "pretrain.batch"),  # batch statistics of one say nothing
    "pretrain.lr": (0, 10, "pretrain.lr"),
    "pretrain.weight_decay": (0, 10, "pretrain.weight_decay"),
    "pretrain.clip": (0, LARGEST, "pretrain.clip"),
    "pretrain.image_size": (32, 1024, "pretrain.image_size"),
    "pretrain.last_image_size": (0, 1024, "pretrain.last_image_size"),
    "pretrain.balance": (0, 1, "pretrain.balance"),
    "pretrain.label_smoothing": (0, 1, "pretrain.label_smoothing"),
    "pretrain.teacher_views": (0, 1000, "pretrain.teacher_views"),
    "pretrain.mix": (0, 1, "pretrain.mix"),
    "pretrain.teacher_weight": (0, 1000, "pretrain.teacher_weight"),
    "pretrain.map_weight": (0, 1000, "pretrain.map_weight"),
}
# Their least is already too little.
ABOVE = ("lr", "pretrain.lr", "nuisance.strength", "imitation.power")


def check(config: TrainConfig) -> TrainConfig:
    """The config, if every setting is in its range; LiteError (USAGE) names flag and range."""
    _check_choices(config)
    _check_names(config)
    _check_ranges(config)
    _check_supervised(config)
    _check_projection(config)
    _check_imitation(config)
    _check_learner(config)
    _check_memory(config)
    _check_spans(config)
    return config


def _check_choices(config: TrainConfig) -> None:
    for name, allowed in CHOICES.items():
        value = getattr(config, name)
        if value not in allowed:
            near = difflib.get_close_matches(value, allowed, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise LiteError(
                f"There is no {name} {value}.{hint}",
                f"--{name} takes {', '.join(allowed)}.",
                code=ExitCode.USAGE,
            )


def _check_names(config: TrainConfig) -> None:
    """Names of files, folders and models: the recipe has to hold them."""
    teachers = (*config.pretrain.teacher, *config.imitation.teacher)
    paths = (*config.data, config.val, config.out, config.weights, *teachers)
    for path in paths:
        if "\0" in path:
            raise LiteError(
                f"{path!r} is no name of a file or folder.",
                "It has a zero byte in it.",
                "give it another name",
                code=ExitCode.USAGE,
            )
        if path.encode(errors="replace").decode() != path:
            raise LiteError(
                f"The name {path} is not UTF-8.",
                "The recipe of the run could not hold it.",
                "give it another name",
                code=ExitCode.USAGE,
            )


def _check_ranges(config: TrainConfig) -> None:
    for name, (least, most, flag) in RANGES.items():
        value = attrgetter(name)(config)
        # No number is not in any range: NaN compares as False.
        if not least <= value <= most or (name in ABOVE and value == least):
            span = f"{least} or more" if most == LARGEST else f"from {least} to {most}"
            span = f"above {least}, at most {most}" if name in ABOVE else span
            shown = f"{value:g}" if isinstance(value, float) else f"{value}"
            raise LiteError(f"{flag} {shown} is out of range: {span}.", code=ExitCode.USAGE)


def _check_supervised(config: TrainConfig) -> None:
    """The supervised stage, and what of it is for teachers."""
    live = config.pretrain.teacher and not config.pretrain.teacher_views
    for name, why in (
        ("mix", "A composite has no label of its own, and is never made twice."),
        ("map_weight", "Maps are too large to be kept."),
    ):
        if getattr(config.pretrain, name) and not live:
            raise LiteError(
                f"pretrain.{name} needs a teacher that sees every picture as it comes.",
                why,
                'teacher = ["MODEL"] and teacher_views = 0 in [pretrain]',
                code=ExitCode.USAGE,
            )
    if config.pretrain.teacher and not config.pretrain.images:
        raise LiteError(
            "--teacher is for the supervised stage, and there is none: --pretrain-images is 0.",
            "In it the network also learns to predict the teacher's features.",
            "--pretrain-images 100000, or leave --teacher out",
            code=ExitCode.USAGE,
        )


def _check_projection(config: TrainConfig) -> None:
    """What is for a projection: of this run, or of the model that it begins from."""
    projected = config.projection or _has_projection(config.weights)
    if config.nuisance != NuisanceConfig() and not (config.nuisance.photos and projected):
        raise LiteError(
            "The stage of [nuisance] looks at photos to start a projection.",
            "It needs both.",
            "photos = 3200 in [nuisance], and --projection",
            code=ExitCode.USAGE,
        )
    if config.feature_power != 1 and not projected:
        raise LiteError(
            f"--feature-power {config.feature_power:g} is for a projection, and there is none.",
            "It takes the features to this power before it maps them.",
            f"--projection --feature-power {config.feature_power:g}",
            code=ExitCode.USAGE,
        )


def _check_imitation(config: TrainConfig) -> None:
    if not config.imitation.teacher and config.imitation != ImitationConfig():
        raise LiteError(
            "The tasks of [imitation] need a teacher to answer them.",
            fix='teacher = ["MODEL"] in [imitation]',
            code=ExitCode.USAGE,
        )
    if config.imitation.teacher and (config.learner == "maml" or config.gradient == "small-task"):
        raise LiteError(
            "The tasks of [imitation] have no labels: there are no classes to take photos from.",
            "maml learns labels, and a small task keeps a photo of each class.",
            "--learner protonets with --gradient lite, or no [imitation]",
            code=ExitCode.USAGE,
        )


def _check_learner(config: TrainConfig) -> None:
    """What does not go with a learner."""
    if config.learner == "maml" and config.backbone_lr == 0:
        raise LiteError(
            "maml with --backbone-lr 0 learns nothing: all that it has is the network.",
            fix="--backbone-lr 0.1, or --learner protonets",
            code=ExitCode.USAGE,
        )
    if config.learner == "maml" and config.film == "on":
        raise LiteError(
            "maml has no FiLM: its gradient steps change the whole network.",
            fix="--film off, or --learner simple-cnaps",
            code=ExitCode.USAGE,
        )
    if config.head == "generated" and config.learner != "cnaps":
        raise LiteError(
            f"The generated head belongs to cnaps, not to {config.learner}.",
            fix="--learner cnaps, or --head cosine",
            code=ExitCode.USAGE,
        )


def _check_memory(config: TrainConfig) -> None:
    if config.memory:
        from litecli import memory

        memory.read_size(config.memory)


def _check_spans(config: TrainConfig) -> None:
    for flag, least, most in (
        ("--way", config.episodes.way_min, config.episodes.way_max),
        ("--support", config.episodes.support_min, config.episodes.support_max),
    ):
        if least > most:
            raise LiteError(
                f"{flag} {least}-{most} runs backwards.",
                fix=f"{flag} {most}-{least}",
                code=ExitCode.USAGE,
            )


def _has_projection(weights: str) -> bool:
    """Whether the weights are a model's that has a projection already."""
    from litecli.library import model_files

    return weights not in ("auto", "none") and model_files.has_projection(Path(weights))
