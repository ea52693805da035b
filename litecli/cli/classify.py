"""`litecli classify PHOTO...`: name what is in new photos.

People get words, programs get tab-separated lines (path, label, confidence), and --json and --csv
give everything. Answers appear as they are found, in input order.
"""

import csv
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from litecli.cli.answer_page import AnswerPage
from litecli.cli.answers import CSV_HEADER, Style, answer_json, csv_row, lines_for_people, tsv
from litecli.cli.options import Common, command, on_the_processor
from litecli.cli.output import Output, counted, shortened
from litecli.cli.photo_arguments import Photo, expand, show_skipped
from litecli.errors import ExitCode, LiteError

if TYPE_CHECKING:
    from litecli.predictions import Prediction

STDIN = "-"
NAMED_IN_ERRORS = 5
NO_FILE = "no such file"

EXAMPLES = (
    "litecli classify photo.jpg",
    "litecli classify lunch.jpg --top 2",
    "litecli classify inbox/ --csv out.csv",
    "litecli classify inbox/ --recursive --report answers.html",
)


def add_to(app: typer.Typer, panel: str) -> None:
    """Give `app` this command."""
    command(app, "classify", panel=panel, examples=EXAMPLES)(classify)


def classify(
    common: Common,
    photos: Annotated[
        list[str] | None, typer.Argument(help="Photos and folders of photos; - reads stdin.")
    ] = None,
    profile: Annotated[
        str | None, typer.Option("--profile", "-p", help="Profile name or file; else the current.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Show this many answers.")] = 1,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show your photo that is most alike.")
    ] = False,
    no_unknown: Annotated[
        bool, typer.Option("--no-unknown", help="Always name an object, never unknown.")
    ] = False,
    unknown_threshold: Annotated[
        float | None, typer.Option(help="Novelty above which a photo is unknown.")
    ] = None,
    csv_file: Annotated[
        Path | None, typer.Option("--csv", help="Write the answers to this CSV file.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option("--report", help="Write a page with the photos and answers.")
    ] = None,
    stdin_paths: Annotated[
        bool, typer.Option("--stdin-paths", help="Read paths from stdin, one a line.")
    ] = False,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Look into sub-folders too.")
    ] = False,
    fail_on_unknown: Annotated[
        bool, typer.Option("--fail-on-unknown", help="Exit with 7 when a photo is unknown.")
    ] = False,
) -> int | None:
    """Name your objects in new photos, or say that they are unknown."""
    from litecli import library, predictions

    out = common.out
    on_the_processor(common, "classify")
    if no_unknown and unknown_threshold is not None:
        raise LiteError(
            "--no-unknown and --unknown-threshold contradict each other.",
            fix="give one of them",
            code=ExitCode.USAGE,
        )
    arguments = list(photos or [])
    if stdin_paths:
        lines = sys.stdin.buffer.read().splitlines()
        arguments += [os.fsdecode(line) for line in lines if line.strip()]
    if not arguments:
        raise LiteError(
            "Which photos?" if not stdin_paths else "No paths came on stdin.",
            fix="litecli classify photo.jpg" if not stdin_paths else "",
            code=ExitCode.USAGE if not stdin_paths else ExitCode.INPUT,
        )
    image = image_from_stdin() if arguments == [STDIN] else None
    learned = library.load_profile(profile)
    page = AnswerPage(report, learned, image) if report is not None else None
    chosen, skipped = ([], []) if image is not None else expand(arguments, recursive)
    show_skipped(out, skipped)
    answers = predictions.classify(
        [p.path for p in chosen] if image is None else [(STDIN, image)],
        learned,
        library.model_of(learned),
        unknown_threshold=unknown_threshold,
        allow_unknown=not no_unknown,
    )
    if any(p.missing for p in chosen):
        answers = told_missing(answers, chosen)
    style = Style(len(learned.labels), top, explain, many=len(chosen) > 1)
    with ExitStack() as files:
        table = None
        if csv_file is not None:
            table = csv.writer(files.enter_context(open_csv(csv_file)))
        named = [p.named for p in chosen] or [True]
        return show_all(out, answers, named, style, table, csv_file, page, fail_on_unknown)


