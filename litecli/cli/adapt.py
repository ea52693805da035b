"""`litecli adapt FOLDER`: learn the objects of a folder of photos and save them as a profile."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from litecli.cli.options import Common, command, on_the_processor
from litecli.cli.output import Output, counted, duration, shortened, size
from litecli.errors import ExitCode, LiteError

if TYPE_CHECKING:
    from litecli.folders import Scan, Skipped
    from litecli.personalize import Adaptation
    from litecli.profile import Profile

SKIPPED_SHOWN = 5  # the rest with -v or --json

EXAMPLES = (
    "litecli adapt ./my_objects",
    "litecli adapt ./my_objects --name garage --min-accuracy 0.9",
    "litecli adapt ./my_objects -o for_a_friend.safetensors",
    "litecli adapt ./my_objects --dry-run",
)


def add_to(app: typer.Typer, panel: str) -> None:
    """Give `app` this command."""
    command(app, "adapt", panel=panel, examples=EXAMPLES)(adapt)


def adapt(
    common: Common,
    folder: Annotated[Path, typer.Argument(help="One sub-folder of photos per object.")],
    name: Annotated[
        str | None, typer.Option("--name", "-n", help="Profile name; the folder's by default.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Model name or folder; else the current.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Save to this file; it does not become current."),
    ] = None,
    head: Annotated[
        str | None, typer.Option(help="auto, cosine, euclidean or ridge; else the model's own.")
    ] = None,
    max_photos: Annotated[int, typer.Option(min=1, help="Most photos used of one object.")] = 200,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace a profile learned from another folder.")
    ] = False,
    no_thumbnails: Annotated[
        bool, typer.Option("--no-thumbnails", help="Keep no small pictures in the profile.")
    ] = False,
    min_accuracy: Annotated[
        float | None, typer.Option(help="Save nothing when the check is below this, 0 to 1.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only list what would be learned.")
    ] = False,
) -> int | None:
    """Learn your objects from a folder of photos."""
    from litecli import folders, library, personalize, walk

    out = common.out
    check_head(head)
    if min_accuracy is not None and not 0 <= min_accuracy <= 1:
        raise LiteError(
            f"--min-accuracy {min_accuracy:g} is not a share between 0 and 1.",
            fix="--min-accuracy 0.9",
            code=ExitCode.USAGE,
        )
    if output is not None and output.exists() and not output.is_file():
        raise LiteError(  # saving puts a new file in its place: a device would be gone
            f"-o {output} is a folder or a device; give the name of a file.",
            fix="-o my_objects.safetensors",
            code=ExitCode.USAGE,
        )
    on_the_processor(common, "adapt")
    if dry_run:
        show_scan(out, folders.scan_objects(folder, max_photos))
        return None
    walk.check_is_folder(folder)
    base = library.find_model(model)
    profile_name = library.check_name(name) if name else library.name_for_folder(folder)
    previous = None
    if output is None:
        previous = library.check_folder(profile_name, folder, replace=replace)
    learned = personalize.adapt(
        folder,
        base,
        name=profile_name,
        head=head,
        max_photos=max_photos,
        previous=previous,
        thumbnails=not no_thumbnails,
        progress=out.progress("Photos"),
    )
    correct, total = check_totals(learned)
    if min_accuracy is not None and (not total or correct / total < min_accuracy):
        if not out.json:
            show_adaptation(out, learned, None)
        raise LiteError(
            f"The check got {correct} of {total} right, below --min-accuracy {min_accuracy:g}.",
            "Nothing was saved.",
            "add photos of the objects that the check confuses",
            code=ExitCode.BELOW_MINIMUM,
        )
    path = library.save_profile(learned.profile, file=output, replace=replace)
    show_adaptation(out, learned, path)
    if output is None:
        saved = f'Saved profile "{profile_name}" ({size(path.stat().st_size)})'
        out.result(f"{saved} and made it current: {path}")
        out.say("Next: litecli classify photo.jpg      Pictures: litecli report")
    else:
        out.result(f"Saved {path} ({size(path.stat().st_size)}).")
        out.say(f"Next: litecli classify -p {path} photo.jpg")
    return None


def check_head(head: str | None) -> None:
    """Raise LiteError (USAGE) when there is no such head."""
    from litecli.config import HEADS

    if head is not None and head not in ("auto", *HEADS):
        raise LiteError(
            f"There is no head {head}.",
            f"Heads: auto, {', '.join(HEADS)}.",
            "--head auto",
            code=ExitCode.USAGE,
        )


def check_totals(learned: "Adaptation") -> tuple[int, int]:
    """Photos named right in the leave-one-out check, and photos checked."""
    correct = sum(report.check_correct or 0 for report in learned.objects)
    return correct, sum(report.check_total for report in learned.objects)


def show_scan(out: Output, scan: "Scan") -> None:
    """Print what --dry-run found."""
    if out.json:
        objects = [
            {"label": o.label, "photos": len(o.photos), "notes": list(o.notes)}
            for o in scan.objects
        ]
        skipped = [{"path": s.path, "reason": s.reason} for s in scan.skipped]
        schema = {"schema": "litecli.adapt/1", "dry_run": True}
        out.record({**schema, "objects": objects, "skipped": skipped, "notes": list(scan.notes)})
        return
    photos = sum(len(o.photos) for o in scan.objects)
    objects_text = counted(len(scan.objects), "object")
    out.result(f"Would learn {objects_text} from {counted(photos, 'photo')}; nothing was saved.")
    rows = [(shortened(o.label), str(len(o.photos)), "; ".join(o.notes)) for o in scan.objects]
    out.table(("object", "photos", "notes"), rows, right="photos")
    show_skipped(out, scan.skipped, scan.ignored)
    for note in scan.notes:
        out.say(f"Note: {note}")


def show_skipped(out: Output, skipped: "tuple[Skipped, ...]", ignored: int) -> None:
    """Name the first files that were left out, all of them with --verbose."""
    if ignored:
        out.detail(f"Ignored {ignored} more: system files, and the films of Live Photos")
    if not skipped:
        return
    shown = skipped if out.verbose else skipped[:SKIPPED_SHOWN]
    out.result(f"Skipped {counted(len(skipped), 'file')}:")
    for item in shown:
        out.result(f"  {shortened(item.path, 60)} ({item.reason})")
    if len(shown) < len(skipped):
        out.result(f"  and {len(skipped) - len(shown)} more; -v names all")


def show_adaptation(out: Output, learned: "Adaptation", path: Path | None) -> None:
    """Print what was learned: the table, what was skipped, the forecast; or the JSON object."""
    if out.json:
        out.record(adaptation_json(learned, path))
        return
    objects = counted(len(learned.objects), "object")
    photos = counted(sum(report.photos for report in learned.objects), "photo")
    again = f" ({learned.reused} known from last time)" if learned.reused else ""
    took = duration(learned.seconds["total"])
    out.result(out.styled(f"Learned {objects} from {photos}{again} in {took}.", "bold"))
    rows = [
        (
            shortened(report.label),
            str(report.photos),
            "-" if report.check_correct is None else f"{report.check_correct}/{report.check_total}",
            "; ".join(report.notes),
        )
        for report in learned.objects
    ]
    out.table(("object", "photos", "check", "notes"), rows, right="photos check")
    show_skipped(out, learned.skipped, learned.ignored)
    for note in learned.notes:
        out.result(f"Note: {note}")
    out.result(forecast_text(learned))


def forecast_text(learned: "Adaptation") -> str:
    """What to expect of new photos, as a range, and of things that are none of the objects."""
    low, high = learned.forecast
    span = f"{low} to {high}" if low != high else str(low)
    text = f"On new photos of these, expect {span} of 10 right."
    if not check_totals(learned)[1]:
        text = "There was nothing to check: how well it does shows with a second photo of each."
    shares = {
        "other things": learned.false_accepts.get("other_things"),
        "things as alike as your objects are": learned.false_accepts.get("withheld_objects"),
    }
    told = [
        f"of {name} {rough_share(1 - taken)}" for name, taken in shares.items() if taken is not None
    ]
    return f"{text} Called unknown: {', '.join(told)}." if told else text


def rough_share(share: float) -> str:
    """A share as a word: one profile cannot promise a percentage (decision 6)."""
    steps = ((0.95, "nearly all"), (0.8, "most"), (0.6, "more than half"), (0.4, "about half"))
    return next((word for least, word in steps if share >= least), "few")


def adaptation_json(learned: "Adaptation", path: Path | None) -> dict[str, Any]:
    """The `litecli.adapt/1` object; `path` is null when nothing was saved."""
    correct, total = check_totals(learned)
    profile: Profile = learned.profile
    return {
        "schema": "litecli.adapt/1",
        "profile": profile.name,
        "path": None if path is None else str(path),
        "model": profile.model_name,
        "head": profile.head,
        "objects": [
            {
                "label": report.label,
                "photos": report.photos,
                "check_correct": report.check_correct,
                "check_total": report.check_total,
                "notes": list(report.notes),
            }
            for report in learned.objects
        ],
        "skipped": [{"path": item.path, "reason": item.reason} for item in learned.skipped],
        "notes": list(learned.notes),
        "check": {
            "correct": correct,
            "total": total,
            "accuracy": correct / total if total else None,
        },
        "forecast": list(learned.forecast),
        "false_accepts": learned.false_accepts,
        "embedded": learned.embedded,
        "reused": learned.reused,
        "seconds": learned.seconds,
    }
