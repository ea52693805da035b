"""What `litecli classify` was given on its command line -> the photos to look at, in order."""

import difflib
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from litecli.errors import ExitCode, LiteError


@dataclass(frozen=True)
class Photo:
    """One photo to classify; `named` when the user typed it, not found inside a folder."""

    path: Path
    named: bool


def expand(arguments: Sequence[str], recursive: bool) -> list[Photo]:
    """Files as they are and folders as their photos, in the order given.

    Raises LiteError: a URL (USAGE), nothing of it exists (USAGE, or INPUT for a pattern such as
    *.jpg that matched nothing), a folder without photos (INPUT). A missing file among others that
    exist stays in the list: its own line says so.
    """
    for argument in arguments:
        if argument.lower().startswith(("http://", "https://")):
            raise LiteError(
                f"{argument} is a web address.",
                "litecli does not download photos; save it first.",
                f"curl -LO {shlex.quote(argument)}",
                code=ExitCode.USAGE,
            )
    missing = [argument for argument in arguments if not _exists(argument)]
    _check_quotes(arguments, missing)
    if missing and len(missing) == len(arguments):
        raise _nothing_there(missing)
    return [photo for argument in arguments for photo in _photos(argument, recursive)]


def _photos(argument: str, recursive: bool) -> Iterator[Photo]:
    from litecli import folders

    path = Path(argument)
    if not path.is_dir():
        yield Photo(path, named=True)
        return
    found, _ = folders.list_photos(path, recursive)
    if not found:
        deeper = not recursive and any(entry.is_dir() for entry in path.iterdir())
        raise LiteError(
            f"There are no photos in {argument}.",
            "Its sub-folders were not searched." if deeper else "",
            f"litecli classify --recursive {shlex.quote(argument)}" if deeper else "",
            code=ExitCode.INPUT,
        )
    for photo in found:
        yield Photo(photo, named=False)


def _exists(argument: str) -> bool:
    try:
        return Path(argument).exists()
    except (OSError, ValueError):  # name too long, or a zero byte in it
        return False


def _check_quotes(arguments: Sequence[str], missing: Sequence[str]) -> None:
    """`classify photo 1.jpg`: neighbours that exist only when joined by a space want quotes."""
    for start in range(len(arguments)):
        for end in range(start + 2, len(arguments) + 1):
            parts = arguments[start:end]
            whole = " ".join(parts)
            if not any(part in missing for part in parts) or not Path(whole).is_file():
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
            "No file here fits the pattern, so the shell passed the pattern itself.",
            "ls   (to see what the files are called)",
            code=ExitCode.INPUT,
        )
    parent = Path(first).parent
    names = [entry.name for entry in parent.iterdir()] if parent.is_dir() else []
    near = difflib.get_close_matches(Path(first).name, names, n=1)
    hint = f" Did you mean {parent / near[0]}?" if near else ""
    files = ", no file ".join(missing[:5])
    return LiteError(f"No file {files}.{hint}", code=ExitCode.USAGE)
