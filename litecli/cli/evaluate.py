"""`litecli evaluate DATA`: accuracy of a model on few-shot tasks, and what adapting costs."""

import csv
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from litecli.cli.adapt import check_head
from litecli.cli.options import Common, command, on_the_processor
from litecli.cli.output import Output, counted, duration
from litecli.errors import ExitCode, LiteError

if TYPE_CHECKING:
    from litecli.evaluation import Evaluation

JSON_FIELDS = [
    "model",
    "protocol",
    "way",
    "shots",
    "tasks",
    "query",
    "head",
    "accuracy",
    "ci95",
    "adapt_seconds",
    "adapt_macs",
    "passes",
    "images_per_second",
    "images",
    "classes",
    "skipped",
]

EXAMPLES = (
    "litecli evaluate ./photos",
    "litecli evaluate ./photos --way 20 --shots 1 --head ridge",
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
    way: Annotated[int, typer.Option(min=2, help="Classes of a task.")] = 5,
    shots: Annotated[int, typer.Option(min=1, help="Photos to learn from, per class.")] = 5,
    query: Annotated[int, typer.Option(min=1, help="Photos to name, per class.")] = 15,
    tasks: Annotated[int, typer.Option(min=1, help="Number of tasks.")] = 600,
    seed: Annotated[int, typer.Option(min=0, help="Which tasks.")] = 0,
    head: Annotated[
        str | None, typer.Option(help="auto, cosine, euclidean or ridge; else the model's own.")
    ] = None,
    ridge_lambda: Annotated[
        float | None,
        typer.Option(min=1e-6, help="Ridge's penalty; else chosen per task by leave-one-out."),
    ] = None,
    csv_file: Annotated[
        Path | None, typer.Option("--csv", help="Append the result to this CSV file.")
    ] = None,
) -> None:
    """Measure accuracy on few-shot tasks, and the cost to adapt."""
    check_head(head)
    if protocol != "episodes":
        raise LiteError(
            f"There is no protocol {protocol} in this version.",
            fix="--protocol episodes",
            code=ExitCode.USAGE,
        )
    on_the_processor(common, "evaluate")
    from litecli import evaluation, library

    found = library.find_model(model)
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
        progress=common.out.progress("Photos"),
    )
    show(common.out, result, found.name, csv_file)


def show(out: Output, result: "Evaluation", model: str, csv_file: Path | None) -> None:
    """Print the measurement, and append it to the CSV file."""
    values = {"model": model, "protocol": "episodes", **asdict(result)}
    record = {key: values[key] for key in JSON_FIELDS}
    if out.json:
        out.record({"schema": "litecli.evaluate/1", **record})
    accuracy = f"{100 * result.accuracy:.1f} ± {100 * result.ci95:.1f} %"
    shape = f"{result.way}-way {result.shots}-shot"
    out.result(out.styled(f"{accuracy}   {shape}, {counted(result.tasks, 'task')}", "bold"))
    used = f"{counted(result.images, 'photo')} of {result.classes} classes"
    unused = f", {result.skipped} not usable" if result.skipped else ""
    out.result(f"  model   {model}, head {result.head}; {used}{unused}")
    passes = counted(result.passes, "forward pass")
    passes = passes.removesuffix("s") + "es" if result.passes != 1 else passes
    speed = f"{result.images_per_second:.1f} photos/s"
    cost = f"{duration(result.adapt_seconds)}, {result.adapt_macs / 1e9:.2f} GMACs, {passes}"
    out.result(f"  to adapt   {cost}; {speed} decoded and encoded")
    if csv_file is not None:
        append_csv(csv_file, record)
        out.say(f"Appended to {csv_file}")


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
        reason = (error.strerror or str(error)).lower()
        raise LiteError(
            f"Cannot write {path}: {reason}.",
            fix="--csv FILE in a folder you can write to",
            code=ExitCode.MACHINE,
        ) from error
