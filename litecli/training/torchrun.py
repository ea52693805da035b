"""How a process finds the others that torchrun has started, and leaves them again."""

import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from litecli.errors import ExitCode, LiteError
from litecli.training.ranks import ALONE, Ranks

JOINING = timedelta(minutes=5)  # for all processes to come together
WAITING = timedelta(days=7)  # for rank 0, which prepares, validates and pre-trains by itself


@contextmanager
def joined(environ: Mapping[str, str] = os.environ) -> Iterator[Ranks]:
    """This process's place in the run that torchrun's variables describe, connected to the others.

    Raises LiteError: variables that make no sense (USAGE), no connection (MACHINE). While it lasts,
    SIGINT and SIGTERM both are Ctrl-C, and only the first one counts.
    """
    rank, count, local_rank, local_count = place(environ)
    if count == 1:
        yield ALONE
        return
    if "OMP_NUM_THREADS" not in environ:
        torch.set_num_threads(max(1, torch.get_num_threads() // local_count))
    group = connect(rank, count)
    try:
        with _hearing_once():
            yield Ranks(rank, count, local_rank, group)
    finally:
        dist.destroy_process_group()


def place(environ: Mapping[str, str]) -> tuple[int, int, int, int]:
    """(rank, number of ranks, rank on this machine, number of ranks on this machine).

    Raises LiteError (USAGE) when the variables contradict each other.
    """
    defaults = {"RANK": "0", "WORLD_SIZE": "1"}
    defaults |= {
        "LOCAL_RANK": environ.get("RANK", "0"),
        "LOCAL_WORLD_SIZE": environ.get("WORLD_SIZE", "1"),
    }
    texts = {name: environ.get(name, default) for name, default in defaults.items()}
    values = [int(text) if text.isdecimal() else -1 for text in texts.values()]
    rank, count, local_rank, local_count = values
    if not (0 <= rank < count and 0 <= local_rank < local_count <= count):
        said = ", ".join(f"{name}={text}" for name, text in texts.items())
        raise LiteError(
            f"{said} describe no place in a run of many processes.",
            "torchrun sets these variables; RANK counts from 0 to WORLD_SIZE - 1.",
            "torchrun --nproc-per-node 2 -m litecli meta-train ..., or unset them",
            code=ExitCode.USAGE,
        )
    return rank, count, local_rank, local_count


def connect(rank: int, count: int) -> Any:
    """The gloo group of all processes, NCCL too in the default one on GPUs; LiteError (MACHINE)."""
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        dist.init_process_group(backend, timeout=JOINING, rank=rank, world_size=count)
        return dist.new_group(backend="gloo", timeout=WAITING)
    except (RuntimeError, ValueError) as error:
        first_line = str(error).partition("\n")[0][:200]
        raise LiteError(
            f"The {count} processes of this run did not come together.",
            first_line,
            "start them with torchrun, or unset RANK and WORLD_SIZE",
            code=ExitCode.MACHINE,
        ) from error


@contextmanager
def _hearing_once() -> Iterator[None]:
    """The first SIGINT or SIGTERM raises KeyboardInterrupt; more would cut off the saving."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's business
        return
    signals = (signal.SIGINT, signal.SIGTERM)

    def stop(number: int, frame: object) -> None:
        for each in signals:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {each: signal.signal(each, stop) for each in signals}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
