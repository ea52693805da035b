"""What `litecli classify` was given on its command line -> the photos to look at, in order."""

import difflib
import glob
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from litecli.cli.output import SKIPPED_SHOWN, Output
from litecli.cli.texts import counted, shortened_path
from litecli.errors import ExitCode, LiteError

if TYPE_CHECKING:
    from litecli.photos.folders import Skipped

WORDS = 8  # of a file's name that came without quotes, at most


@dataclass(frozen=True)
class PhotoArgument:
    """One photo to classify; `named` when the user typed it, not found inside a folder."""

    path: Path
    named: bool
    missing: bool = False  # not there when the command began


def expand(
    arguments: Sequence[str], recursive: bool
) -> "tuple[list[PhotoArgument], list[tuple[Path, Skipped]], int]":
    """Files as they are and folders as their photos, in the order given; and what is no photo.

    The second list has what was skipped, each with the folder it was in; the number is that of
    the sub-folders that were not searched.
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
    photos: list[PhotoArgument] = []
    skipped: list[tuple[Path, Skipped]] = []
    unsearched = 0
    for argument in arguments:
        path = Path(argument)
        if _is_folder(path):
            found, others, deeper = _in_folder(argument, recursive)
            unsearched += deeper
            photos += [PhotoArgument(photo, named=False) for photo in found]
            skipped += [(path, other) for other in others]
        else:
            photos.append(PhotoArgument(path, named=True, missing=argument in missing))
    return photos, skipped, unsearched


def photos_of_line(
    line: str, recursive: bool
) -> "tuple[list[tuple[Path | str, bool]], list[tuple[Path, Skipped]], int]":
    """What one line of a list of paths stands for, as `expand`; a wrong one stays as it is."""
    path = Path(line)
    if _is_folder(path):
        try:
            found, skipped, unsearched = _in_folder(line, recursive)
        except LiteError:  # the folder's own answer says that it is no photo
            return [(line, True)], [], 0
        return [(photo, False) for photo in found], [(path, one) for one in skipped], unsearched
    return [(name, True) for name in _matches(line) or [line]], [], 0


def show_unsearched(out: Output, subfolders: int) -> None:
    """Say that folders had more folders in them, which were left alone."""
    if subfolders:
        out.say(f"Note: {counted(subfolders, 'sub-folder')} not searched (--recursive)")


def _in_folder(argument: str, recursive: bool) -> "tuple[list[Path], list[Skipped], int]":
    from litecli.photos import folders

    path = Path(argument)
    found, skipped = folders.list_photos(path, recursive)
    deeper = 0 if recursive else _subfolders(path)
    if not found:
        reasons = [f"{shortened_path(item.path)}: {item.reason}" for item in skipped]
        searched = ["Its sub-folders were not searched"] if deeper else []
        why = "; ".join([*reasons[:SKIPPED_SHOWN], *searched])
        raise LiteError(
            f"There are no photos in {argument}.",
            why + "." if why else "",
            f"litecli classify --recursive {shlex.quote(argument)}" if deeper else "",
            code=ExitCode.INPUT,
        )
    return found, skipped, deeper


def _subfolders(folder: Path) -> int:
    """How many folders are in a folder, those of cameras and systems (.git, @eaDir) not counted."""
    from litecli.photos.walk import Walk

    with os.scandir(folder) as entries:
        any_there = any(entry.is_dir() for entry in entries)
    return len(Walk(folder).entries(folder)[1]) if any_there else 0


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
