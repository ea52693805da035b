"""The one error boundary: what a command raises becomes a message and an exit code.

A `LiteError` is three lines on stderr (what, why, what to try); with --json it is one
`litecli.error/1` object on stdout. Anything unforeseen is a bug of litecli and says so;
-v adds the traceback.
"""

import errno
import os
import shlex
import sys
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path

import typer

from litecli.cli import ctrl_c
from litecli.cli.app import app
from litecli.cli.output import Output
from litecli.cli.photo_arguments import WORDS
from litecli.cli.texts import escaped, shortened
from litecli.errors import ExitCode, LiteError

# Typer's usage errors: Click's own classes, or Typer's copy of them in later releases.
UsageError: type[Exception] = typer.BadParameter.__bases__[0]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (without the program's name) and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    out = Output()
    # Needed before parsing succeeds: a usage error must already know the form it is wanted in.
    out.json = "--json" in arguments
    out.verbose = "-v" in arguments or "--verbose" in arguments
    out.errors = not (arguments[:1] == ["meta-train"] and _is_one_more())
    with warnings.catch_warnings(), ctrl_c.heard_as_before():
        if not out.verbose and not sys.warnoptions:
            warnings.simplefilter("ignore")
        return _run(arguments, out)


def _open_closed_streams() -> None:
    """Put the null device in place of what the shell has closed (`>&-`): Python has None there."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123


def _is_one_more() -> bool:
    """Whether torchrun started this process beside a first one, which says what is wrong."""
    rank, count = (os.environ.get(name, "") for name in ("RANK", "WORLD_SIZE"))
    return rank.isdecimal() and count.isdecimal() and 0 < int(rank) < int(count)


def _run(arguments: list[str], out: Output) -> int:
    try:
        code = app(arguments, prog_name="litecli", standalone_mode=False, obj=out)
        return int(code or 0)
    except LiteError as error:
        return report(error, out)
    except UsageError as error:
        return report(usage_error(error, arguments), out)
    except SystemExit as stop:  # Typer's own: completion scripts, or help piped into `head`
        closed = isinstance(stop.__context__, BrokenPipeError)
        return 0 if closed else int(stop.code or 0)
    except (KeyboardInterrupt, typer.Abort):
        return ctrl_c.stopped(out)
    except Exception as error:
        told = unforeseen(error)
        if told.code == ExitCode.BUG and ctrl_c.comes_of_it(error):
            return ctrl_c.stopped(out)
        return report(told, out, cause=error)


def report(error: LiteError, out: Output, cause: BaseException | None = None) -> int:
    """Write the error in the form that the user asked for, and return its exit code."""
    if not out.errors and error.code != ExitCode.BUG:
        return int(error.code)
    if out.verbose:
        out.problem("".join(traceback.format_exception(cause or error)).rstrip())
    try:
        out.stdout.flush()  # what did not fit is still there, and would fail again at the end
        if out.json:
            out.record(
                {
                    "schema": "litecli.error/1",
                    "error": error.what,
                    "why": error.why,
                    "try": error.fix,
                    "code": int(error.code),
                }
            )
            return int(error.code)
    except OSError:  # a full disk, or nobody there: stderr is the place that is left
        out.abandon_stdout()
    # A name with a newline in it must not look like a line of ours; `why` may have several.
    lines = [f"Error: {escaped(error.what)}", error.why]
    lines += [f"Try: {escaped(error.fix)}"] if error.fix else []
    out.problem("\n  ".join(line for line in lines if line))
    return int(error.code)


def usage_error(error: Exception, arguments: Sequence[str]) -> LiteError:
    """Typer's complaint about the command line, as the three lines of every other error."""
    message = " ".join(error.format_message().split())  # type: ignore[attr-defined]
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "litecli"
    for argument in arguments:
        if argument.startswith("-") and len(argument) > 1 and _is_file(argument):
            return LiteError(
                f"{argument} was read as an option, not as a file.",
                "A name that begins with a dash needs -- before it.",
                f"{path} -- {shlex.quote(argument)}",
                code=ExitCode.USAGE,
            )
    if message.startswith("Got unexpected extra argument"):
        for start in range(len(arguments)):
            for end in range(start + 2, min(start + WORDS, len(arguments)) + 1):
                whole = " ".join(arguments[start:end])
                if not _exists(whole):
                    continue
                meant = [*arguments[:start], whole, *arguments[end:]]
                return LiteError(
                    f"There are no quotes round '{whole}'.",
                    "The shell takes a name with a space for two names.",
                    f"litecli {shlex.join(meant)}",
                    code=ExitCode.USAGE,
                )
    what = message if message.endswith((".", "?")) else message + "."
    return LiteError(what, fix=f"{path} --help", code=ExitCode.USAGE)


def _exists(name: str) -> bool:
    try:
        return Path(name).exists()
    except OSError:  # as below, or in a folder that one may not look into
        return False


def _is_file(name: str) -> bool:
    try:
        return Path(name).is_file()
    except OSError:  # longer than a name can be
        return False


def unforeseen(error: Exception) -> LiteError:
    """What is said of an exception that no layer foresaw: the machine's limits, or our bug."""
    from litecli.memory import is_out_of_memory

    if is_out_of_memory(error):
        return LiteError(
            "The memory of this machine was not enough.",
            "Nothing was saved by this command after that point.",
            "close other programs, or use fewer or smaller photos",
            code=ExitCode.MACHINE,
        )
    if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
        return LiteError(
            "This machine did not let litecli start another thread.",
            "Its memory, or the number of threads it allows, is used up.",
            "close other programs and try again",
            code=ExitCode.MACHINE,
        )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EROFS, errno.EACCES):
        return LiteError(
            f"{error.strerror}: {error.filename or 'while writing'}.",
            "The machine did not let litecli read or write there.",
            "litecli doctor",
            code=ExitCode.MACHINE,
        )
    if isinstance(error, OSError) and error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
        return LiteError(
            f"{error.strerror}: {shortened(str(error.filename), 60)}.", code=ExitCode.USAGE
        )
    text = " ".join(str(error).split())
    return LiteError(
        f"This is a bug in litecli, not your mistake ({type(error).__name__}: {text[:200]}).",
        "Please report it together with what `litecli doctor` prints.",
        "the same command with -v, which shows where it happened",
        code=ExitCode.BUG,
    )
