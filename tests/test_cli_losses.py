"""Readers that leave, full disks and Ctrl-C: what a command still does, and how it ends."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from litecli import library

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
