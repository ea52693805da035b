"""Ctrl-C: the first one stops a command in good order, the next one ends the process."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from litecli.cli.output import Output
from litecli.errors import ExitCode


@contextmanager
def heard_as_before() -> Iterator[None]:
    """Whatever happens within, afterwards Ctrl-C does what it did."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's business
        return
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        if before is not None:  # None: set by other than Python, and not by us since
            signal.signal(signal.SIGINT, before)


def stopped(out: Output) -> int:
    """Say that the first one was heard; the exit code."""
    end_at_the_next()
    out.problem("Stopped.")
    return int(ExitCode.INTERRUPTED)


def end_at_the_next() -> None:
    """From now on all that is left is to leave: Ctrl-C must not break into that."""
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # not where it is ignored
    if ours and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, lambda *_: os._exit(ExitCode.INTERRUPTED))


def comes_of_it(error: BaseException) -> bool:
    """Whether Ctrl-C set off an exception: in the C code of an import it becomes an ImportError."""
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, KeyboardInterrupt):
        seen = seen.__cause__ or seen.__context__
    return seen is not None
