"""`litecli audit [DATA]`: bias and spread of every support gradient against the exact one."""

import csv
import io
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from litecli.audit.settings import AUDITED, AuditSettings
from litecli.cli.options import Common, command
from litecli.cli.output import Output
from litecli.cli.targets import check_target, start_of
from litecli.config import LARGEST_SEED
from litecli.errors import ExitCode, LiteError

if TYPE_CHECKING:
    from litecli.audit.data import AuditData
    from litecli.audit.moments import Row
    from litecli.networks.model import FewShotModel

COLUMNS = ("gradient", "H", "bias", "noise", "spread", "cosine", "biased")
HEADER = ("part", *COLUMNS)  # of the CSV file
DEFAULTS = AuditSettings()

EXAMPLES = (
    "litecli audit",
    "litecli audit ./photos --lite-h 1,5,20,40 --plot audit.png",
    "litecli audit --learner simple-cnaps --draws 10",
)


def add_to(app: typer.Typer, panel: str) -> None:
    """Give `app` this command."""
    command(app, "audit", panel=panel, examples=EXAMPLES)(audit)


def audit(
    common: Common,
    data: Annotated[
        Path | None, typer.Argument(help="A folder of class folders; none: drawn objects.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Model name or folder; else the current.")
    ] = None,
    learner: Annotated[
        str | None, typer.Option(help=f"{', '.join(AUDITED)}; else the model's own.")
    ] = None,
    lite_h: Annotated[
        str, typer.Option(help="Support photos back-propagated.", metavar="H,H,...")
    ] = ",".join(map(str, DEFAULTS.lite_h)),
    way: Annotated[int, typer.Option(min=2, help="Classes of a task.")] = DEFAULTS.way,
    support: Annotated[
        int, typer.Option(min=2, max=100_000, help="About this many support photos per task.")
    ] = DEFAULTS.support,
    query: Annotated[
        int, typer.Option(min=1, help="Query photos per class, at most.")
    ] = DEFAULTS.query,
    tasks: Annotated[int, typer.Option(min=1, help="Number of tasks.")] = DEFAULTS.tasks,
    draws: Annotated[
        int, typer.Option(min=2, help="Draws of each gradient, per task.")
    ] = DEFAULTS.draws,
    image_size: Annotated[
        int | None, typer.Option(min=32, max=1024, help="Pixels of a side; else at most 64.")
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=LARGEST_SEED, help="Everything random follows from it.")
    ] = DEFAULTS.seed,
    csv_file: Annotated[
        Path | None, typer.Option("--csv", help="Write the table to this CSV file.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw the table to this PNG file.", metavar="FILE.png")
    ] = None,
) -> None:
    """Compare support gradients with the exact one."""
    sizes = parse_sizes(lite_h)
    if plot is not None and plot.suffix.lower() != ".png":
        raise LiteError(
            f"{plot} is not the name of a PNG file.",
            fix=f"--plot {plot.with_suffix('.png')}",
            code=ExitCode.USAGE,
        )
    check_files(csv_file, plot, data)
    from litecli import library, storage
    from litecli.audit import audit as engine
    from litecli.audit import data as audit_data
    from litecli.audit import plot as audit_plot
    from litecli.audit.learner import open_learner
    from litecli.networks.devices import resolve_device

    out, device = common.out, resolve_device(common.device)
    found = library.find_model(model)
    opened, new = open_learner(found, learner, image_size, seed)
    settings = AuditSettings(way, support, query, tasks, draws, sizes, seed)
    side = opened.backbone.preprocess.resize_side
    if data is None:
        examined = audit_data.drawn_tasks(settings, side)
    else:
        examined = audit_data.photo_tasks(data, settings, side, out.progress("Photos"))
    name = learner or found.config.learner
    say_what(out, opened, examined, settings)
    if new:
        out.say(f"Note: {found.name} has no {name} learner; this one is new and random.")
    rows = engine.audit(opened.to(device), examined, settings, out.progress("Gradients"))

    title = f"{found.name}, {name}; {examined.summary()}"
    if out.json:
        facts = {"model": found.name, "learner": name, "data": examined.name}
        facts |= {"new_learner": new, **asdict(settings), "skipped": examined.skipped}
        facts["image_size"] = opened.backbone.preprocess.image_size
        records = [row_record(row) for row in rows]
        out.record({"schema": "litecli.audit/1", **facts, "rows": records})
    show(out, rows, title)
    if csv_file is not None:
        storage.atomic_write(csv_file, csv_text(table(rows)).encode(), what=f"the table {csv_file}")
        out.say(f"Wrote {csv_file}")
    if plot is not None:
        storage.atomic_write(plot, audit_plot.draw(rows, title), what=f"the picture {plot}")
        out.say(f"Wrote {plot}")