def told_missing(
    answers: "Iterable[Prediction]", photos: "Iterable[Photo]"
) -> "Iterator[Prediction]":
    """The answers, where a file that never was there did not "change while reading"."""
    for answer, photo in zip(answers, photos, strict=True):
        lost = photo.missing and answer.error is not None
        yield replace(answer, error=NO_FILE) if lost else answer


def image_from_stdin() -> bytes:
    """The bytes of the image on stdin; a terminal there is a mistake, not something to wait for."""
    if sys.stdin.isatty():
        raise LiteError(
            "classify - reads an image from stdin, and stdin is this terminal.",
            "Send it a file.",
            "litecli classify - < photo.jpg",
            code=ExitCode.USAGE,
        )
    from litecli.decoding import MAX_FILE_BYTES

    data = sys.stdin.buffer.read(MAX_FILE_BYTES + 1)  # one more than can be used: it says so
    if not data:
        raise LiteError(
            "There is no image on stdin.", fix="litecli classify - < photo.jpg", code=ExitCode.INPUT
        )
    return data


def open_csv(path: Path) -> Any:
    """Open the table for writing, its header written, each line flushed as it comes."""
    try:
        file = path.open("w", newline="", encoding="utf-8", errors="surrogateescape", buffering=1)
    except OSError as error:
        raise LiteError(
            f"Cannot write {path}: {(error.strerror or str(error)).lower()}.",
            fix="--csv FILE in a folder you can write to",
            code=ExitCode.MACHINE,
        ) from error
    csv.writer(file).writerow(CSV_HEADER)
    return file


def show_all(
    out: Output,
    answers: "Iterable[Prediction]",
    named: list[bool],
    style: Style,
    table: Any,
    csv_file: Path | None,
    page: AnswerPage | None,
    fail_on_unknown: bool,
) -> int | None:
    """Show the answers one by one; LiteError (INPUT) when named files could not be used."""
    progress = out.progress("Photos") if table is not None else None
    failed: list[Prediction] = []
    unknown = 0
    for number, (answer, by_name) in enumerate(zip(answers, named, strict=True), start=1):
        unknown += answer.error is None and not answer.known
        if answer.error is not None and by_name:
            failed.append(answer)
        if out.json:
            out.record(answer_json(answer))
        if page is not None:
            page.add(answer)
        if table is not None:
            table.writerow(csv_row(answer))
        elif not out.json:
            for line in (
                lines_for_people(out, answer, style) if out.for_people else tsv(answer, style)
            ):
                out.result(line)
        if progress:
            progress(number, len(named))
    if csv_file is not None:
        out.say(f"Wrote {counted(len(named), 'answer')} to {csv_file}")
    if page is not None:
        page.save()
        out.say(f"Wrote {counted(len(named), 'answer')} to {page.path}; open it in a browser.")
    if failed:
        return report_failed(out, failed, len(named))
    return ExitCode.UNKNOWN if unknown and fail_on_unknown else None


def report_failed(out: Output, failed: "list[Prediction]", total: int) -> int:
    """Name the files of the command line that could not be read; raises LiteError unless --json."""
    if out.json:  # each one's own line has said so already
        return ExitCode.INPUT
    listed = ", ".join(f"{shortened(a.path, 80)} ({a.error})" for a in failed[:NAMED_IN_ERRORS])
    more = f" and {len(failed) - NAMED_IN_ERRORS} more" if len(failed) > NAMED_IN_ERRORS else ""
    what = f"{len(failed)} of {total} photos could not be used: {listed}{more}."
    if total == 1:
        what = f"{shortened(failed[0].path, 80)}: {failed[0].error}".rstrip(".")
        what += "" if what.endswith("?") else "."
    raise LiteError(what, code=ExitCode.INPUT)
