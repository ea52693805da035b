"""The help: quick, in order, and with examples that can be typed."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from litecli.cli import main
from litecli.cli.app import ORDER, app
from litecli.config import HEAD_NAMES, TrainConfig

HEAVY = ("torch", "timm", "onnxruntime", "numpy", "PIL", "safetensors")
ROOT = typer.main.get_command(app)


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command and sub-command with the words that call it."""
    for name, child in getattr(command, "commands", {}).items():
        yield (*path, name), child
        yield from commands(child, (*path, name))


ALL = dict(commands(ROOT))


def examples(command: Any) -> list[str]:
    lines = (command.epilog or "").splitlines()
    return [line.strip() for line in lines if line.strip().startswith("litecli")]


def test_help_lists_the_commands_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    first_words = [line.removeprefix("  ").split("  ")[0] for line in lines]
    shown = ["Your objects:", *ORDER[:5], "Researchers:", *ORDER[5:9], "Help:", ORDER[9]]
    assert [word for word in first_words if word in shown] == shown
    assert sorted(ORDER) == sorted(path[0] for path in ALL if len(path) == 1)


def test_no_line_of_help_is_cut_short(capsys: pytest.CaptureFixture[str]) -> None:
    for path, command in ALL.items():
        if hasattr(command, "commands"):
            main([*path, "--help"])
    main(["--help"])
    assert "..." not in capsys.readouterr().out.replace("ARGS]...", "")


def test_bare_litecli_is_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "Your objects" in capsys.readouterr().out


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_command_has_help_examples_and_the_common_options(
    path: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert main([*path, "-h"]) == 0
    text = capsys.readouterr().out
    for option in ("--quiet", "--verbose", "--json", "--offline", "--device"):
        assert option in text
    given = examples(ALL[path])
    assert (2 if len(path) == 1 else 1) <= len(given) <= 4
    assert all(example in text for example in given)


SHOWN_OTHERWISE = {"augment": "augment", "workers": "auto"}  # a flag's name, and 0
CONTEXT = ALL["meta-train",].make_context("meta-train", [], resilient_parsing=True)
SETTINGS = {
    option.name: option.get_help_record(CONTEXT)[1]
    for option in ALL["meta-train",].params
    if getattr(TrainConfig(), option.name, "") not in ("", ())
    and option.name not in ("pooled", "projection")  # switches that are off
}


@pytest.mark.parametrize("name", sorted({*SETTINGS} - {"stratified", "strict_split"}))
def test_meta_train_shows_the_default_of_a_setting(name: str) -> None:
    default = SHOWN_OTHERWISE.get(name, getattr(TrainConfig(), name))
    assert SETTINGS[name].endswith(f"[default: {default}]")


@pytest.mark.parametrize("path", [("adapt",), ("evaluate",), ("models", "fetch")], ids=" ".join)
def test_help_names_every_head(path: tuple[str, ...]) -> None:
    (help,) = (parameter.help for parameter in ALL[path].params if parameter.name == "head")
    assert all(head in help for head in HEAD_NAMES)


CHECKED_BY_THE_COMMAND = {"min_accuracy", "unknown_threshold"}


@pytest.mark.parametrize("path", [path for path in ALL if path != ("meta-train",)], ids=" ".join)
def test_every_number_has_a_least_and_none_is_nan(
    path: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    unbound = ("int", "integer", "float")  # the first two: Typer's name, and Click's
    numbers = {option.name for option in ALL[path].params if option.type.name in unbound}
    assert numbers <= CHECKED_BY_THE_COMMAND
    needed = [p.name for p in ALL[path].params if p.param_type_name == "argument" and p.required]
    for option in ALL[path].params:
        if option.type.name.startswith("float"):
            assert main([*path, *needed, option.opts[0], "nan"]) == 2
            assert "nan is no" in capsys.readouterr().err.replace("nan is not a share", "nan is no")


LINES = [line for command in (ROOT, *ALL.values()) for line in examples(command)]


README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def lines_of_readme() -> list[str]:
    """The litecli commands in README's blocks, and those in its text that have options."""
    blocks = "\n".join(re.findall(r"^```\n(.*?)^```$", README, re.MULTILINE | re.DOTALL))
    # Also "$ litecli adapt", ".venv/bin/litecli demo" and "torchrun ... -m litecli meta-train".
    lines = re.findall(r"^(?:\$ |.* -m |.*/bin/)?(litecli(?: .*)?)$", blocks, re.MULTILINE)
    return lines + re.findall(r"`(litecli [^`\n]* -[^`\n]*)`", README)


def test_readme_is_read_whole() -> None:
    lines = lines_of_readme()
    assert "litecli demo" in lines and "litecli adapt ./my_objects" in lines
    assert any("--ridge-lambda" in line for line in lines)
    assert sum(line.startswith("litecli meta-train") for line in lines) > 5


@pytest.mark.parametrize("line", [*LINES, *lines_of_readme()])
def test_every_example_parses(line: str) -> None:
    arguments = shlex.split(line)[1:]
    command: Any = ROOT
    context = command.make_context("litecli", [], resilient_parsing=True)
    while arguments and arguments[0] in getattr(command, "commands", {}):
        name, *arguments = arguments
        command = command.commands[name]
        # A group keeps the sub-command's words; only the last command parses them all.
        group = bool(getattr(command, "commands", {})) and bool(arguments)
        given = [] if group else arguments
        context = command.make_context(name, given, parent=context)
    assert context.command is command


@pytest.mark.parametrize("arguments", [[], *([*path, "--help"] for path in ALL if len(path) == 1)])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys; from litecli.cli import main; "
        f"code = main({arguments!r}); "
        f"loaded = [name for name in {HEAVY!r} if name in sys.modules]; "
        "sys.exit(code or ', '.join(loaded) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_help_answers_at_once() -> None:
    code = "import sys; from litecli.cli import main; sys.exit(main(['--help']))"
    before = os.times()
    subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    after = os.times()
    # Processor time: the wall clock of a busy machine measures its neighbours.
    spent = after.children_user + after.children_system
    assert spent - before.children_user - before.children_system < 0.5


def test_help_on_a_narrow_ascii_console() -> None:
    code = "import sys; from litecli.cli import main; sys.exit(main(['adapt', '--help']))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=False,
        env={"COLUMNS": "20", "TERM": "dumb", "NO_COLOR": "1", "PYTHONIOENCODING": "ascii"},
    )
    assert done.returncode == 0 and done.stderr == b""
    assert b"--replace" in done.stdout and b"\x1b" not in done.stdout
