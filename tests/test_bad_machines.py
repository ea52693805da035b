"""Machines that are not as they should be: rows 39 to 41 and 65 of the bad inputs.

Signals and locks are met by a real process; the rest runs in this one.
"""

import errno
import io
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from litecli import library, storage
from litecli.library import data_folder

from .small_objects import learned

__all__ = ("learned",)  # a fixture

# `litecli`, but it stops at the first call of a function and says so, until it gets a line.
STOPS = """
import importlib, sys
module, _, name = sys.argv.pop(1).partition(":")
owner = importlib.import_module(module)
*outer, last = name.split(".")
for part in outer:
    owner = getattr(owner, part)
plain = getattr(owner, last)

def wait_once(*arguments):
    setattr(owner, last, plain)
    print("waiting", flush=True)
    sys.stdin.readline()
    return plain(*arguments)

setattr(owner, last, wait_once)

from litecli.cli import main

sys.exit(main())
"""


@pytest.fixture
def changed(learned, put, photo) -> bytes:
    """The saved profile's bytes; the folder has one photo more by now."""
    put("my_objects/keys/new.jpg", photo("keys", 900))
    return library.profile_path().read_bytes()


def kept() -> list[str]:
    """The files in the folder of profiles, temporary ones included."""
    files = library.profile_path().parent.rglob("*")
    return sorted(path.name for path in files if path.is_file())


@pytest.mark.parametrize("reason", ["disk full", "no permission to write"])
def test_row_39_nothing_can_be_written(learned, changed, monkeypatch, reason: str) -> None:
    def fails(file: int) -> None:
        raise OSError(28 if reason == "disk full" else 30, "of the system")

    monkeypatch.setattr(os, "fsync", fails)
    code, out, err = learned("adapt", "my_objects")
    what, why, fix = err.splitlines()[-3:]
    assert code == 6 and "Learned" not in out
    assert what == f'Error: Could not save profile "my_objects" ({reason}).'
    assert why.startswith(f"  It needs less than 1 MB in {library.profile_path().parent}")
    assert why.endswith("; what was there before is untouched.")
    assert fix == "  Try: add -o FILE to save elsewhere"
    assert library.profile_path().read_bytes() == changed and kept() == ["my_objects.safetensors"]


@pytest.mark.parametrize("where", ["litecli.networks.encoder:Encoder.encode", "os:fsync"])
def test_row_40_ctrl_c_in_adapt(learned, changed, where: str, program) -> None:
    process = program(where, "adapt", "my_objects", code=STOPS)
    assert process.stdout and process.stdout.readline() == "waiting\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.splitlines()[-1] == "Stopped." and "Traceback" not in err
    assert library.profile_path().read_bytes() == changed and kept() == ["my_objects.safetensors"]


def test_row_41_two_adapts_at_once(
    learned, changed, monkeypatch: pytest.MonkeyPatch, program
) -> None:
    monkeypatch.setattr(data_folder, "LOCK_SECONDS", 0.1)
    first = program("os:fsync", "adapt", "my_objects", code=STOPS)
    assert first.stdout and first.stdout.readline() == "waiting\n"  # it holds the lock
    code, _, err = learned("adapt", "my_objects")
    assert code == 6 and "Another litecli is saving this profile." in err
    assert library.profile_path().read_bytes() == changed
    out, err = first.communicate("\n", timeout=60)
    assert first.returncode == 0 and "Saved profile" in out and "Traceback" not in err
    assert len(library.load_profile().photo_paths) == 16


def test_row_65_no_place_to_write(learned, tmp_path: Path, monkeypatch) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    model = library.find_model("tiny").folder
    monkeypatch.setenv("LITECLI_HOME", str(blocked))
    code, _, err = learned("adapt", "my_objects", "--model", model)
    assert code == 6 and f"cannot write to its data folder {blocked}" in err and "bug" not in err
    assert f"  {blocked / 'locks'}: not a directory.\n" in err
    code, out, _ = learned("doctor")
    assert code == 6 and str(blocked) in out and "set LITECLI_HOME" in out


