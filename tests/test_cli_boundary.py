"""litecli.cli.boundary: every end of a command has its text and its exit code."""

import errno
import json
from pathlib import Path

import pytest
import typer

from litecli.cli import boundary, doctor, main, meta_train
from litecli.cli.help import PlainGroup
from litecli.cli.options import Common, command, group
from litecli.cli.output import Output
from litecli.errors import ExitCode, LiteError


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Run a command line in an empty data folder -> (exit code, stdout, stderr)."""
    monkeypatch.setenv("LITECLI_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        code = main(arguments)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def doctor_raises(monkeypatch: pytest.MonkeyPatch):
    """Make `litecli doctor` raise the given exception."""

    def arrange(error: BaseException) -> None:
        def fail() -> None:
            raise error

        monkeypatch.setattr(doctor, "examine", fail)

    return arrange


MENDABLE = LiteError("No profile garge.", "2 profiles: a, b", "litecli profiles", code=ExitCode(4))


def test_a_mendable_error_is_three_lines_and_its_code(run, doctor_raises) -> None:
    doctor_raises(MENDABLE)
    code, out, err = run("doctor")
    assert (code, out) == (4, "")
    assert err == "Error: No profile garge.\n  2 profiles: a, b\n  Try: litecli profiles\n"


@pytest.mark.parametrize(
    ("command", "rank", "count", "lines"),
    [
        ("meta-train", "0", "2", 3),
        ("meta-train", "1", "2", 0),
        ("meta-train", "1", None, 3),  # of some other program
        ("meta-train", "2", "2", 3),  # no process of such a run
        ("meta-train", "x", "2", 3),
        ("doctor", "1", "2", 3),
    ],
)
def test_of_many_processes_the_first_one_says_it(
    run, monkeypatch: pytest.MonkeyPatch, command: str, rank: str, count: str | None, lines: int
) -> None:
    def fail(*_: object) -> None:
        raise LiteError("What.", "Why.", "try", code=ExitCode.INPUT)

    monkeypatch.setattr(doctor, "examine", fail)
    monkeypatch.setattr(meta_train, "resolve", fail)
    monkeypatch.setenv("RANK", rank)  # as torchrun sets it
    if count is not None:
        monkeypatch.setenv("WORLD_SIZE", count)
    code, out, err = run(command)
    assert (code, out, len(err.splitlines())) == (3, "", lines)


def test_empty_parts_of_an_error_leave_no_lines(run, doctor_raises) -> None:
    doctor_raises(LiteError("No.", code=ExitCode.INPUT))
    assert run("doctor") == (3, "", "Error: No.\n")


def test_with_json_an_error_is_one_object_on_stdout(run, doctor_raises) -> None:
    doctor_raises(MENDABLE)
    code, out, err = run("doctor", "--json")
    assert (code, err) == (4, "")
    assert json.loads(out) == {
        "schema": "litecli.error/1",
        "error": "No profile garge.",
        "why": "2 profiles: a, b",
        "try": "litecli profiles",
        "code": 4,
    }


def test_a_bug_says_so_without_a_traceback(run, doctor_raises) -> None:
    doctor_raises(KeyError("x"))
    code, out, err = run("doctor")
    assert code == 1 and out == ""
    assert err.startswith("Error: This is a bug in litecli, not your mistake (KeyError: 'x').")
    assert "Traceback" not in err and len(err.splitlines()) == 3


@pytest.mark.parametrize("error", [KeyError("x"), MENDABLE])
def test_verbose_adds_the_traceback(run, doctor_raises, error: Exception) -> None:
    doctor_raises(error)
    _, _, err = run("doctor", "-v")
    assert err.startswith("Traceback") and "test_cli_boundary.py" in err and "Error:" in err


def test_ctrl_c_is_130(run, doctor_raises) -> None:
    doctor_raises(KeyboardInterrupt())
    assert run("doctor") == (130, "", "Stopped.\n")


class OutOfMemoryError(RuntimeError):
    """Named as torch's."""


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("can't start new thread"),
        OSError(errno.ENOSPC, "No space left on device", "x"),
        PermissionError(errno.EACCES, "Permission denied", "x"),
    ],
)
def test_the_limits_of_the_machine_are_6(run, doctor_raises, error: Exception) -> None:
    doctor_raises(error)
    code, _, err = run("doctor")
    assert code == 6 and "bug" not in err


@pytest.mark.parametrize(
    ("arguments", "message", "fix"),
    [
        (("adapt", "--foo"), "No such option: --foo", "litecli adapt --help"),
        (("clasify",), "Did you mean 'classify'?", "litecli --help"),
        (("adapt",), "folder", "litecli adapt --help"),
        (("profiles", "use"), "name", "litecli profiles use --help"),
        (("doctor", "--device", "tpu"), "tpu", "litecli doctor --help"),
    ],
)
def test_usage_errors_have_the_same_form(run, arguments, message, fix) -> None:
    code, out, err = run(*arguments)
    lines = err.splitlines()
    assert (code, out) == (2, "")
    assert lines[0].startswith("Error: ") and message.lower() in lines[0].lower()
    assert lines[-1] == f"  Try: {fix}"


def test_usage_errors_with_json(run) -> None:
    code, out, err = run("adapt", "--json", "--foo")
    assert (code, err) == (2, "")
    assert json.loads(out)["schema"] == "litecli.error/1" and json.loads(out)["code"] == 2


@pytest.mark.parametrize(
    ("words", "heard"),
    [
        ("things --offline show", (True, "auto")),
        ("things --device cuda show", (False, "cuda")),
        ("things --device cuda show --device cpu --offline", (True, "cpu")),
        ("things --offline", (True, "auto")),
    ],
)
def test_what_is_said_to_a_group_holds_for_its_command(words: str, heard: tuple) -> None:
    told = []

    def show(common: Common) -> None:
        told.append((common.offline, common.device))

    app = typer.Typer(cls=PlainGroup)
    things = group(app, "things", "Things")
    command(things)(show)
    command(things, "show")(show)
    app(words.split(), standalone_mode=False, obj=Output())
    assert told == [heard]


def test_version(run) -> None:
    code, out, _ = run("--version")
    assert code == 0 and out.startswith("litecli 0.")


def test_an_error_is_three_lines_whatever_the_name(run, doctor_raises) -> None:
    name = "a\nError: b\x1b[2J"
    doctor_raises(LiteError(f"No {name}.", "Two\n  lines.", f"rm '{name}'", code=ExitCode(3)))
    _, _, err = run("doctor")
    told = r"a\nError: b\x1b[2J"
    assert err == f"Error: No {told}.\n  Two\n  lines.\n  Try: rm '{told}'\n"


def test_every_exit_code_is_in_the_table() -> None:
    assert sorted(map(int, ExitCode)) == [*range(9), 130]
    assert boundary.unforeseen(ValueError("x")).code == ExitCode.BUG
