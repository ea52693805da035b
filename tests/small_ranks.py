"""Runs of `litecli meta-train` in many processes, which start without importing the engine anew."""

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from litecli.config import TrainConfig
from litecli.training.run_folder import to_toml

# One process that imports the engine once; the ranks of each run are forked from it. Each rank
# runs `setup` (the fault of a test), then a command line, as torchrun would start it.
LAUNCHER = """
import json, math, os, signal, sys, time
from datetime import timedelta
from pathlib import Path
import numpy, torch
from litecli import storage
from litecli.training import best_model, episodic, loop, ranks, run_folder, torchrun, training
from litecli.cli import main

def write_tensors(model, config, folder, texts):
    state = {name: value.numpy() for name, value in model.state_dict().items()}
    storage.write_tensors(folder / "best.safetensors", state, {})

best_model.write_model = write_tensors
training.RunFolder.draw_curves = lambda self: None
for line in sys.stdin:
    job, pids = json.loads(line), []
    for rank in range(job["started"]):
        pid = os.fork()
        if pid == 0:
            os.environ.update(job["environ"], RANK=str(rank), LOCAL_RANK=str(rank))
            for number in (1, 2):
                log = os.open(f"{job['logs']}/{rank}.{number}", os.O_CREAT | os.O_WRONLY)
                os.dup2(log, number)
            signal.alarm(120)  # a rank that waits for ever fails its test
            exec(job["setup"])
            code = main(job["arguments"])
            sys.stdout.flush(), sys.stderr.flush()
            os._exit(code)  # threads of the launcher, which a fork has not, would be joined
        os.setpgid(pid, pids[0] if pids else pid)  # one group, as a terminal's Ctrl-C needs it
        pids.append(pid)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    print(json.dumps(codes), flush=True)
"""


@dataclass(frozen=True)
class Ended:
    """How the processes of one run ended, by rank."""

    codes: list[int]
    out: list[str]
    err: list[str]


Launch = Callable[..., Ended]


@pytest.fixture(scope="module")
def launcher() -> Iterator[subprocess.Popen[str]]:
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", LAUNCHER]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()  # it ends by itself


@pytest.fixture
def launch(launcher: subprocess.Popen[str], tmp_path: Path) -> Launch:
    """Run `litecli meta-train` in `count` processes; a fault is Python that each runs before."""

    def run(
        config: TrainConfig, count: int, *flags: str, setup: str = "", started: int = 0
    ) -> Ended:
        logs = tmp_path / f"logs {len(list(tmp_path.glob('logs *')))}"
        logs.mkdir()
        recipe = logs / "recipe.toml"
        recipe.write_text(to_toml(config), encoding="utf-8")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        place = {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
        job = {
            "started": started or count,
            "logs": str(logs),
            "environ": {**place, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port},
            "setup": setup,
            "arguments": ["meta-train", "--config", str(recipe), *flags],
        }
        assert launcher.stdin is not None and launcher.stdout is not None
        launcher.stdin.write(json.dumps(job) + "\n")
        launcher.stdin.flush()
        codes = json.loads(launcher.stdout.readline())
        out, err = (
            [(logs / f"{rank}.{number}").read_text() for rank in range(len(codes))]
            for number in (1, 2)
        )
        return Ended(codes, out, err)

    return run