def test_row_65_no_home(learned, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(*_: object, **__: object) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("LITECLI_HOME")
    monkeypatch.setattr(storage, "user_data_path", nobody)
    for command in (("adapt", "my_objects"), ("classify", "inbox/0.jpg"), ("profiles",)):
        code, _, err = learned(*command)
        assert code == 6 and "set LITECLI_HOME to a folder you can write to" in err
    assert learned("doctor")[0] == 6


def lock(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    """Let nobody look below a folder, not even the administrator, whom permissions do not stop."""

    def refusing(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any = ".", *arguments: Any, **options: Any) -> Any:
            below = isinstance(path, str | os.PathLike) and place in Path(path).parents
            if below or (path == place and real is not os_stat):
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return real(path, *arguments, **options)

        return call

    os_stat = os.stat
    for module, name in ((os, "stat"), (os, "listdir"), (os, "scandir"), (io, "open")):
        monkeypatch.setattr(module, name, refusing(getattr(module, name)))


NEED_MODELS = ("adapt my_objects", "models", "models use tiny", "evaluate my_objects", "demo show")
NEED_PROFILES = (
    *("classify inbox/0.jpg", "classify inbox/0.jpg -p my_objects", "report", "adapt my_objects"),
    *("profiles", "profiles show", "profiles use my_objects", "profiles undo"),
)


@pytest.mark.parametrize(
    ("place", "commands"),
    [
        (".", (*NEED_MODELS, *NEED_PROFILES)),
        ("home", (*NEED_MODELS, *NEED_PROFILES)),
        ("home/models", (*NEED_MODELS, "classify inbox/0.jpg")),
        ("home/profiles", NEED_PROFILES),
    ],
)
def test_row_65_a_data_folder_one_may_not_look_into(
    learned, tmp_path: Path, monkeypatch, place: str, commands: tuple[str, ...]
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir()
    (tmp_path / "home").rename(closed / "home")
    monkeypatch.setenv("LITECLI_HOME", str(closed / "home"))
    lock(monkeypatch, closed / place)
    for command in commands:
        code, out, err = learned(*command.split())
        assert (code, out) == (6, "") and err.startswith("Error: No permission to look at ")
        assert "set LITECLI_HOME to a folder of your own" in err
    code, out, err = learned("doctor")
    assert (code, err) == (6, "") and "Problem: No permission to look at " in out


def test_a_file_where_one_may_not_look_is_refused(learned, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "closed").mkdir()
    lock(monkeypatch, tmp_path / "closed")
    for command in ("adapt my_objects -o", "classify inbox/0.jpg --csv", "report -o"):
        code, out, err = learned(*command.split(), tmp_path / "closed" / "x.csv")
        assert (code, out) == (6, "") and "x.csv: no permission." in err


def test_a_model_where_one_may_not_look(learned, tmp_path: Path, monkeypatch) -> None:
    shutil.copytree(library.model_path(), tmp_path / "closed" / "model")
    lock(monkeypatch, tmp_path / "closed")
    code, out, err = learned("adapt", "my_objects", "-m", tmp_path / "closed" / "model")
    assert (code, out) == (6, "") and "No permission to look at" in err
    assert "LITECLI_HOME" not in err


@pytest.mark.parametrize("now", [0.0, 4e9, 2e11])
def test_row_65_an_odd_clock(learned, changed, monkeypatch, now: float) -> None:
    monkeypatch.setattr(time, "time", lambda: now)
    for name in ("keys/new.jpg", "mug/IMG_0.jpg"):
        os.utime(Path("my_objects") / name, (now, min(now, 4e9)))
    assert learned("adapt", "my_objects")[0] == 0
    assert learned("classify", "inbox")[0] == 0
