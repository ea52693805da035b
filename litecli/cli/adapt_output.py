"""What `litecli adapt` tells: a table, what to expect of new photos, or the JSON object."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from litecli.cli.output import Output, show_skipped
from litecli.cli.texts import counted, duration, shortened

if TYPE_CHECKING:
    from litecli.library.profile import Profile
    from litecli.personal.changes import Changes
    from litecli.personal.personalize import Adaptation
    from litecli.photos.folders import Scan, Skipped

OBJECTS_NAMED = 3  # that are new, or gone


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
    show_left_out(out, scan.skipped, scan.ignored)
    for note in scan.notes:
        out.say(f"Note: {note}")


def show_left_out(out: Output, skipped: "tuple[Skipped, ...]", ignored: int) -> None:
    """Name the files that were left out."""
    if ignored:
        out.detail(f"Ignored {ignored} more: system files, and the films of Live Photos")
    show_skipped(out, [(item.path, item.reason) for item in skipped], out.result)


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
    since = changes_text(learned.changes) if learned.changes else ""
    if since:
        out.paragraph(since)
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
    show_left_out(out, learned.skipped, learned.ignored)
    for note in learned.notes:
        out.paragraph(f"Note: {note}")
    out.paragraph(forecast_text(learned))


def changes_text(changes: "Changes") -> str:
    """What came and went since the last time; nothing when nothing did."""
    # A folder that got another name brings no new photo: all of them are known from last time.
    moved = changes.moved
    added, forgotten = len(changes.added) - moved, len(changes.forgotten) - moved
    counts = [counted(added, "new photo")] if added else []
    if forgotten:
        gone = f"{forgotten:,}" if added else counted(forgotten, "photo")
        counts.append(f"{gone} forgotten")
    if moved:
        under = f"{moved:,}" if counts else counted(moved, "photo")
        counts.append(f"{under} now in another object")
    objects = [*_told(changes.new_objects, "new"), *_told(changes.gone_objects, "gone")]
    told = f" ({'; '.join(objects)})" if objects else ""
    return f"Since last time: {', '.join(counts)}{told}." if counts else ""


def _told(labels: tuple[str, ...], what: str) -> list[str]:
    """`"can" is gone`, of a few objects by name."""
    if not labels:
        return []
    if len(labels) > OBJECTS_NAMED:
        return [f"{len(labels)} objects are {what}"]
    names = ", ".join(f'"{shortened(label)}"' for label in labels)
    return [f"{names} {'is' if len(labels) == 1 else 'are'} {what}"]


def forecast_text(learned: "Adaptation") -> str:
    """What to expect of new photos, as a range, and of things that are none of the objects."""
    low, high = learned.forecast
    span = f"{low} to {high}" if low != high else str(low)
    text = f"On new photos of these, expect {span} of 10 right."
    if not check_totals(learned)[1]:
        text = "There was nothing to check: how well it does shows with a second photo of each."
    shares = {
        "other things": learned.false_accepts.get("other_things"),
        "close look-alikes (as similar as your objects are to each other)": (
            learned.false_accepts.get("withheld_objects")
        ),
    }
    told = [
        f"of {name}, {rough_share(1 - taken)}"
        for name, taken in shares.items()
        if taken is not None
    ]
    if not told:
        return text
    told[0] += " will be called unknown"
    return f"{text} {'; '.join(told).capitalize()}."


def rough_share(share: float) -> str:
    """A share as a word: one profile cannot promise a percentage."""
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
        # Paths; null when there was no version before, so that [] means: nothing changed.
        "added": None if learned.changes is None else list(learned.changes.added),
        "forgotten": None if learned.changes is None else list(learned.changes.forgotten),
        "seconds": learned.seconds,
    }
