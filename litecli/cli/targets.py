"""Where a command may write: never among a person's photos, never over what is not litecli's.

Asked before the work, so that a slip on the command line (--csv *.jpg) costs nothing.
"""

import json
import os
import shlex
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from litecli.errors import ExitCode, LiteError


def check_target(
    path: Path,
    flag: str,
    *,
    kind: str,
    folder: str | Path | None = None,
    is_ours: Callable[[Path], bool],
    suggested: str,
    inputs: Iterable[Path] = (),
    devices: bool = False,
) -> None:
    """Raise LiteError (USAGE) where `kind`, a file given with `flag`, must not be written.

    `folder` is the profile's photo folder, if there is one, `inputs` the photos of the command
    line, `suggested` a name that would do; `devices`: /dev/stdout and its like are fine.
    Where the person may not even look, it is LiteError (MACHINE).
    """

    def refused(what: str, why: str, other: Path) -> LiteError:
        return LiteError(what, why, f"{flag} {shlex.quote(str(other))}", code=ExitCode.USAGE)

    try:
        path.stat()
    except PermissionError as error:
        raise LiteError(
            f"Cannot write {path}: no permission.",
            fix=f"{flag} FILE in a folder you can write to",
            code=ExitCode.MACHINE,
        ) from error
    except (OSError, ValueError):  # a new file, or a name that cannot be
        pass
    if path.is_dir():
        raise refused(f"{path} is a folder.", f"The {kind} is a file.", path / suggested)
    if path.exists() and not path.is_file() and devices:
        return
    whole, ending = _whole(path), Path(suggested).suffix
    if folder is not None and whole.is_relative_to(folder):
        beside = Path(folder).parent / Path(path.name).with_suffix(ending)
        why = f"litecli never writes to {folder}"
        raise refused(f"{path} would lie among your photos.", why, beside)
    if any(whole == _whole(photo) for photo in inputs):
        why = f"The {kind} would take its place."
        raise refused(f"{path} is one of the photos to look at.", why, path.with_name(suggested))
    if path.exists() and not (path.is_file() and is_ours(path)):
        other = path.with_name(f"{path.stem}_litecli{ending}")
        what = f"{path} exists, and litecli did not write it."
        raise refused(what, "It was left as it is.", other)


def check_two_targets(table: Path, page: Path) -> None:
    """Raise LiteError (USAGE) where --csv and --report name one file: the last would remain."""
    if _whole(table) == _whole(page):
        raise LiteError(
            f"--csv {table} and --report {page} are the same file.",
            "The page would take the table's place.",
            "--csv answers.csv --report answers.html",
            code=ExitCode.USAGE,
        )


def check_page(path: Path, folder: str, flag: str, inputs: Iterable[Path] = ()) -> None:
    """Raise LiteError (USAGE) where a page must not be written; see `check_target`."""
    from litecli.personal.report_page import MARK_WITHIN, is_ours

    check_target(
        path,
        flag,
        kind="page",
        folder=folder,
        is_ours=lambda page: is_ours(start_of(page, MARK_WITHIN)),
        suggested="report.html",
        inputs=inputs,
    )


def save_page(path: Path, page: bytes) -> None:
    """Write the page, all of it or nothing; raises LiteError (MACHINE)."""
    from litecli import storage

    storage.atomic_write(path, page, what=str(path), fix="choose a folder you can write to")


def check_run_folder(out: Path, data: Sequence[str]) -> None:
    """Raise LiteError (USAGE) where a run would lie among the photos that it learns from."""
    for folder in data:
        whole = _whole(Path(folder))
        if _whole(out).is_relative_to(whole):
            raise LiteError(
                f"The run {out} would lie among the photos of {folder}.",
                "litecli never writes there: the next run would take it for a class.",
                f"--out {shlex.quote(str(whole.parent / 'runs' / out.name))}",
                code=ExitCode.USAGE,
            )


def _whole(path: Path) -> Path:
    """The path without links; as it is where there is no such thing (a loop, a zero byte)."""
    try:
        return Path(os.path.realpath(path))
    except (OSError, ValueError):
        return path.absolute()


def start_of(path: Path, length: int) -> bytes:
    """The first bytes of a file; none when it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(length)
    except OSError:
        return b""


def is_profile(path: Path) -> bool:
    """Whether a file is a profile, of this litecli or of another; a model is none."""
    from litecli import storage
    from litecli.config import PROFILE_KEY

    try:
        header = json.loads(storage.read_metadata(path).get(PROFILE_KEY, "null"))
    except (LiteError, ValueError, RecursionError):
        return False
    return isinstance(header, dict) and "photo_hashes" in header
