"""Readers that leave, full disks and Ctrl-C: what a command still does, and how it ends."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from litecli import library
from litecli.cli import doctor
from litecli.errors import ExitCode, LiteError

from .small_objects import learned

__all__ = ("learned",)  # a fixture

posix_only = pytest.mark.skipif(os.name != "posix", reason="needs a shell")


def shell(line: str) -> int:
    """Run a line in which `litecli` is this one -> its exit code, a pipe's first one's."""
    function = f'litecli() {{ "{sys.executable}" -m litecli "$@"; }}\n'
    # Unbuffered, Python has nothing left to flush at its end, and that flush is what may fail.
    environ = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    command = ["bash", "-o", "pipefail", "-c", function + line]
    return subprocess.run(command, env=environ, check=False, stdout=subprocess.DEVNULL).returncode


@posix_only
@pytest.mark.parametrize(
    "lost",
    ["2>&1 | head -n 1", "2>&1 | true", "2> >(true)", "2>/dev/full", "--json 2>/dev/full", "2>&-"],
)
def test_adapt_saves_though_nobody_listens(learned, lost: str) -> None:
    if "/dev/full" in lost and not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    assert shell(f"litecli adapt my_objects --name again {lost}") == 0
    assert len(library.load_profile("again").photo_paths) == 15


@posix_only
@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("litecli classify gone.jpg 2>&1 | true", 2),
        ("litecli classify gone.jpg 2> >(true)", 2),
        ("litecli clasify 2>&1 | true", 2),
        ("litecli classify inbox -p garge -v 2>&1 | true", 4),
        ("litecli classify inbox gone.jpg --csv out.csv 2>&1 | true", 3),
        ("litecli classify inbox 2>&1 | true", 0),
        ("litecli profiles 2>&1 | true", 0),
    ],
)
def test_an_exit_code_is_the_same_though_nobody_listens(learned, line: str, code: int) -> None:
    assert shell(line) == code
    if "--csv" in line:
        assert len(Path("out.csv").read_text().splitlines()) == 5


# `litecli doctor`, but it types Ctrl-C itself: in its work, while what that held is let go of, or
# when all is done and Python waits for a thread.
TYPES = """
import os, signal, sys, threading, time
from litecli.__main__ import run
from litecli.cli import doctor

class Held:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)

def once():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.01)

def twice():
    held = Held()
    once()

def later():
    time.sleep(0.5)
    once()
    time.sleep(0.5)

def at_the_end():
    threading.Thread(target=later).start()
    return {}, []

doctor.examine = globals()[sys.argv[1]]
sys.argv[1:] = ["doctor"]
sys.exit(run())
"""


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
@pytest.mark.parametrize(
    ("when", "told"), [("once", "Stopped.\n"), ("twice", "Stopped.\n"), ("at_the_end", "")]
)
def test_ctrl_c_at_any_time_ends_quietly(program, when: str, told: str) -> None:
    process = program(when, code=TYPES)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, told)


@pytest.fixture
def doctor_stops(monkeypatch: pytest.MonkeyPatch):
    """Make `litecli doctor` raise an exception that Ctrl-C set off, as its cause or before it."""

    def arrange(error: Exception, cause: bool) -> None:
        def fail() -> None:
            try:
                raise KeyboardInterrupt
            except KeyboardInterrupt as typed:
                if cause:
                    raise error from typed
                raise error  # noqa: B904 (as C code does)

        monkeypatch.setattr(doctor, "examine", fail)

    return arrange


@pytest.mark.parametrize("cause", [True, False])
def test_ctrl_c_within_an_import_is_no_bug(run, doctor_stops, cause: bool) -> None:
    before = signal.getsignal(signal.SIGINT)
    doctor_stops(ImportError("initialization failed"), cause)
    assert run("doctor") == (130, "", "Stopped.\n")
    assert signal.getsignal(signal.SIGINT) is before


def test_what_cannot_be_saved_after_ctrl_c_is_told(run, doctor_stops) -> None:
    for error in (
        OSError(errno.ENOSPC, "No space left on device"),
        LiteError("Could not save.", code=ExitCode.MACHINE),
    ):
        doctor_stops(error, cause=False)
        code, _, err = run("doctor")
        assert code == 6 and "Stopped." not in err
