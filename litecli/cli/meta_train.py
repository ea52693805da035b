"""`litecli meta-train [DATA...]`: teach a network to learn new objects from few photos, with LITE.

Settings: defaults, then --config, then flags (train_config.py), and all in range (train_ranges.py).
The engine yields events; here they become lines with the time that is left.
"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from litecli.cli.options import Common, command
from litecli.cli.targets import check_run_folder
from litecli.cli.train_config import (
    EXAMPLE,
    parse_span,
    parse_workers,
    read_toml,
    with_values,
)
from litecli.cli.train_ranges import check
from litecli.config import FILM_LEARNERS, HEAD_NAMES, LEARNERS, TrainConfig, head_of_learner
from litecli.errors import ExitCode, LiteError

RECIPE = "recipe.toml"  # in the run folder; --config reads it back

EXAMPLES = (
    "litecli meta-train",
    "litecli meta-train ./photos --out runs/mine --weights none --pretrain-images 200000",
    "litecli meta-train ./photos --way 5-20 --support 500 --lite-h 16 --dry-run",
    "litecli meta-train --config runs/mine/recipe.toml --resume",
)

DEFAULTS = TrainConfig()
TASK_SHAPE = DEFAULTS.episodes
WAYS = f"{TASK_SHAPE.way_min}-{TASK_SHAPE.way_max}"
SUPPORTS = f"{TASK_SHAPE.support_min}-{TASK_SHAPE.support_max}"
TASK, LEARNING, NETWORK, RUN = "The task", "Learning", "The network", "The run"


def _flag(
    help: str, panel: str, *names: str, metavar: str | None = None, default: object = None
) -> Any:
    """An option that is None where it is not given; help shows what then holds."""
    if default is not None:
        help += f"  [default: {default}]"
    return typer.Option(*names, help=help, rich_help_panel=panel, metavar=metavar)


def add_to(app: typer.Typer, panel: str) -> None:
    """Give `app` this command."""
    command(app, "meta-train", panel=panel, examples=EXAMPLES)(meta_train)


def meta_train(
    common: Common,
    data: Annotated[
        list[str] | None, typer.Argument(help="Folders of class folders; none: drawn objects.")
    ] = None,
    out: Annotated[
        str | None, _flag("Run folder; runs/LEARNER-BACKBONE by default.", RUN, "--out", "-o")
    ] = None,
    learner: Annotated[
        str | None, _flag(f"{', '.join(LEARNERS)}.", LEARNING, default=DEFAULTS.learner)
    ] = None,
    head: Annotated[
        str | None,
        _flag(f"Of protonets: {', '.join(HEAD_NAMES)}.", LEARNING, default=DEFAULTS.head),
    ] = None,
    film: Annotated[
        str | None,
        _flag(
            "FiLM from a set encoder: on, off or auto (by learner).",
            LEARNING,
            default=DEFAULTS.film,
        ),
    ] = None,
    backbone: Annotated[
        str | None, _flag("A timm name, or hf-hub:NAME.", NETWORK, default=DEFAULTS.backbone)
    ] = None,
    weights: Annotated[
        str | None,
        _flag(
            "auto (download), none (random), a FILE or a timm DIR.",
            NETWORK,
            metavar="WHICH",
            default=DEFAULTS.weights,
        ),
    ] = None,
    pooled: Annotated[
        bool | None,
        _flag("Features from before the network's last, widening layer.", NETWORK, "--pooled"),
    ] = None,
    projection: Annotated[
        bool | None,
        _flag(
            "A linear map behind the features, which learns as a head does.",
            NETWORK,
            "--projection",
        ),
    ] = None,
    feature_power: Annotated[
        float | None,
        _flag(
            "To this power --projection takes the features first, signs kept; pocket: 0.7.",
            NETWORK,
            default=DEFAULTS.feature_power,
        ),
    ] = None,
    image_size: Annotated[
        int | None, _flag("Pixels of a side.", NETWORK, default=DEFAULTS.image_size)
    ] = None,
    gradient: Annotated[
        str | None,
        _flag(
            "Of the support set: lite, exact, full, none or small-task.",
            LEARNING,
            default=DEFAULTS.gradient,
        ),
    ] = None,
    lite_h: Annotated[
        int | None,
        _flag(
            "H: support photos that get a gradient, with lite; all there are, of small-task.",
            LEARNING,
            default=DEFAULTS.lite_h,
        ),
    ] = None,
    stratified: Annotated[
        bool | None,
        _flag(
            "Spread the H photos over the classes.",
            LEARNING,
            "--stratified/--uniform",
            default="stratified" if DEFAULTS.stratified else "uniform",
        ),
    ] = None,
    chunk: Annotated[
        int | None, _flag("Photos in the network at once.", LEARNING, default=DEFAULTS.chunk)
    ] = None,
    way: Annotated[
        str | None, _flag("Classes of a task.", TASK, metavar="A-B", default=WAYS)
    ] = None,
    support: Annotated[
        str | None,
        _flag(
            "Support photos of a task; one number is the most.",
            TASK,
            metavar="A-B",
            default=SUPPORTS,
        ),
    ] = None,
    query: Annotated[
        int | None, _flag("Query photos per class, at most.", TASK, default=TASK_SHAPE.query)
    ] = None,
    query_batch: Annotated[
        int | None,
        _flag("Query photos in the network at once.", LEARNING, default=DEFAULTS.query_batch),
    ] = None,
    tasks: Annotated[
        int | None, _flag("Tasks of the whole run.", RUN, default=DEFAULTS.tasks)
    ] = None,
    tasks_per_step: Annotated[
        int | None, _flag("Tasks per optimiser step.", LEARNING, default=DEFAULTS.tasks_per_step)
    ] = None,
    lr: Annotated[float | None, _flag("Learning rate.", LEARNING, default=DEFAULTS.lr)] = None,
    backbone_lr: Annotated[
        float | None,
        _flag(
            "The network's own rate, as a share of --lr; 0 with cnaps and simple-cnaps.",
            LEARNING,
            default=DEFAULTS.backbone_lr,
        ),
    ] = None,
    warmup: Annotated[
        int | None, _flag("Steps of linear warm-up.", LEARNING, default=DEFAULTS.warmup)
    ] = None,
    clip: Annotated[
        float | None, _flag("Largest gradient norm; 0: none.", LEARNING, default=DEFAULTS.clip)
    ] = None,
    inner_steps: Annotated[
        int | None, _flag("maml: steps on a support set.", LEARNING, default=DEFAULTS.inner_steps)
    ] = None,
    inner_lr: Annotated[
        float | None, _flag("maml: rate of those steps.", LEARNING, default=DEFAULTS.inner_lr)
    ] = None,
    augment: Annotated[
        bool | None,
        _flag(
            "Vary the training photos.",
            LEARNING,
            default="augment" if DEFAULTS.augment else "no-augment",
        ),
    ] = None,
    precision: Annotated[
        str | None, _flag("auto, fp32 or bf16.", RUN, default=DEFAULTS.precision)
    ] = None,
    memory: Annotated[
        str | None,
        _flag("Most memory to use; lowers --chunk and --query-batch to fit.", RUN, metavar="8GB"),
    ] = None,
    pretrain_images: Annotated[
        int | None,
        _flag(
            "Photos of a supervised stage before the tasks; 0: no such stage.",
            LEARNING,
            default=DEFAULTS.pretrain.images,
        ),
    ] = None,
    teacher: Annotated[
        list[str] | None,
        _flag("A model whose features that stage imitates; can be repeated.", LEARNING),
    ] = None,
    val: Annotated[
        str | None, _flag("Validation folder; else some classes are held out.", RUN)
    ] = None,
    strict_split: Annotated[
        bool | None,
        _flag(
            "Refuse validation that shares classes or photos with DATA.",
            RUN,
            "--strict-split/--any-split",
            default="strict-split" if DEFAULTS.strict_split else "any-split",
        ),
    ] = None,
    val_every: Annotated[
        int | None,
        _flag(
            "Steps between validations; 0: ten times in a stage.", RUN, default=DEFAULTS.val_every
        ),
    ] = None,
    val_tasks: Annotated[
        int | None, _flag("Tasks of one validation.", RUN, default=DEFAULTS.val_tasks)
    ] = None,
    seed: Annotated[
        int | None, _flag("Everything random follows from it.", RUN, default=DEFAULTS.seed)
    ] = None,
    workers: Annotated[
        str | None,
        _flag(
            "Threads that read photos; auto: one per core.",
            RUN,
            metavar="N",
            default=DEFAULTS.workers or "auto",
        ),
    ] = None,
    resume: Annotated[bool, _flag("Go on where the run stopped.", RUN, "--resume")] = False,
    config_file: Annotated[
        Path | None, _flag("Settings from a TOML file; flags win.", RUN, "--config")
    ] = None,
    dry_run: Annotated[
        bool, _flag("Print data, tasks, cost and memory, and stop.", RUN, "--dry-run")
    ] = False,
) -> None:
    """Train a few-shot learner with LITE.

    Without DATA: an example on drawn objects that takes about ten minutes, with settings of its
    own. With DATA or --config, the defaults below hold.
    """
    flags = {
        "data": tuple(data) if data else None,
        "out": out,
        "learner": learner,
        "head": head,
        "film": film,
        "inner_steps": inner_steps,
        "inner_lr": inner_lr,
        "backbone": backbone,
        "weights": weights,
        "pooled": pooled,
        "projection": projection,
        "feature_power": feature_power,
        "image_size": image_size,
        "gradient": gradient,
        "lite_h": lite_h,
        "stratified": stratified,
        "chunk": chunk,
        "episodes.query": query,
        "query_batch": query_batch,
        "tasks": tasks,
        "tasks_per_step": tasks_per_step,
        "lr": lr,
        "backbone_lr": backbone_lr,
        "warmup": warmup,
        "clip": clip,
        "augment": augment,
        "precision": precision,
        "memory": memory,
        "pretrain.images": pretrain_images,
        "pretrain.teacher": tuple(teacher) if teacher else None,
        "val": val,
        "strict_split": strict_split,
        "val_every": val_every,
        "val_tasks": val_tasks,
        "seed": seed,
        "workers": None if workers is None else parse_workers(workers),
        "device": common.device if common.device_said else None,
    }
    if way is not None:
        flags["episodes.way_min"], flags["episodes.way_max"] = parse_span(way, "--way")
    if support is not None:
        least, most = parse_span(support, "--support", single_is_most=True)
        flags["episodes.support_min"], flags["episodes.support_max"] = least, most
    if resume and config_file is None and out and (Path(out) / RECIPE).is_file():
        config_file = Path(out) / RECIPE
    config = resolve({key: v for key, v in flags.items() if v is not None}, config_file)
    run(common, config, resume, dry_run)


def resolve(flags: dict[str, Any], config_file: Path | None) -> TrainConfig:
    """Defaults, then the file, then the flags, all in range; bare: the ten-minute example."""
    from litecli.library.model_files import architecture_in

    base = DEFAULTS if flags.get("data") or config_file else EXAMPLE
    said = base if config_file is None else read_toml(config_file, base)
    learner = flags.get("learner", said.learner)
    if learner in FILM_LEARNERS:  # as in their papers: the network stays as it is, FiLM steers it
        base = replace(base, backbone_lr=0.0)
    if config_file is not None:
        base = read_toml(config_file, base)
    config = with_values(base, flags)
    if config.head != head_of_learner(config.learner, config.head) and "head" in flags:
        raise LiteError(
            f"--head {config.head} is not for {config.learner}, which has a head of its own.",
            "A head is yours to choose with protonets.",
            f"--learner protonets --head {config.head}, or leave --head out",
            code=ExitCode.USAGE,
        )
    config = replace(config, head=head_of_learner(config.learner, config.head))
    inside = architecture_in(Path(config.weights)) if Path(config.weights).is_dir() else None
    if inside is not None:
        if flags.get("backbone", inside).partition(".")[0] != inside.partition(".")[0]:
            raise LiteError(
                f"The network in {config.weights} is {inside}, not {flags['backbone']}.",
                fix="leave --backbone out, or other --weights",
                code=ExitCode.USAGE,
            )
        config = replace(config, backbone=inside)
    if not config.out:
        backbone = config.backbone.removeprefix("hf-hub:").rpartition("/")[2]
        config = replace(config, out=f"runs/{config.learner}-{backbone}")
    return check(config)


def run(common: Common, config: TrainConfig, resume: bool, dry_run: bool) -> None:
    """Train, or only plan, showing each event as it comes."""
    from litecli.cli import train_progress

    if not resume:
        check_run_folder(Path(config.out), config.data)
    if dry_run:
        train_progress.show_plan(common.out, config)
        return
    from litecli.training import training

    events = training.meta_train(config, resume, offline=common.offline)
    train_progress.show_training(common.out, events, config)
