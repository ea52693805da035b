"""`litecli profiles`: list, look at, choose, rename, remove and undo what `adapt` learned."""

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from litecli.cli.options import Common, command, group
from litecli.cli.texts import counted, escaped, shortened, size
from litecli.errors import LiteError

SCHEMA = "litecli.profiles/1"
Name = Annotated[str, typer.Argument(help="A profile's name.")]
SavedOrCurrent = Annotated[
    str | None, typer.Argument(help="A saved profile's name; else the current one.")
]
NameOrCurrent = Annotated[
    str | None, typer.Argument(help="A profile's name or file; else the current one.")
]

EXAMPLES = (
    "litecli profiles",
    "litecli profiles show garage",
    "litecli profiles use garage",
    "litecli profiles undo",
)


def add_to(app: typer.Typer, panel: str) -> None:
    """Give `app` this command and its sub-commands."""
    profiles = group(app, "profiles", panel)
    command(profiles, examples=EXAMPLES)(bare)
    command(profiles, "list", examples=("litecli profiles list --json",))(list_all)
    command(profiles, "show", examples=("litecli profiles show",))(show)
    command(profiles, "use", examples=("litecli profiles use garage",))(use)
    command(profiles, "rename", examples=("litecli profiles rename garage shed",))(rename)
    command(profiles, "remove", examples=("litecli profiles remove shed",))(remove)
    command(profiles, "undo", examples=("litecli profiles undo", "litecli profiles undo shed"))(
        undo
    )
    command(profiles, "path", examples=("litecli profiles path",))(path)


def bare(common: Common) -> None:
    """List, show, choose, rename, remove or undo your profiles."""
    list_all(common)


def list_all(common: Common) -> None:
    """List your profiles; the current one has a star."""
    from litecli import library

    out = common.out
    rows = []
    for listed in library.list_profiles():
        profile = listed.profile
        if out.json:
            out.record(
                {
                    "schema": SCHEMA,
                    "name": listed.name,
                    "path": str(listed.path),
                    "current": listed.current,
                    "objects": None if profile is None else list(profile.labels),
                    "photos": None if profile is None else len(profile.photo_paths),
                    "model": None if profile is None else profile.model_name,
                    "problem": listed.problem,
                }
            )
        star = "*" if listed.current else " "
        if profile is None:
            rows.append((star, shortened(listed.name), "", "", listed.problem or ""))
        else:
            numbers = str(len(profile.labels)), str(len(profile.photo_paths))
            rows.append((star, shortened(listed.name), *numbers, profile.model_name))
    if rows:
        out.table(("", "profile", "objects", "photos", "model"), rows, right="objects photos")
    else:
        out.say("No profile yet. Start with: litecli adapt ./my_objects")


def show(common: Common, name: NameOrCurrent = None) -> None:
    """Show what a profile knows."""
    from litecli import library

    out = common.out
    where = library.profile_path(name)
    profile = library.read_profile(where, where.stem)
    photos = Counter(profile.labels[index] for index in profile.photo_labels.tolist())
    if out.json:
        out.record(
            {
                "schema": SCHEMA,
                "name": where.stem,  # a file may have been renamed by hand
                "path": str(where),
                "model": profile.model_name,
                "head": profile.head,
                "folder": profile.folder,
                "objects": [{"label": label, "photos": photos[label]} for label in profile.labels],
                "check": profile.check,
                "unknown_threshold": profile.unknown_threshold,
            }
        )
        return
    objects = counted(len(profile.labels), "object")
    out.result(
        f"{escaped(where.stem)}: {objects} from {counted(len(profile.photo_paths), 'photo')}"
    )
    out.result(f"  photos  {escaped(profile.folder)}")
    out.result(f"  file    {where} ({size(where.stat().st_size)})")
    out.result(f"  model   {profile.model_name}, head {profile.head}")
    out.result(f"  unknown above novelty {profile.unknown_threshold:.4g}")
    rows = [(shortened(label), str(photos[label])) for label in profile.labels]
    out.table(("object", "photos"), rows, right="photos")


def use(common: Common, name: Name) -> None:
    """Make a profile the one that classify uses."""
    from litecli import library

    where = library.use_profile(name)
    _done(common, where.stem, f'"{where.stem}" is the current profile now.')


def rename(
    common: Common, name: Name, new_name: Annotated[str, typer.Argument(help="Its new name.")]
) -> None:
    """Give a profile another name."""
    from litecli import library

    where = library.rename_profile(name, new_name)
    _done(common, where.stem, f'"{name}" is called "{where.stem}" now ({where}).', where)


def remove(common: Common, name: Name) -> None:
    """Delete a profile and the version before it; your photos stay."""
    from litecli import library

    where = library.remove_profile(name)
    _done(common, name, f"Deleted {where}", where)


def undo(common: Common, name: SavedOrCurrent = None) -> None:
    """Go back to the version before the last adapt."""
    from litecli import library

    where = library.undo_profile(name)
    try:
        labels = library.read_profile(where, where.stem).labels
        told = f": {', '.join(map(shortened, labels))}"
    except LiteError as error:  # of another litecli, or damaged before that adapt
        told = f". {error.what}"
    _done(common, where.stem, f'"{where.stem}" is back as it was before{told}')


def path(common: Common, name: NameOrCurrent = None) -> None:
    """Print where a profile's file is."""
    from litecli import library

    where = library.profile_path(name)
    common.out.result(str(where))
    if common.out.json:
        common.out.record({"schema": SCHEMA, "path": str(where)})


def _done(common: Common, name: str, text: str, where: Path | None = None) -> None:
    common.out.result(text)
    if common.out.json:
        path = {} if where is None else {"path": str(where)}
        common.out.record({"schema": SCHEMA, "name": name, **path})
