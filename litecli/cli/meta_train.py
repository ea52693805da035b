"""`litecli meta-train [DATA...]`: teach a network to learn new objects from few photos, with LITE.

Settings: defaults, then --config, then flags (train_config.py), and all in range (train_ranges.py).
The engine yields events; here they become lines with the time that is left.
"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from litecli.cli.options import Common, command
from litecli.cli.train_config import (
    EXAMPLE,
    parse_span,
    parse_workers,
    read_toml,
    with_values,
)
from litecli.cli.train_ranges import check
from litecli.config import FILM_LEARNERS, HEADS, LEARNERS, TrainConfig, head_of

RECIPE = "recipe.toml"  # in the run folder; --config reads it back

EXAMPLES = (
    "litecli meta-train",
    "litecli meta-train ./photos --out runs/mine --weights none --pretrain-images 200000",
    "litecli meta-train ./photos --way 5-20 --support 500 --lite-h 16 --dry-run",
    "litecli meta-train --config runs/mine/recipe.toml --resume",
)

TASK, LEARNING, NETWORK, RUN = "The task", "Learning", "The network", "The run"


def _flag(help: str, panel: str, *names: str, metavar: str | None = None) -> Any:
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
    learner: Annotated[str | None, _flag(f"{', '.join(LEARNERS)}.", LEARNING)] = None,
    head: Annotated[str | None, _flag(f"Of protonets: {', '.join(HEADS)}.", LEARNING)] = None,
    film: Annotated[
        str | None, _flag("FiLM from a set encoder: on, off or auto (by learner).", LEARNING)
    ] = None,
    backbone: Annotated[str | None, _flag("A timm name, or hf-hub: and more.", NETWORK)] = None,
    weights: Annotated[
        str | None, _flag("auto, none, FILE or timm DIR.", NETWORK, metavar="WHICH")
    ] = None,
    pooled: Annotated[
        bool | None,
        _flag("Features from before the network's last, widening layer.", NETWORK, "--pooled"),
    ] = None,
    image_size: Annotated[int | None, _flag("Pixels of a side.", NETWORK)] = None,
    gradient: Annotated[
        str | None, _flag("Of the support set: lite, exact, full, none or small-task.", LEARNING)
    ] = None,
    lite_h: Annotated[
        int | None, _flag("Support photos that get a gradient, with lite.", LEARNING)
    ] = None,
    stratified: Annotated[
        bool | None, _flag("Spread them over the classes.", LEARNING, "--stratified/--uniform")
    ] = None,
    chunk: Annotated[int | None, _flag("Photos in the network at once.", LEARNING)] = None,
    way: Annotated[str | None, _flag("Classes of a task.", TASK, metavar="A-B")] = None,
    support: Annotated[
        str | None, _flag("Support photos of a task; one number: at most.", TASK, metavar="A-B")
    ] = None,
    query: Annotated[int | None, _flag("Query photos per class, at most.", TASK)] = None,
    query_batch: Annotated[int | None, _flag("Query photos at once.", LEARNING)] = None,
    tasks: Annotated[int | None, _flag("Tasks of the whole run.", RUN)] = None,
    tasks_per_step: Annotated[int | None, _flag("Tasks per optimiser step.", LEARNING)] = None,
    lr: Annotated[float | None, _flag("Learning rate.", LEARNING)] = None,
    backbone_lr: Annotated[float | None, _flag("The network's rate, times --lr.", LEARNING)] = None,
    warmup: Annotated[int | None, _flag("Steps of linear warm-up.", LEARNING)] = None,
    clip: Annotated[float | None, _flag("Largest gradient norm; 0: none.", LEARNING)] = None,
    inner_steps: Annotated[int | None, _flag("maml: steps on a support set.", LEARNING)] = None,
    inner_lr: Annotated[float | None, _flag("maml: rate of those steps.", LEARNING)] = None,
    augment: Annotated[bool | None, _flag("Vary the training photos.", LEARNING)] = None,
    precision: Annotated[str | None, _flag("auto, fp32 or bf16.", RUN)] = None,
    memory: Annotated[
        str | None,
        _flag("Most to use; lowers --chunk and --query-batch to fit.", RUN, metavar="8GB"),
    ] = None,
    pretrain_images: Annotated[
        int | None, _flag("Photos of a supervised stage before the tasks.", LEARNING)
    ] = None,
    teacher: Annotated[
        list[str] | None,
        _flag("A model whose features that stage imitates; may be repeated.", LEARNING),
    ] = None,
    val: Annotated[
        str | None, _flag("Validation folder; else some classes are held out.", RUN)
    ] = None,
    strict_split: Annotated[
        bool | None,
        _flag("Refuse a --val that shares classes with DATA.", RUN, "--strict-split/--any-split"),
    ] = None,
    val_every: Annotated[int | None, _flag("Steps between validations.", RUN)] = None,
    val_tasks: Annotated[int | None, _flag("Tasks of one validation.", RUN)] = None,
    seed: Annotated[int | None, _flag("Everything random follows from it.", RUN)] = None,
    workers: Annotated[
        str | None, _flag("Threads that read photos; auto: one a core.", RUN, metavar="N")
    ] = None,
    resume: Annotated[bool, _flag("Go on where the run folder stopped.", RUN, "--resume")] = False,
    config_file: Annotated[
        Path | None, _flag("Settings from a TOML file; flags win.", RUN, "--config")
    ] = None,
    dry_run: Annotated[
        bool, _flag("Print data, tasks, cost and memory, and stop.", RUN, "--dry-run")
    ] = False,
) -> None:
    """Train a few-shot learner with LITE.

    Without DATA and settings: an example on drawn objects that takes about ten minutes.
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
        "device": None if common.device == "auto" else common.device,
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
    base = TrainConfig() if flags.get("data") or config_file else EXAMPLE
    said = base if config_file is None else read_toml(config_file, base)
    learner = flags.get("learner", said.learner)
    if learner in FILM_LEARNERS:  # as in their papers: the network stays as it is, FiLM steers it
        base = replace(base, backbone_lr=0.0)
    if config_file is not None:
        base = read_toml(config_file, base)
    config = with_values(base, flags)
    config = replace(config, head=head_of(config.learner, config.head))
    if not config.out:
        backbone = config.backbone.removeprefix("hf-hub:").rpartition("/")[2]
        config = replace(config, out=f"runs/{config.learner}-{backbone}")
    return check(config)


def run(common: Common, config: TrainConfig, resume: bool, dry_run: bool) -> None:
    """Train, or only plan, showing each event as it comes."""
    from litecli.cli import train_progress

    if dry_run:
        train_progress.show_plan(common.out, config)
        return
    from litecli import training

    events = training.meta_train(config, resume, offline=common.offline)
    train_progress.show_training(common.out, events, config)
