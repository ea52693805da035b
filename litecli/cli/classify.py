"""`litecli classify PHOTO...`: name what is in new photos.

People get words, programs get tab-separated lines (path, label, confidence), and --json and --csv
give everything. Answers appear as they are found, in input order.
"""

import sys
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from litecli.cli.answer_page import AnswerPage
from litecli.cli.answer_table import AnswerTable
from litecli.cli.answers import Style, answer_json, lines_for_people, tsv
from litecli.cli.options import Common, command, on_the_processor
from litecli.cli.output import Output
from litecli.cli.photo_arguments import PhotoArgument, expand, show_left_out
from litecli.cli.stdin_paths import StdinPaths, all_paths
from litecli.cli.targets import check_two_targets
from litecli.cli.texts import counted, shortened_path
from litecli.errors import ExitCode, LiteError

if TYPE_CHECKING:
    from litecli.personal.predictions import Prediction

STDIN = "-"
NAMED_IN_ERRORS = 5

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
    top: Annotated[int, typer.Option(min=1, help="Show this many answers per photo.")] = 1,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show which of your photos is most alike.")
    ] = False,
    no_unknown: Annotated[
        bool, typer.Option("--no-unknown", help="Always name an object, never unknown.")
    ] = False,
    unknown_threshold: Annotated[
        float | None,
        typer.Option(
            help="Novelty (see --json) above which a photo is unknown; else the profile's own."
        ),
    ] = None,
    csv_file: Annotated[
        Path | None, typer.Option("--csv", help="Write the answers to this CSV file.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option("--report", help="Write a page with the photos and answers.")
    ] = None,
    stdin_paths: Annotated[
        bool, typer.Option("--stdin-paths", help="Read paths from stdin, one per line.")
    ] = False,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Look into sub-folders too.")
    ] = False,
    fail_on_unknown: Annotated[
        bool, typer.Option("--fail-on-unknown", help="Exit with 7 when a photo is unknown.")
    ] = False,
) -> int | None:
    """Name your objects in new photos, or say that they are unknown."""
    from litecli import library
    from litecli.personal import predictions

    out = common.out
    on_the_processor(common, "classify")
    if no_unknown and unknown_threshold is not None:
        raise LiteError(
            "--no-unknown and --unknown-threshold contradict each other.",
            fix="give one of them",
            code=ExitCode.USAGE,
        )
    if csv_file is not None and report is not None:
        check_two_targets(csv_file, report)
    arguments = list(photos or [])
    if "" in arguments:
        raise LiteError(
            "An empty name is no photo.", "Perhaps a variable is not set.", code=ExitCode.USAGE
        )
    stream = StdinPaths(out, recursive) if stdin_paths and not arguments else None
    if stdin_paths and stream is None:
        arguments += all_paths()
    if stream is not None and stream.is_empty():
        raise LiteError("No paths came on stdin.", code=ExitCode.INPUT)
    if not arguments and stream is None:
        fix = "litecli classify photo.jpg"
        raise LiteError("Which photos?", fix=fix, code=ExitCode.USAGE)
    image = image_from_stdin() if arguments == [STDIN] else None
    learned = library.load_profile(profile)
    chosen: list[PhotoArgument] = []
    if image is None and stream is None:
        expanded = expand(arguments, recursive)
        show_left_out(out, expanded)
        chosen = expanded.photos
    inputs = [Path(photo.path) for photo in chosen]
    page = AnswerPage(report, learned, image is not None, inputs) if report is not None else None
    table = AnswerTable(csv_file, learned.folder, inputs) if csv_file is not None else None
    answers = predictions.classify(
        stream or ([(STDIN, image)] if image is not None else inputs),
        learned,
        library.model_of(learned),
        unknown_threshold=unknown_threshold,
        allow_unknown=not no_unknown,
        idle=stream.idle if stream else None,
        thumbnails=page is not None,
    )
    many = stream is not None or len(chosen) > 1
    style = Style(len(learned.labels), top, explain, many)
    asked = stream.given() if stream else chosen or [PhotoArgument(STDIN, named=True)]
    total = None if stream else max(1, len(chosen))
    with table or nullcontext():
        return show_all(out, answers, asked, total, style, table, page, fail_on_unknown)


def image_from_stdin() -> bytes:
    """The bytes of the image on stdin; a terminal there is a mistake, not something to wait for."""
    if sys.stdin.isatty():
        raise LiteError(
            "classify - reads an image from stdin, and stdin is this terminal.",
            "Send it a file.",
            "litecli classify - < photo.jpg",
            code=ExitCode.USAGE,
        )
    from litecli.photos.decoding import MAX_FILE_BYTES

    data = sys.stdin.buffer.read(MAX_FILE_BYTES + 1)  # one more than can be used: it says so
    if not data:
        raise LiteError(
            "There is no image on stdin.", fix="litecli classify - < photo.jpg", code=ExitCode.INPUT
        )
    return data


def show_all(
    out: Output,
    answers: "Iterable[Prediction]",
    asked: Iterable[PhotoArgument],
    total: int | None,
    style: Style,
    table: AnswerTable | None,
    page: AnswerPage | None,
    fail_on_unknown: bool,
) -> int | None:
    """Show the answers one by one; `total` is None while nobody knows how many there will be.

    Raises LiteError (INPUT): files that were named could not be used, or none of all.
    """
    progress = out.progress("Photos") if table is not None and total is not None else None
    failed: list[tuple[Prediction, bool]] = []
    number = unknown = 0
    for number, (answer, photo) in enumerate(zip(answers, asked, strict=True), start=1):
        if answer.error is not None:
            # A file that never was there did not "change while reading".
            answer = replace(answer, error=photo.problem or answer.error)
            failed.append((answer, photo.named))
        unknown += answer.error is None and not answer.known
        if out.json:
            out.record(answer_json(answer))
        if page is not None:
            page.add(answer)
        if table is not None:
            table.add(answer)
        elif not out.json:
            for line in (
                lines_for_people(out, answer, style) if out.for_people else tsv(answer, style)
            ):
                out.result(line)
        if progress and total is not None:
            progress(number, total)
    if table is not None:
        out.say(f"Wrote {counted(number, 'answer')} to {table.path}")
    if page is not None:
        page.save()
        out.say(f"Wrote {counted(number, 'answer')} to {page.path}; open it in a browser.")
    # Of a folder's photos some may be bad, but not all of them.
    told = [answer for answer, by_name in failed if by_name or len(failed) == number]
    if told:
        return report_failed(out, told, number)
    return ExitCode.UNKNOWN if unknown and fail_on_unknown else None


def report_failed(out: Output, failed: "list[Prediction]", total: int) -> int:
    """Name the files that should have been photos; raises LiteError unless --json."""
    if out.json:  # each one's own line has said so already
        return ExitCode.INPUT
    listed = ", ".join(
        f"{shortened_path(a.path, 80)} ({a.error})" for a in failed[:NAMED_IN_ERRORS]
    )
    more = f" and {len(failed) - NAMED_IN_ERRORS} more" if len(failed) > NAMED_IN_ERRORS else ""
    what = f"{len(failed)} of {total} photos could not be used: {listed}{more}."
    if total == 1:
        what = f"{shortened_path(failed[0].path, 80)}: {failed[0].error}".rstrip(".")
        what += "" if what.endswith("?") else "."
    raise LiteError(what, code=ExitCode.INPUT)
