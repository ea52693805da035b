"""`litecli report [PROFILE]`: what a profile knows and lacks, as one HTML file with pictures."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from litecli.cli.options import Common, command
from litecli.cli.targets import check_page, save_page
from litecli.cli.texts import counted, size

if TYPE_CHECKING:
    from litecli.personal.report import Report

EXAMPLES = (
    "litecli report",
    "litecli report garage -o garage.html",
    "litecli report for_a_friend.safetensors",
    "litecli report --json",
)


def add_to(app: typer.Typer, panel: str) -> None:
    """Give `app` this command."""
    command(app, "report", panel=panel, examples=EXAMPLES)(report)


def report(
    common: Common,
    profile: Annotated[
        str | None, typer.Argument(help="A profile's name or file; else the current one.")
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The page to write.", show_default=True)
    ] = Path("report.html"),
) -> None:
    """Show what is learned, mixed up and missing, with pictures."""
    from litecli import library
    from litecli.personal.report import report as facts_of
    from litecli.personal.report_page import profile_page

    out = common.out
    learned = library.load_profile(profile)
    check_page(output, learned.folder, "-o")
    facts = facts_of(learned)
    page = profile_page(facts)
    save_page(output, page)
    if out.json:
        out.record(report_json(facts, output))
        return
    objects = counted(len(facts.objects), "object")
    findings = [finding for concern in facts.concerns for finding in concern.findings]
    photos = {picture.path for finding in findings for picture in finding.pictures}
    to_see = f", {counted(len(photos), 'photo')} to look at" if photos else ""
    out.result(f"{facts.name}: {objects}{to_see}.")
    out.result(f"Wrote {output} ({size(len(page))})")
    if not facts.has_pictures:
        out.say("It has no pictures: the profile was made with --no-thumbnails.")
    out.say("Open it in a browser.")


def report_json(facts: "Report", path: Path) -> dict[str, Any]:
    """The `litecli.report/1` object."""
    return {
        "schema": "litecli.report/1",
        "profile": facts.name,
        "path": str(path),
        "model": facts.model,
        "photos": facts.num_photos,
        "pictures": facts.has_pictures,
        "objects": [
            {
                "label": one.label,
                "photos": one.photos,
                "views": one.views,
                "check_correct": one.correct if one.checked else None,
                "check_total": one.checked,
            }
            for one in facts.objects
        ],
        "mix_ups": [
            {"label": one.label, "taken_for": one.other, "photos": one.photos}
            for one in facts.mix_ups
        ],
        "look_at": [
            {
                "kind": concern.kind,
                "paths": [picture.path for picture in finding.pictures],
                "like": finding.like.path if finding.like else None,
            }
            for concern in facts.concerns
            for finding in concern.findings
        ],
        "left_out": [{"path": path, "reason": reason} for path, reason in facts.left_out],
        "left_out_total": facts.left_out_total,  # more than are named where there are very many
        "next": [
            {"labels": list(one.labels), "do": one.do, "why": one.why} for one in facts.advice
        ],
        "forecast": list(facts.forecast) if facts.forecast else None,
    }
