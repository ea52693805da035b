"""`litecli demo`: draw some objects, learn them, and name them in new pictures, in one go."""

import errno
import shlex
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from litecli.cli.options import Common, command, on_the_processor
from litecli.cli.texts import counted, duration, percent
from litecli.config import LARGEST_SEED
from litecli.errors import ExitCode, LiteError

if TYPE_CHECKING:
    from litecli.personal.predictions import Prediction

NUM_OBJECTS = 6
NUM_PHOTOS = 6  # of each object, to learn from
NUM_NEW = 4  # new pictures of each
NUM_STRANGERS = 4  # other things, of which there is one picture each
SIDE = 256  # pixels
PROFILE = "demo"
OBJECTS_FOLDER = "my_objects"

EXAMPLES = ("litecli demo", "litecli demo ./litecli_demo")


def add_to(app: typer.Typer, panel: str) -> None:
    """Give `app` this command."""
    command(app, "demo", panel=panel, examples=EXAMPLES)(demo)


def demo(
    common: Common,
    folder: Annotated[
        Path | None, typer.Argument(help="Where to draw; else a temporary folder.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Seed of the drawings.")] = 0,
) -> None:
    """See it work on drawn objects; needs no photos."""
    from litecli import library
    from litecli.personal import personalize, predictions

    out = common.out
    on_the_processor(common, "demo")
    started = time.monotonic()
    model = library.find_model(None)
    place = empty_folder(folder)
    objects, new = draw_all(place, seed)
    out.say(f"Drew {counted(NUM_OBJECTS, 'object')} into {objects}")
    out.say(f"  and new pictures into {new}")
    name = free_name()
    if name != PROFILE:
        out.say(f'Your own profile "{PROFILE}" stays; this one is called "{name}".')
    learned = personalize.adapt(objects, model, name=name, progress=out.progress("Photos"))
    path = library.save_profile(learned.profile, replace=True, make_current=False)

    pictures = [p for thing in sorted(new.iterdir()) for p in sorted(thing.iterdir())]
    answers = list(predictions.classify(pictures, learned.profile, model))
    score = count_right(answers, learned.profile.labels)
    seconds = time.monotonic() - started
    if out.json:
        out.record(
            {
                "schema": "litecli.demo/1",
                "folder": str(place),
                "profile": str(path),
                "model": model.name,
                "correct": score.right,
                "total": score.total,
                "unknown_correct": score.refused,
                "unknown_total": score.strangers,
                "seconds": seconds,
            }
        )
        return
    out.table(("object", "", "right", "mistaken for"), score.rows, right="right")
    share = f"{score.right} of {score.total} new pictures named right"
    out.result(out.styled(f"{share} ({percent(score.right / score.total)}).", "bold"))
    out.result(f"{score.refused} of {score.strangers} pictures of other things called unknown.")
    out.result(f"All of it took {duration(seconds)}.")
    out.result(f'Saved profile "{name}" as {path}')
    out.result("The same by hand:")
    first = shlex.quote(str(pictures[0]))
    out.result(f"  litecli adapt {shlex.quote(str(objects))} --name {name}")
    out.result(f"  litecli classify -p {name} {first}")
    out.result(f"  litecli classify -p {name} --recursive {shlex.quote(str(new))}")
    out.say("Now with your own things: litecli adapt ./my_objects")


@dataclass(frozen=True)
class Score:
    """How many new pictures were named right, and how many strangers were called unknown."""

    right: int
    total: int
    refused: int
    strangers: int
    rows: list[tuple[str, str, str, str]]  # thing, learned or not, right/all, mistaken for


def count_right(answers: "Sequence[Prediction]", labels: Sequence[str]) -> Score:
    """Count the answers; a picture's folder is called after what it shows."""
    things = sorted({Path(answer.path).parent.name for answer in answers})
    sums, rows = {True: [0, 0], False: [0, 0]}, []
    for thing in things:
        mine = [answer for answer in answers if Path(answer.path).parent.name == thing]
        said = [answer.label if answer.known and answer.label else "unknown" for answer in mine]
        learned = thing in labels
        wanted = thing if learned else "unknown"
        good = said.count(wanted)
        sums[learned][0] += good
        sums[learned][1] += len(said)
        wrong = ", ".join(sorted(set(said) - {wanted}))
        kind = "learned" if learned else "not learned"
        rows.append((thing, kind, f"{good}/{len(said)}", wrong))
    (right, total), (refused, strangers) = sums[True], sums[False]
    return Score(right, total, refused, strangers, rows)


def empty_folder(folder: Path | None) -> Path:
    """The folder to draw into, made if need be.

    Raises LiteError: USAGE (something is in it, or in its place), MACHINE (it cannot be made).
    """
    if folder is None:
        return Path(tempfile.mkdtemp(prefix="litecli_demo_"))
    try:
        # A link that leads nowhere does not exist, and yet no folder can be made in its place.
        taken = folder.is_symlink() or folder.exists()
        if taken and (not folder.is_dir() or any(folder.iterdir())):
            raise LiteError(
                f"{folder} exists and is not an empty folder.",
                "The demo draws into a folder of its own and replaces nothing.",
                f"litecli demo {shlex.quote(f'{folder}_new')}",
                code=ExitCode.USAGE,
            )
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        wrong = error.errno in (errno.ENOTDIR, errno.EEXIST, errno.ELOOP, errno.ENAMETOOLONG)
        raise LiteError(
            f"Cannot make the folder {folder}: {(error.strerror or str(error)).lower()}.",
            fix="litecli demo   (it draws into a temporary folder)",
            code=ExitCode.USAGE if wrong else ExitCode.MACHINE,
        ) from error
    return folder.absolute()


def free_name() -> str:
    """The profile's name: "demo", or "demo-2" and so on where a person has called their own so."""
    from litecli import library

    taken = library.profile_names()
    names = (PROFILE, *(f"{PROFILE}-{number}" for number in range(2, len(taken) + 3)))
    return next(name for name in names if name not in taken or is_demo(name))


def is_demo(name: str) -> bool:
    """Whether a saved profile is of an earlier demo; one that cannot be read is somebody's own."""
    from litecli import library

    try:
        saved = library.load_profile(name)
    except LiteError:
        return False
    drawn_here = set(saved.labels) == set(chosen_objects()[0])
    return drawn_here and Path(saved.folder).name == OBJECTS_FOLDER


def chosen_objects() -> tuple[list[str], list[str]]:
    """The drawn objects that are learned, and those that are strangers."""
    from litecli.drawn import scenes

    names = scenes.OBJECTS[:: max(1, len(scenes.OBJECTS) // (NUM_OBJECTS + NUM_STRANGERS))]
    return list(names[:NUM_OBJECTS]), list(names[NUM_OBJECTS : NUM_OBJECTS + NUM_STRANGERS])


def draw_all(place: Path, seed: int) -> tuple[Path, Path]:
    """Draw the objects to learn, and new pictures of them and of strangers; the two folders."""
    from litecli.drawn import scenes

    known, strangers = chosen_objects()
    objects, new = place / OBJECTS_FOLDER, place / "new_photos"
    scenes.write_folder(objects, known, NUM_PHOTOS, 2 * seed, SIDE)
    scenes.write_folder(new, known, NUM_NEW, 2 * seed + 1, SIDE)
    scenes.write_folder(new, strangers, 1, 2 * seed + 1, SIDE)
    return objects, new
