"""`litecli evaluate DATA`: accuracy of a model on few-shot tasks, and what adapting costs."""

import csv
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from litecli.cli.options import (
    HEADS_IN_WORDS,
    Common,
    check_head,
    command,
    csv_not_written,
    on_the_processor,
)
from litecli.cli.output import Output
from litecli.cli.targets import check_target
from litecli.cli.texts import counted, duration
from litecli.config import LARGEST_SEED
from litecli.errors import ExitCode, LiteError
from litecli.evaluation.defaults import BASELINES, Baseline, EvaluateDefaults, runs_in_torch

if TYPE_CHECKING:
    from litecli.evaluation.evaluation import Evaluation

JSON_FIELDS = [
    "model",
    "protocol",
    "way",
    "shots",
    "tasks",
    "query",
    "head",
    "baseline",
    "accuracy",
    "ci95",
    "adapt_seconds",
    "adapt_macs",
    "adapt_parameters",
    "passes",
    "images_per_second",
    "images",
    "classes",
    "skipped",
    "short_classes",
]
TASKS = EvaluateDefaults()
PROTOCOLS_TO_COME = ("orbit", "vtab", "meta-dataset")

EXAMPLES = (
    "litecli evaluate ./photos",
    "litecli evaluate ./photos --way 20 --shots 1 --head ridge",
    "litecli evaluate ./photos --baseline finetune-film --tasks 60",
    "litecli evaluate ./photos --model mine --json",
)


def add_to(app: typer.Typer, panel: str) -> None:
    """Give `app` this command."""
    command(app, "evaluate", panel=panel, examples=EXAMPLES)(evaluate)


def evaluate(
    common: Common,
    data: Annotated[Path, typer.Argument(help="A folder with one sub-folder per class.")],
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Model name or folder; else the current.")
    ] = None,
    protocol: Annotated[str, typer.Option(help="How tasks are drawn: episodes.")] = "episodes",
    way: Annotated[int, typer.Option(min=2, help="Classes of a task.")] = TASKS.way,
    shots: Annotated[
        int, typer.Option(min=1, help="Photos to learn from, per class.")
    ] = TASKS.shots,
    query: Annotated[int, typer.Option(min=1, help="Photos to name, per class.")] = TASKS.query,
    tasks: Annotated[int, typer.Option(min=1, help="Number of tasks.")] = TASKS.tasks,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Which tasks are drawn.")] = 0,
    head: Annotated[
        str | None,
        typer.Option(help=f"{HEADS_IN_WORDS}; else the model's own."),
    ] = None,
    ridge_lambda: Annotated[
        float | None,
        typer.Option(
            min=1e-6, max=1e6, help="Penalty of ridge; else chosen per task by leave-one-out."
        ),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(help="Adapt another way: linear, finetune, finetune-film or maml."),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Gradient steps of the baseline on each task.")
    ] = None,
    lr: Annotated[float | None, typer.Option(min=1e-9, max=10, help="Rate of those steps.")] = None,
    csv_file: Annotated[
        Path | None, typer.Option("--csv", help="Append the result to this CSV file.")
    ] = None,
) -> None:
    """Measure accuracy on few-shot tasks, and the cost to adapt."""
    check_head(head)
    check_protocol(protocol)
    chosen = choose_baseline(baseline, steps, lr)
    if chosen is not None and (head is not None or ridge_lambda is not None):
        raise LiteError(
            f"--baseline {chosen.name} has a classifier of its own.",
            "--head and --ridge-lambda choose among the heads that need no baseline.",
            "leave --head and --ridge-lambda out, or --baseline",
            code=ExitCode.USAGE,
        )
    if csv_file is not None:
        check_csv(csv_file, data)
    from litecli import library
    from litecli.evaluation import evaluation

    found = library.find_model(model)
    if not runs_in_torch(found.config, head, chosen):
        on_the_processor(common, "this evaluation")
    result = evaluation.evaluate(
        data,
        found,
        way=way,
        shots=shots,
        query=query,
        tasks=tasks,
        seed=seed,
        head=head,
        lam=ridge_lambda,
        baseline=chosen,
        device=common.device,
        progress=common.out.progress,
    )
    show(common.out, result, found.name, csv_file)


