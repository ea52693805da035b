"""`litecli adapt FOLDER`: learn the objects of a folder of photos and save them as a profile."""

import os
import shlex
from pathlib import Path
from typing import Annotated

import typer

from litecli.cli.adapt_output import check_totals, show_adaptation, show_scan
from litecli.cli.engine import EngineName, check_engine, choose_engine
from litecli.cli.options import HEADS_IN_WORDS, Common, check_head, command
from litecli.cli.targets import check_target, is_profile
from litecli.cli.texts import size
from litecli.config import MAX_PHOTOS
from litecli.errors import ExitCode, LiteError

EXAMPLES = (
    "litecli adapt ./my_objects",
    "litecli adapt ./my_objects --name garage --min-accuracy 0.9",
    "litecli adapt ./my_objects -o for_a_friend.safetensors",
    "litecli adapt ./my_objects --dry-run",
)


def add_to(app: typer.Typer, panel: str) -> None:
    """Give `app` this command."""
    command(app, "adapt", panel=panel, examples=EXAMPLES)(adapt)


def named_folder(text: str) -> Path:
    """The folder; raises LiteError (USAGE) for an empty name, which Path takes for the current."""
    if not text:
        raise LiteError(
            "An empty name is no folder.",
            "Perhaps a variable is not set.",
            "litecli adapt ./my_objects",
            code=ExitCode.USAGE,
        )
    return Path(text)


def adapt(
    common: Common,
    folder: Annotated[
        Path, typer.Argument(help="One sub-folder of photos per object.", parser=named_folder)
    ],
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
        str | None, typer.Option(help=f"{HEADS_IN_WORDS}; else the model's own.")
    ] = None,
    max_photos: Annotated[
        int, typer.Option(min=1, help="Most photos used of one object.")
    ] = MAX_PHOTOS,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace a profile learned from another folder.")
    ] = False,
    no_thumbnails: Annotated[
        bool, typer.Option("--no-thumbnails", help="Keep no small pictures in the profile.")
    ] = False,
    min_accuracy: Annotated[
        float | None, typer.Option(help="Save nothing if the check is below this share, 0 to 1.")
    ] = None,
    engine: Annotated[
        EngineName,
        typer.Option(
            "--engine", help="What runs the network; auto: onnx, or torch for many photos on CUDA."
        ),
    ] = EngineName.AUTO,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only list what would be learned.")
    ] = False,
) -> int | None:
    """Learn your objects from a folder of photos."""
    from litecli import library
    from litecli.personal import personalize
    from litecli.photos import folders, walk

    out = common.out
    check_head(head)
    if min_accuracy is not None and not 0 <= min_accuracy <= 1:
        raise LiteError(
            f"--min-accuracy {min_accuracy:g} is not a share between 0 and 1.",
            fix="--min-accuracy 0.9",
            code=ExitCode.USAGE,
        )
    # Not Path.exists: until Python 3.14 it raises where permission is missing.
    if output is not None and os.path.exists(output) and not output.is_file():  # noqa: PTH110
        raise LiteError(  # saving puts a new file in its place: a device would be gone
            f"-o {output} is a folder or a device; give the name of a file.",
            fix="-o my_objects.safetensors",
            code=ExitCode.USAGE,
        )
    if output is not None:
        check_target(
            output,
            "-o",
            kind="profile",
            folder=os.path.realpath(folder),
            is_ours=is_profile,
            suggested="my_objects.safetensors",
        )
        library.check_file(output, folder, replace=replace)
    check_engine(common, engine)
    if dry_run:
        show_scan(out, folders.scan_objects(folder, max_photos))
        return None
    walk.check_is_folder(folder)
    base = library.find_model(model)
    # Not "name or": an empty one is a mistake, and not the folder's.
    profile_name = library.name_for_folder(folder) if name is None else library.check_name(name)
    previous = None
    if output is None:
        previous = library.check_folder(profile_name, folder, replace=replace)

    def count_new() -> int:
        found = sum(len(one.photos) for one in folders.scan_objects(folder, max_photos).objects)
        return found - (len(previous.photo_paths) if previous else 0)

    learned = personalize.adapt(
        folder,
        base,
        name=profile_name,
        head=head,
        max_photos=max_photos,
        previous=previous,
        thumbnails=not no_thumbnails,
        engine=choose_engine(common, engine, base, count_new),
        progress=out.progress("Photos"),
    )
    correct, total = check_totals(learned)
    if min_accuracy is not None and (not total or correct / total < min_accuracy):
        if not out.json:
            show_adaptation(out, learned, None)
        what = f"The check got {correct} of {total} right, below --min-accuracy {min_accuracy:g}."
        fix = "add photos of the objects that the check confuses"
        if not total:
            what = f"There was nothing to check --min-accuracy {min_accuracy:g} with."
            fix = "add a second photo of each object"
        raise LiteError(what, "Nothing was saved.", fix, code=ExitCode.BELOW_MINIMUM)
    path = library.save_profile(learned.profile, file=output, replace=replace)
    show_adaptation(out, learned, path)
    if output is None:
        saved = f'Saved profile "{profile_name}" ({size(path.stat().st_size)})'
        out.result(f"{saved} and made it current: {path}")
        out.say("Next: litecli classify photo.jpg      Pictures: litecli report")
    else:
        out.result(f"Saved {path} ({size(path.stat().st_size)}).")
        out.say(f"Next: litecli classify -p {shlex.quote(str(path))} photo.jpg")
    return None
