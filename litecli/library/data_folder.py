"""What profiles and models share in the user's data folder: names, what is current, locks.

home()/state.json                {"model": NAME, "profile": NAME}, the current ones
home()/profiles/, home()/models/ see profile_library.py and model_library.py
home()/locks/
"""

import difflib
import json
import os
import shlex
import stat
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from litecli import storage
from litecli.errors import ExitCode, LiteError

LOCK_SECONDS = 2.0  # how long to wait for another litecli before giving up
FORBIDDEN = frozenset('/\\<>:"|?*')  # no file name may hold these on some system


def check_name(name: str) -> str:
    """The name in NFC, if it can be a file's name on every system; else LiteError (USAGE)."""
    name = unicodedata.normalize("NFC", name)
    odd = any(char in FORBIDDEN or unicodedata.category(char)[0] == "C" for char in name)
    if not name or odd or name != name.strip(" .") or len(name.encode()) > 200:
        raise LiteError(
            f"{name!r} cannot be a name.",
            'Use letters, digits, spaces, "-" and "_", at most 200 bytes.',
            code=ExitCode.USAGE,
        )
    return name


def name_for_folder(folder: Path) -> str:
    """A valid profile name made of a photo folder's own name."""
    name = unicodedata.normalize("NFC", folder.resolve().name)
    allowed = [
        "_" if char in FORBIDDEN or unicodedata.category(char)[0] == "C" else char for char in name
    ]
    short = "".join(allowed).encode()[:200].decode(errors="ignore")
    return short.strip(" .") or "my_objects"


def state() -> dict[str, str]:
    """The names of the current "profile" and "model"; empty when nothing was chosen yet."""
    path = storage.home() / "state.json"
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
    except PermissionError as error:
        raise no_entry(path) from error
    except (OSError, ValueError, RecursionError):  # none yet, or damaged: nothing is current
        return {}
    entries = state.items() if isinstance(state, dict) else ()
    return {kind: name for kind, name in entries if isinstance(name, str)}


def set_current(kind: str, name: str | None) -> None:
    """Record the current "profile" or "model"; None = none."""
    with lock_for("state", "another litecli is saving its settings"):
        entries = sorted((state() | {kind: name}).items())
        text = json.dumps({key: value for key, value in entries if value})
        storage.atomic_write(storage.home() / "state.json", text.encode(), what="settings")


@contextmanager
def lock_for(name: str, busy: str) -> Iterator[None]:
    """Hold the lock of that name; raises LiteError (MACHINE), saying `busy`, when it is taken."""
    from filelock import FileLock, Timeout  # takes a while, and classify locks nothing

    path = storage.home() / "locks" / f"{name}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path, timeout=LOCK_SECONDS)
        lock.acquire()
    except Timeout:
        raise LiteError(
            f"{busy[0].upper()}{busy[1:]}.", "", "the same again in a moment", code=ExitCode.MACHINE
        ) from None
    except (OSError, NotImplementedError) as error:
        raise LiteError(
            f"litecli cannot write to its data folder {storage.home()}.",
            f"{path.parent}: {storage.plain_reason(error)}.",
            "set LITECLI_HOME to a folder you can write to",
            code=ExitCode.MACHINE,
        ) from error
    try:
        yield
    finally:
        lock.release()


def is_file(path: Path) -> bool:
    """Whether there is a file; LiteError (MACHINE) where that may not be known."""
    return stat.S_ISREG(_mode(path))


def is_folder(path: Path) -> bool:
    """Whether there is a folder; LiteError (MACHINE) where that may not be known."""
    return stat.S_ISDIR(_mode(path))


def entries(folder: Path) -> list[Path]:
    """What is in a folder, sorted; nothing where there is none. LiteError (MACHINE) as above."""
    try:
        return sorted(folder.iterdir())
    except PermissionError as error:
        raise no_entry(folder) from error
    except OSError:
        return []


def _mode(path: Path) -> int:
    try:
        return os.stat(path).st_mode  # noqa: PTH116 (Path.exists tells no reason from 3.14 on)
    except PermissionError as error:
        raise no_entry(path) from error
    except (OSError, ValueError):  # nothing there, or no name at all
        return 0


def no_entry(path: Path) -> LiteError:
    """The error (MACHINE) for what this person may not look at."""
    home = storage.home()
    own = path == home or path.is_relative_to(home)
    return LiteError(
        f"No permission to look at {path}.",
        f"litecli keeps profiles and models in {home}" if own else "",
        "set LITECLI_HOME to a folder of your own" if own else "",
        code=ExitCode.MACHINE,
    )


def not_found(kind: str, name: str, known: Sequence[str], fix: str) -> LiteError:
    """The error (MISSING) for a name that is not there, with the nearest one that is.

    For no name at all it is one of USAGE.
    """
    if not name:
        what, why = f"An empty name is no {kind}.", "Perhaps a variable is not set."
        return LiteError(what, why, fix, code=ExitCode.USAGE)
    close = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {close[0]}?" if close else ""
    count = f"{len(known)} {kind}{'' if len(known) == 1 else 's'}"
    listed = f"{count}: {', '.join(known[:5])}{', ...' if len(known) > 5 else ''}" if known else ""
    return LiteError(f"No {kind} {name}.{hint}", listed, fix, code=ExitCode.MISSING)


def learn_again(folder: str | None, name: str, file: Path | None = None) -> str:
    """What to type to make a profile anew, in its place: from its photo folder, where it is known.

    `file` is where it lies, if not among the profiles that litecli keeps by name.
    """
    place = f" --name {quoted(name)}" if file is None else f" -o {quoted(file)}"
    if file is None and folder and name_for_folder(Path(folder)) == name:
        place = ""
    return f"litecli adapt {quoted(folder or 'FOLDER')}{place}   (learn it again)"


def quoted(text: str | Path) -> str:
    """The text as one word of a command line to copy."""
    return shlex.quote(str(text))