def check_protocol(protocol: str) -> None:
    """Raise LiteError (USAGE) for a protocol that this version has not."""
    if protocol == "episodes":
        return
    later = protocol in PROTOCOLS_TO_COME
    raise LiteError(
        f"There is no protocol {protocol} in this version." + later * " It is planned.",
        "Tasks are drawn at random from the classes of one folder.",
        "--protocol episodes",
        code=ExitCode.USAGE,
    )


def choose_baseline(name: str | None, steps: int | None, lr: float | None) -> Baseline | None:
    """The baseline of that name with these steps; LiteError (USAGE) where they fit no baseline."""
    if name is not None and name not in BASELINES:
        raise LiteError(
            f"There is no baseline {name}.",
            f"Baselines: {', '.join(BASELINES)}.",
            code=ExitCode.USAGE,
        )
    chosen = None if name is None else BASELINES[name]
    if steps is None and lr is None:
        return chosen
    if chosen is None or chosen.steps == 0:
        with_steps = ", ".join(b.name for b in BASELINES.values() if b.steps)
        raise LiteError(
            "--steps and --lr are for baselines that take gradient steps.",
            f"Those are {with_steps}.",
            "--baseline finetune",
            code=ExitCode.USAGE,
        )
    return replace(
        chosen,
        steps=chosen.steps if steps is None else steps,
        lr=chosen.lr if lr is None else lr,
    )


def show(out: Output, result: "Evaluation", model: str, csv_file: Path | None) -> None:
    """Print the measurement, and append it to the CSV file."""
    values = {"model": model, "protocol": "episodes", **asdict(result)}
    record = {key: values[key] for key in JSON_FIELDS}
    if result.short_classes:
        few = counted(result.shots, "photo")
        out.say(
            f"Note: {result.short_classes} of {result.classes} classes have too few photos for "
            f"{few} to learn from and one to name; tasks learn those from fewer."
        )
    if result.looks < result.model_looks:
        out.say(
            f"Note: gradient steps take {counted(result.looks, 'look')} at each photo; the model's "
            f"own way is the mean of {result.model_looks}."
        )
    if out.json:
        out.record({"schema": "litecli.evaluate/1", **record})
    accuracy = f"{100 * result.accuracy:.1f} ± {100 * result.ci95:.1f} %"
    shape = f"{result.way}-way {result.shots}-shot"
    out.result(out.styled(f"{accuracy}   {shape}, {counted(result.tasks, 'task')}", "bold"))
    used = f"{counted(result.images, 'photo')} of {result.classes} classes"
    unused = f", {result.skipped} not usable" if result.skipped else ""
    way = f"baseline {result.baseline}" if result.baseline else f"head {result.head}"
    out.result(f"  model   {model}, {way}; {used}{unused}")
    passes = "1 forward pass" if result.passes == 1 else f"{result.passes} forward passes"
    read = "decoded and encoded" if result.encoded else "decoded"
    cost = f"{duration(result.adapt_seconds)}, {result.adapt_macs / 1e9:.2f} GMACs, {passes}"
    cost += f", {counted(result.adapt_parameters, 'parameter')} set"
    out.result(f"  to adapt   {cost}; {result.images_per_second:.1f} photos/s {read}")
    if csv_file is not None:
        append_csv(csv_file, record)
        out.say(f"Appended to {csv_file}")


def check_csv(path: Path, data: Path) -> None:
    """LiteError where the table must not be written (USAGE) or has other columns (INPUT)."""
    check_target(
        path,
        "--csv",
        kind="table",
        folder=os.path.realpath(data),
        is_ours=lambda table: columns(table) is not None,
        suggested="evaluate.csv",
        devices=True,
    )
    if path.is_file() and columns(path) != JSON_FIELDS:
        raise LiteError(
            f"{path} is a table with other columns.",
            "A line of this result would not fit under them.",
            "--csv with a new file",
            code=ExitCode.INPUT,
        )


def columns(path: Path) -> list[str] | None:
    """The columns of a table, ours where it is still empty; None where a file is no table."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return next(csv.reader(file), JSON_FIELDS)
    except (OSError, ValueError, csv.Error):
        return None


def append_csv(path: Path, record: dict[str, object]) -> None:
    """Add one line to the table, with a header when the file is new; LiteError (MACHINE)."""
    try:
        new = not path.exists() or path.stat().st_size == 0
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(record))
            if new:
                writer.writeheader()
            writer.writerow(record)
    except OSError as error:
        raise csv_not_written(path, error) from error