def check_files(csv_file: Path | None, plot: Path | None, data: Path | None) -> None:
    """Raise LiteError (USAGE) where the table or the picture must not be written."""
    photos = None if data is None else os.path.realpath(data)
    for path, flag, kind, ours, suggested in (
        (csv_file, "--csv", "table", starts_with(f"{','.join(HEADER)}\n".encode()), "audit.csv"),
        (plot, "--plot", "picture", starts_with(b"\x89PNG", b"Matplotlib"), "audit.png"),
    ):
        if path is not None:
            check_target(path, flag, kind=kind, folder=photos, is_ours=ours, suggested=suggested)


def starts_with(first: bytes, also: bytes = b"") -> Callable[[Path], bool]:
    """Whether a file begins so, and has something else near its start: one that audit wrote."""

    def is_ours(path: Path) -> bool:
        start = start_of(path, 512)
        return start.startswith(first) and also in start

    return is_ours


def parse_sizes(text: str) -> tuple[int, ...]:
    """ "5,10,20" as (5, 10, 20), in rising order; LiteError (USAGE) otherwise."""
    words = [word.strip() for word in text.split(",")]
    if not all(re.fullmatch(r"0*[1-9][0-9]{0,17}", word) for word in words):
        raise LiteError(
            f"--lite-h {text} is not a list of numbers of photos.",
            fix="--lite-h 5,10,20",
            code=ExitCode.USAGE,
        )
    return tuple(sorted({int(word) for word in words}))


def say_what(
    out: Output, model: "FewShotModel", data: "AuditData", settings: "AuditSettings"
) -> None:
    """What is about to be compared, and what is odd about it."""
    size = model.backbone.preprocess.image_size
    out.say(f"{data.summary()}, {size} px; {settings.draws} draws of each gradient")
    if data.skipped:
        out.say(f"Note: {data.skipped} photos could not be read; others took their places.")
    fewest = min(len(episode.support) for episode in data.episodes)
    if settings.lite_h[-1] >= fewest:
        out.say(f"Note: an H of {fewest} photos or more is the whole support set: exact.")
    ways = max(episode.way for episode in data.episodes)
    if settings.lite_h[0] < ways:
        out.say(f"Note: a small task keeps a photo of every class: {ways} at least.")


def show(out: Output, rows: "Sequence[Row]", title: str) -> None:
    """Print the table: aligned for people, with tabs for programs."""
    if not out.for_people:
        for line in table(rows):
            out.result("\t".join(line))
        return
    out.result(out.styled(title, "bold"))
    for part in dict.fromkeys(row.part for row in rows):
        out.result()
        out.result(f"Gradient of {'all that is learned' if part == 'all' else f'the {part}'}")
        shown = [_cells(row) for row in rows if row.part == part]
        out.table(COLUMNS, shown, right="H bias noise spread cosine")
    out.result()
    out.result("bias, noise and spread are shares of the exact gradient's length.")
    out.result("noise is the bias that chance alone would show; more --draws make it smaller.")
    out.result("biased is yes where it is more than chance, by three standard errors.")


def row_record(row: "Row") -> dict[str, object]:
    """One row of --json; `biased` is null where there were too few draws to tell."""
    facts: dict[str, object] = asdict(row)
    del facts["most_evidence"]  # may be infinite
    return facts | {"biased": row.biased if row.biased or row.decided else None}


def table(rows: "Sequence[Row]") -> list[list[str]]:
    """A header and the rows, for programs."""
    return [[*HEADER], *([row.part, *_cells(row)] for row in rows)]


def csv_text(lines: Sequence[Sequence[str]]) -> str:
    """The lines as CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()


def _cells(row: "Row") -> list[str]:
    numbers = [f"{value:.4f}" for value in (row.bias, row.noise, row.spread, row.cosine)]
    biased = "yes" if row.biased else "not seen" if row.decided else "too few draws"
    return [row.gradient, str(row.h), *numbers, biased]
