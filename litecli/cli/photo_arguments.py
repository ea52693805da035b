"""What `litecli classify` was given on its command line -> the photos to look at, in order."""

import difflib
import glob
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from litecli.cli.output import SKIPPED_SHOWN, Output, show_skipped
from litecli.cli.texts import counted, shortened_path
from litecli.errors import ExitCode, LiteError

if TYPE_CHECKING:
    from litecli.photos.folders import Skipped

WORDS = 8  # of a file's name that came without quotes, at most
NO_FILE = "no such file"
NO_PHOTOS = "no photos in it"
WEB_ADDRESS = "a web address; save it first: litecli does not download photos"
STDIN_ALONE = "means the image on stdin, and stands alone"


@dataclass(frozen=True)
class PhotoArgument:
    """One photo to classify; `named` when the user typed it, not found inside a folder."""

    path: Path | str  # text where the path of a list is kept as it came
    named: bool
    problem: str | None = None  # why it is no photo, known before it is read


@dataclass
class Expanded:
    """What arguments stand for: photos in the order given, and what in their folders is none."""

    photos: list[PhotoArgument] = field(default_factory=list)
    skipped: "list[tuple[Path, Skipped]]" = field(default_factory=list)  # each with its folder
    unsearched: int = 0  # sub-folders
    refused: LiteError | None = None  # of the first folder that gave no photos

    def add(self, other: "Expanded") -> None:
        """Append what another argument stands for."""
        self.photos += other.photos
        self.skipped += other.skipped
        self.unsearched += other.unsearched
        self.refused = self.refused or other.refused


def expand(arguments: Sequence[str], recursive: bool) -> Expanded:
    """Files as they are and folders as their photos.

    Raises LiteError: a URL, or - among others (USAGE), nothing of it exists (USAGE, or INPUT for a
    pattern such as *.jpg that matched nothing), no photos in a folder and none besides (INPUT). A
    missing file or such a folder among others stays in the list: its own line says so.
    """
    for argument in arguments:
        if _is_web_address(argument):
            raise LiteError(
                f"{argument} is a web address.",
                "litecli does not download photos; save it first.",
                f"curl -LO {shlex.quote(argument)}",
                code=ExitCode.USAGE,
            )
        if argument == "-":
            raise LiteError(
                f"- {STDIN_ALONE}.",
                fix="litecli classify - < photo.jpg",
                code=ExitCode.USAGE,
            )
    # A pattern comes here in quotes, or from a shell that leaves it to the program (Windows).
    arguments = [name for argument in arguments for name in _matches(argument) or [argument]]
    missing = [argument for argument in arguments if not _exists(argument)]
    _check_quotes(arguments, missing)
    if missing and len(missing) == len(arguments):
        raise _nothing_there(missing)
    gone = set(missing)
    expanded = Expanded()
    for argument in arguments:
        if _is_folder(Path(argument)):
            expanded.add(_in_folder(argument, recursive))
        else:
            problem = NO_FILE if argument in gone else None
            expanded.photos.append(PhotoArgument(Path(argument), named=True, problem=problem))
    if expanded.refused and all(photo.problem for photo in expanded.photos):
        raise expanded.refused
    return expanded


def photos_of_line(line: str, recursive: bool) -> Expanded:
    """What one line of a list of paths stands for, as `expand`; a wrong one stays as it is."""
    if _is_folder(Path(line)):
        return _in_folder(line, recursive)
    names = _matches(line) or [line]
    problem = None if _exists(names[0]) else NO_FILE
    if problem and _is_web_address(line):
        problem = WEB_ADDRESS
    elif problem and line == "-":
        problem = STDIN_ALONE
    return Expanded([PhotoArgument(name, named=True, problem=problem) for name in names])


def show_left_out(out: Output, expanded: Expanded) -> None:
    """Name what in folders was no photo, and say that they had more folders, left alone."""
    skipped = [(str(folder / one.path), one.reason) for folder, one in expanded.skipped]
    show_skipped(out, skipped, out.say)
    if expanded.unsearched:
        out.say(f"Note: {counted(expanded.unsearched, 'sub-folder')} not searched (--recursive)")


def _is_web_address(argument: str) -> bool:
    return argument.lower().startswith(("http://", "https://"))


def _in_folder(argument: str, recursive: bool) -> Expanded:
    """A folder's photos, or the folder itself with its problem."""
    from litecli.photos import folders

    path = Path(argument)
    try:
        found, skipped = folders.list_photos(path, recursive)
        deeper = 0 if recursive else _subfolders(path)
    except LiteError as error:  # one may not look into it
        return Expanded([PhotoArgument(argument, True, error.what)], refused=error)
    left_out = [(path, one) for one in skipped]
    if found:
        return Expanded([PhotoArgument(photo, named=False) for photo in found], left_out, deeper)
    reasons = [f"{shortened_path(item.path)}: {item.reason}" for item in skipped]
    searched = ["Its sub-folders were not searched"] if deeper else []
    why = "; ".join([*reasons[:SKIPPED_SHOWN], *searched])
    refused = LiteError(
        f"There are no photos in {argument}.",
        why + "." if why else "",
        f"litecli classify --recursive {shlex.quote(argument)}" if deeper else "",
        code=ExitCode.INPUT,
    )
    return Expanded([PhotoArgument(argument, True, NO_PHOTOS)], left_out, deeper, refused)


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
    try:
        names = os.listdir(parent)  # noqa: PTH208 (names are wanted)
    except (OSError, ValueError):  # no folder, or one whose names are not for everybody
        names = []
    near = difflib.get_close_matches(Path(first).name, names, n=1)
    hint = f" Did you mean {parent / near[0]}?" if near else ""
    files = ", no file ".join(missing[:5])
    return LiteError(f"No file {files}.{hint}", code=ExitCode.USAGE)
