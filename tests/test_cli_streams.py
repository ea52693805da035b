"""A program with streams that are closed, full or left, and Ctrl-C while it starts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = "-m", "litecli"


@pytest.mark.parametrize("arguments", [["--help"], ["profiles", "--json"]])
def test_a_reader_that_leaves_is_no_error(arguments: list[str], tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    profiles = tmp_path / "profiles"
    profiles.mkdir()
    (profiles / "damaged.safetensors").write_bytes(b"x")
    # Unbuffered, Python has nothing left to flush at its end, and that flush is what fails.
    environ = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        [sys.executable, *PROGRAM, *arguments],
        stdout=writing,
        stderr=subprocess.PIPE,
        env={**environ, "LITECLI_HOME": str(tmp_path)},
        text=True,
        check=False,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("arguments", [["--json"], []])
def test_a_full_disk_under_stdout_is_told_on_stderr(arguments: list[str], tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, *PROGRAM, "doctor", *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            env={**os.environ, "LITECLI_HOME": str(tmp_path)},
            text=True,
            check=False,
        )
    assert done.returncode == 6
    assert done.stderr.startswith("Error: No space left on device") and "Trace" not in done.stderr


@pytest.mark.skipif(os.name != "posix", reason="needs a shell")
@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("--version >&-", 0),
        ("--version 2>&-", 0),
        ("profiles >&- 2>&-", 0),
        ("classify - <&-", 3),
        ("classify --stdin-paths <&-", 3),
        ("nothing --json <&- >&- 2>&-", 2),
    ],
)
def test_streams_that_the_shell_closed(line: str, code: int, tmp_path: Path) -> None:
    done = subprocess.run(
        ["sh", "-c", f'"{sys.executable}" -m litecli {line}'],
        capture_output=True,
        env={**os.environ, "LITECLI_HOME": str(tmp_path)},
        text=True,
        check=False,
    )
    assert done.returncode == code and "bug" not in done.stdout + done.stderr


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
@pytest.mark.parametrize("ignored", [False, True])
def test_ctrl_c_while_it_starts_is_quiet(ignored: bool, tmp_path: Path) -> None:
    code = (
        "import signal, sys, os\n"
        f"if {ignored}: signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "class Typed:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'litecli.cli.app': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Typed())\n"
        "from litecli.__main__ import run\n"
        f"assert signal.getsignal(signal.SIGINT) is (signal.SIG_IGN if {ignored} else\n"
        "    signal.default_int_handler)\n"
        "sys.argv[1:] = ['--version']\n"
        "sys.exit(run())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0 if ignored else 130, "")
