"""What `litecli classify` was given on its command line -> the photos to look at, in order."""

import difflib
import glob
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from litecli.cli.output import Output, counted, shortened
from litecli.errors import ExitCode, LiteError

if TYPE_CHECKING:
    from litecli.folders import Skipped

SKIPPED_SHOWN = 5  # the rest with -v
WORDS = 8  # of a file's name that came without quotes, at most


@dataclass(frozen=True)
class Photo:
    """One photo to classify; `named` when the user typed it, not found inside a folder."""

    path: Path
    named: bool
    missing: bool = False  # not there when the command began


def expand(
    arguments: Sequence[str], recursive: bool
) -> "tuple[list[Photo], list[tuple[Path, Skipped]]]":
    """Files as they are and folders as their photos, in the order given; and what is no photo.

    The second list has what was skipped, each with the folder it was in.
    Raises LiteError: a URL, or - among others (USAGE), nothing of it exists (USAGE, or INPUT for a
    pattern such as *.jpg that matched nothing), a folder without photos (INPUT). A missing file
    among others that exist stays in the list: its own line says so.
    """
    for argument in arguments:
        if argument.lower().startswith(("http://", "https://")):
            raise LiteError(
                f"{argument} is a web address.",
                "litecli does not download photos; save it first.",
                f"curl -LO {shlex.quote(argument)}",
                code=ExitCode.USAGE,
            )
        if argument == "-":
            raise LiteError(
                "- means the image on stdin, and stands alone.",
                fix="litecli classify - < photo.jpg",
                code=ExitCode.USAGE,
            )
    # A pattern comes here in quotes, or from a shell that leaves it to the program (Windows).
    arguments = [name for argument in arguments for name in _matches(argument) or [argument]]
    missing = [argument for argument in arguments if not _exists(argument)]
    _check_quotes(arguments, missing)
    if missing and len(missing) == len(arguments):
        raise _nothing_there(missing)
    photos: list[Photo] = []
    skipped: list[tuple[Path, Skipped]] = []
    for argument in arguments:
        path = Path(argument)
        if _is_folder(path):
            found, others = _in_folder(argument, recursive)
            photos += [Photo(photo, named=False) for photo in found]
            skipped += [(path, other) for other in others]
        else:
            photos.append(Photo(path, named=True, missing=argument in missing))
    return photos, skipped


def show_skipped(out: Output, skipped: "Sequence[tuple[Path, Skipped]]") -> None:
    """Say which files of the folders were left out, the first few of them by name."""
    if not skipped:
        return
    named = skipped if out.verbose else skipped[:SKIPPED_SHOWN]
    out.say(f"Skipped {counted(len(skipped), 'file')}:")
    for folder, item in named:
        out.say(f"  {shortened(str(folder / item.path), 60)} ({item.reason})")
    if len(named) < len(skipped):
        out.say(f"  and {len(skipped) - len(named)} more; -v names all")


def _in_folder(argument: str, recursive: bool) -> "tuple[list[Path], list[Skipped]]":
    from litecli import folders

    path = Path(argument)
    found, skipped = folders.list_photos(path, recursive)
    if not found:
        deeper = not recursive and any(entry.is_dir() for entry in path.iterdir())
        reasons = [f"{shortened(item.path, 60)}: {item.reason}" for item in skipped]
        searched = ["Its sub-folders were not searched"] if deeper else []
        why = "; ".join([*reasons[:SKIPPED_SHOWN], *searched])
        raise LiteError(
            f"There are no photos in {argument}.",
            why + "." if why else "",
            f"litecli classify --recursive {shlex.quote(argument)}" if deeper else "",
            code=ExitCode.INPUT,
        )
    return found, skipped


def _matches(argument: str) -> list[str]:
    """The files that fit a pattern such as *.jpg, sorted; none where it is the name of a file."""
    if _exists(argument):
        return []
    return sorted(glob.glob(argument))  # noqa: PTH207 (patterns with a root too)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # as in _exists
        return False


def _exists(argument: str) -> bool:
    try:
        return Path(argument).exists()
    except PermissionError:  # in a folder without search permission: reading it will say so
        return True
    except (OSError, ValueError):  # name too long, or a zero byte in it
        return False


def _check_quotes(arguments: Sequence[str], missing: Sequence[str]) -> None:
    """`classify photo 1.jpg`: neighbours that exist only when joined by a space want quotes."""
    if not missing:
        return
    place = arguments.index(missing[0])  # the first is enough: this ends in an error
    for start in range(max(0, place - WORDS), place + 1):
        for end in range(max(start + 2, place + 1), start + WORDS + 1):
            parts = arguments[start:end]
            whole = " ".join(parts)
            if len(parts) < 2 or not _exists(whole):
                continue
            files = ", no file ".join(parts)
            raise LiteError(
                f"No file {files}: put quotes round '{whole}'.",
                "The shell takes a name with a space for two names.",
                f"litecli classify {shlex.quote(whole)}",
                code=ExitCode.USAGE,
            )


def _nothing_there(missing: Sequence[str]) -> LiteError:
    first = missing[0]
    if any(mark in first for mark in "*?["):
        return LiteError(
            f"No photos match {first}.",
            "No file here fits the pattern.",
            "ls   (to see what the files are called)",
            code=ExitCode.INPUT,
        )
    parent = Path(first).parent
    names = [entry.name for entry in parent.iterdir()] if _is_folder(parent) else []
    near = difflib.get_close_matches(Path(first).name, names, n=1)
    hint = f" Did you mean {parent / near[0]}?" if near else ""
    files = ", no file ".join(missing[:5])
    return LiteError(f"No file {files}.{hint}", code=ExitCode.USAGE)
