"""The options every command has, and the decorator that makes a function a command."""

import functools
import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from litecli.cli import ctrl_c
from litecli.cli.help import PlainCommand, PlainGroup, examples_text
from litecli.cli.output import Output
from litecli.config import HEAD_NAMES
from litecli.errors import ExitCode, LiteError

YOUR_OBJECTS = "Your objects"
RESEARCHERS = "Researchers"
HELP = "Help"
COMMON_PANEL = "Every command has"
HEADS_IN_WORDS = f"auto, {', '.join(HEAD_NAMES[:-1])} or {HEAD_NAMES[-1]}"  # what --head takes


class Device(StrEnum):
    """Where the network runs."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    MPS = "mps"


@dataclass(frozen=True)
class Common:
    """What the options of every command say."""

    out: Output
    offline: bool = False
    device: str = "auto"
    device_said: bool = False  # by the user; where a file may say it too, a flag wins


def _option(name: str, annotation: Any, default: Any, *flags: str, help: str) -> inspect.Parameter:
    option = typer.Option(*flags, help=help, rich_help_panel=COMMON_PANEL)
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[annotation, option],
    )


COMMON = (
    _option("quiet", bool, False, "--quiet", "-q", help="Only results and errors."),
    _option("verbose", bool, False, "--verbose", "-v", help="Everything, tracebacks too."),
    _option("json", bool, False, "--json", help="Results as JSON on stdout."),
    _option("offline", bool, False, "--offline", help="Never use the network."),
    _option(
        "device", Device | None, None, "--device", help="Where the network runs.  [default: auto]"
    ),
)


def command(
    app: typer.Typer, name: str = "", *, panel: str | None = None, examples: Sequence[str] = ()
) -> Callable[[Callable[..., int | None]], Callable[..., int | None]]:
    """Register `function(common, ...)` as command `name` of `app`; no name: as the bare app.

    The function's result is the exit code (None = 0). `examples` end the help, one line each.
    """

    def register(function: Callable[..., int | None]) -> Callable[..., int | None]:
        @functools.wraps(function)
        def run(ctx: typer.Context, **given: Any) -> None:
            out: Output = ctx.obj
            out.quiet |= given.pop("quiet")
            out.verbose |= given.pop("verbose")
            out.json |= given.pop("json")
            common = _common(ctx, given.pop("offline"), given.pop("device"))
            _check_numbers(given)
            if ctx.invoked_subcommand is None:
                code = _until_stopped(out, lambda: function(common, **given))
                raise typer.Exit(code or 0)

        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        for parameter in own:
            for info in getattr(parameter.annotation, "__metadata__", ()):
                info.readable = False  # Typer would call what cannot be read a wrong usage
        kind = inspect.Parameter.KEYWORD_ONLY
        context = inspect.Parameter("ctx", kind, annotation=typer.Context)
        parameters = (context, *(p.replace(kind=kind) for p in own), *COMMON)
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        epilog = examples_text(examples) if examples else None
        if name:
            app.command(name, cls=PlainCommand, rich_help_panel=panel, epilog=epilog)(run)
        else:
            app.callback(invoke_without_command=True, epilog=epilog)(run)
        return function

    return register


def _common(ctx: typer.Context, offline: bool, device: str | None) -> Common:
    """What was said to the command, or before it: `models --offline fetch NAME`."""
    before = ctx.parent.params if ctx.parent else {}
    said = device or before.get("device")
    offline = offline or before.get("offline", False)
    return Common(ctx.obj, offline, Device(said or "auto").value, said is not None)


def _check_numbers(given: dict[str, Any]) -> None:
    """Raise LiteError (USAGE) for a nan: it is neither below a range nor above it."""
    for name, value in given.items():
        numbers = value if isinstance(value, list) else [value]
        if any(isinstance(number, float) and math.isnan(number) for number in numbers):
            raise LiteError(f"--{name.replace('_', '-')} nan is no number.", code=ExitCode.USAGE)


def _until_stopped(out: Output, work: Callable[[], int | None]) -> int | None:
    """Run `work` to its end, to Ctrl-C, or until the reader of stdout leaves (`| head`).

    Caught here because Typer has answers of its own to both, which differ from release to release.
    """
    try:
        return work()
    except KeyboardInterrupt:
        return ctrl_c.stopped(out)
    except BrokenPipeError:  # a quiet end and no error
        out.abandon_stdout()
        return ExitCode.OK


def check_head(head: str | None) -> None:
    """Raise LiteError (USAGE) when there is no such head."""
    if head is not None and head not in ("auto", *HEAD_NAMES):
        raise LiteError(
            f"There is no head {head}.",
            f"Heads: auto, {', '.join(HEAD_NAMES)}.",
            "--head auto",
            code=ExitCode.USAGE,
        )


def on_the_processor(common: Common, name: str) -> None:
    """Say what --device means to a command that runs on the processor only.

    Raises LiteError (MACHINE) for cuda; for mps it is a note.
    """
    if common.device == "cuda":
        raise no_cuda(name)
    if common.device == "mps":
        common.out.say(f"Note: {name} runs on the processor; --device mps is ignored.")


def no_cuda(name: str) -> LiteError:
    """The error of a command that is to run on CUDA and cannot."""
    return LiteError(
        f"{name} has no CUDA device to use: it runs on the processor.",
        "One photo takes a fraction of a second there.",
        "--device cpu, or leave --device out",
        code=ExitCode.MACHINE,
    )


def csv_not_written(path: Path, error: OSError) -> LiteError:
    """The error of a command whose --csv file cannot be written."""
    return LiteError(
        f"Cannot write {path}: {(error.strerror or str(error)).lower()}.",
        fix="--csv FILE in a folder you can write to",
        code=ExitCode.MACHINE,
    )


def group(app: typer.Typer, name: str, panel: str) -> typer.Typer:
    """A command of `app` that has sub-commands of its own, to be registered on the result."""
    commands = typer.Typer(cls=PlainGroup, rich_markup_mode=None)
    app.add_typer(commands, name=name, rich_help_panel=panel)
    return commands
