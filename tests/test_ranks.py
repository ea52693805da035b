"""Many processes of one run: the same steps with any number of them, and one voice at its end."""

import csv
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from litecli import storage
from litecli.config import EpisodeConfig, PretrainConfig, TrainConfig
from litecli.errors import ExitCode, LiteError
from litecli.library.model_files import open_model
from litecli.networks import backbone
from litecli.networks.model import FewShotModel
from litecli.tasks.episodes import Source
from litecli.training import ranks, torchrun
from litecli.training.episodic import EpisodicStage
from litecli.training.ranks import Ranks
from litecli.training.run_folder import to_toml
from litecli.training.training import meta_train

from .small_runs import NETWORK, SIDE, SMALL_RUN

posix = pytest.mark.skipif(os.name != "posix", reason="ranks are forked")

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

# Something that happens in task k.
FAULT = """
task_step = episodic.EpisodicStage.task_step
def faulty(self, k, scale):
    if k == {k}:
        {what}
    return task_step(self, k, scale)
episodic.EpisodicStage.task_step = faulty
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


@pytest.fixture
def config(photos: tuple[str, str], tmp_path: Path) -> TrainConfig:
    """A supervised step, then four of two tasks, the last of one: one of three ranks has none."""
    return replace(
        SMALL_RUN,
        data=(photos[0],),
        val=photos[1],
        out=str(tmp_path / "run"),
        tasks=7,
        lr=1e-4,
        backbone_lr=1.0,
        clip=1.0,
        val_every=100,
        workers=1,
        pretrain=PretrainConfig(images=8, batch=8, image_size=SIDE),
    )


@pytest.fixture
def alone(config: TrainConfig, quick: None, tmp_path: Path) -> TrainConfig:
    """The run of `config` in one process, without interruption."""
    whole = replace(config, out=str(tmp_path / "alone"))
    list(meta_train(whole))
    return whole


def state_of(config: TrainConfig) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    path = Path(config.out) / "last" / "state.safetensors"
    tensors, metadata = storage.read_tensors(path)
    return tensors, json.loads(metadata["progress"])


def rows_of(config: TrainConfig) -> list[dict[str, str]]:
    with (Path(config.out) / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def assert_same_run(found: TrainConfig, expected: TrainConfig) -> None:
    """Weights, optimiser and history are the same to float tolerance."""
    (tensors, progress), (wanted, end) = state_of(found), state_of(expected)
    assert (progress["stage"], progress["step"]) == (end["stage"], end["step"])
    assert set(tensors) == set(wanted)
    for name, value in wanted.items():
        scale = np.abs(value).max() + 1e-12
        assert np.abs(tensors[name] - value).max() <= 1e-4 * scale, name
    for row, other in zip(rows_of(found), rows_of(expected), strict=True):
        assert (row["stage"], row["step"]) == (other["stage"], other["step"])
        for key in ("loss", "val_accuracy"):
            assert bool(row[key]) == bool(other[key])
            if row[key]:
                assert float(row[key]) == pytest.approx(float(other[key]), rel=1e-4)


# Which task a rank takes


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_the_ranks_together_take_every_task_of_a_step_once(count: int) -> None:
    for numbers in (range(0, 4), range(4, 8), range(8, 9)):
        shares = [Ranks(rank, count).share_of(numbers) for rank in range(count)]
        assert sorted(k for share in shares for k in share) == list(numbers)
        assert all(k % count == rank for rank, share in enumerate(shares) for k in share)


@dataclass(frozen=True)
class Recorded(Ranks):
    """A rank that keeps its own sums instead of adding them to those of others."""

    def from_first(self, value: Any, tensors: Mapping[str, Tensor]) -> tuple[Any, dict]:
        return value, dict(tensors)

    def sum_gradients(self, parameters: Sequence[Tensor], losses: Sequence[float]) -> list[float]:
        sums = [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in parameters]
        RECORD.append(sums)
        for parameter in parameters:  # the weights stay as they are: every step can be compared
            parameter.grad = torch.zeros_like(parameter)
        return [0.0, *losses]


RECORD: list[list[Tensor]] = []


def step_sums(place: Ranks) -> list[list[Tensor]]:
    """The gradient sums of one rank for three steps of two, two and one tasks."""
    squares = np.random.default_rng(0).integers(0, 256, (40, SIDE, SIDE, 3), dtype=np.uint8)
    source = Source("made", (*"abcd",), tuple(tuple(range(c, c + 10)) for c in range(0, 40, 10)))
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = FewShotModel(backbone.build(NETWORK, "none", SIDE), "cosine")
    config = TrainConfig(
        image_size=SIDE,
        lite_h=3,
        episodes=EpisodeConfig(way_min=2, way_max=3, support_max=8, query=2),
        tasks=5,
        tasks_per_step=2,
    )
    stage = EpisodicStage(model, config, squares.__getitem__, [source], False, place)
    RECORD.clear()
    assert len(list(stage.steps(0))) == 3
    return list(RECORD)


@pytest.mark.parametrize("count", [2, 3])
def test_the_shares_of_all_ranks_add_up_to_the_steps_of_one(count: int) -> None:
    whole = step_sums(Recorded())
    shares = [step_sums(Recorded(rank, count)) for rank in range(count)]
    for step, sums in enumerate(whole):
        for place, total in enumerate(sums):
            added = torch.stack([share[step][place] for share in shares]).sum(0)
            torch.testing.assert_close(added, total, rtol=1e-4, atol=1e-6)
    assert any(not any(p.any() for p in share[-1]) for share in shares)  # a rank without a task


def test_one_process_sums_nothing() -> None:
    parameter, unused = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    parameter.grad = torch.tensor([1.0, 2.0])
    assert ranks.ALONE.sum_gradients([parameter, unused], [0.5]) == [0.5]
    assert parameter.grad.tolist() == [1.0, 2.0] and unused.grad is None
    assert ranks.ALONE.exchange("word") == ["word"]
    with pytest.raises(KeyError), ranks.ALONE.telling():
        raise KeyError


def test_gradients_are_added_where_any_rank_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    here = torch.zeros(2, 3, 2, 2).contiguous(memory_format=torch.channels_last).requires_grad_()
    there, nowhere = (torch.zeros(3, requires_grad=True) for _ in range(2))
    own = torch.arange(24.0).view(2, 3, 2, 2)
    here.grad = own.contiguous(memory_format=torch.channels_last)

    def add_others(flat: Tensor, group: object) -> None:
        flat += torch.cat([torch.full((24,), 0.5), torch.tensor([7.0, 8.0, 9.0])])

    monkeypatch.setattr(ranks.dist, "all_reduce", add_others)
    monkeypatch.setattr(Ranks, "exchange", lambda self, mine: [mine, ([4.0], [True, True, False])])
    losses = Ranks(0, 2).sum_gradients([here, there, nowhere], [1.0, 2.0])
    assert losses == [1.0, 2.0, 4.0] and nowhere.grad is None
    assert here.grad is not None and torch.equal(here.grad, own + 0.5)
    assert here.grad.stride() == here.stride()
    assert there.grad is not None and there.grad.tolist() == [7.0, 8.0, 9.0]


# Many processes


def noting(body: str) -> str:
    """Setup code that runs `body` after a rank's last step."""
    return f"""
steps = episodic.EpisodicStage.steps
def noted(self, first):
    yield from steps(self, first)
    {body}
episodic.EpisodicStage.steps = noted
"""


@posix
def test_three_ranks_take_the_same_steps_as_one(
    config: TrainConfig, alone: TrainConfig, launch: Launch, tmp_path: Path
) -> None:
    body = f"""
    state = {{name: value.numpy() for name, value in self.model.state_dict().items()}}
    state["threads"] = numpy.array(torch.get_num_threads())
    storage.write_tensors(Path({str(tmp_path)!r}) / f"{{rank}}.weights", state, {{}})
"""
    threads = "\ndel os.environ['OMP_NUM_THREADS']; torch.set_num_threads(3)\n"
    ended = launch(config, 3, setup=noting(body.strip()) + threads)
    assert ended.codes == [0, 0, 0]
    assert "5 steps, 3 x cpu, fp32" in ended.err[0] and ended.err[0].count("Steps 4/5") == 1
    assert "The model is in" in ended.out[0]
    assert ended.out[1:] == ended.err[1:] == ["", ""]
    assert_same_run(config, alone)
    weights = [storage.read_tensors(tmp_path / f"{rank}.weights")[0] for rank in range(3)]
    assert weights[0]["threads"] == 1
    for name, value in weights[0].items():
        assert all(other[name].tobytes() == value.tobytes() for other in weights[1:]), name


@posix
def test_ctrl_c_saves_once_and_any_number_of_ranks_goes_on(
    config: TrainConfig, alone: TrainConfig, launch: Launch, tmp_path: Path
) -> None:
    ended = launch(config, 2, setup=FAULT.format(k=4, what="os.killpg(0, signal.SIGINT)"))
    assert ended.codes == [130, 0]
    assert ended.err[0].count("--resume") == ended.err[0].count("Stopped.") == 1
    assert ended.out[1] == ended.err[1] == ""
    progress = state_of(config)[1]
    assert (progress["stage"], progress["step"]) == (1, 2)
    other = replace(config, out=str(tmp_path / "other"))
    shutil.copytree(config.out, other.out)
    assert launch(config, 3, "--resume").codes == [0, 0, 0]
    assert_same_run(config, alone)
    list(meta_train(other, resume=True))
    assert_same_run(other, alone)


SPOIL = """loss = task_step(self, k, scale)
        next(p for p in self.model.parameters() if p.grad is not None).grad.fill_(math.inf)
        return loss"""


@posix
@pytest.mark.parametrize(
    ("k", "what", "codes", "said"),
    [
        (5, "return math.nan", [6, 0], "not a number at step 3 of the episodes"),
        (5, SPOIL, [6, 0], "not a number at step 3 of the episodes"),
        (5, "raise torch.OutOfMemoryError('17 TiB')", [6, 0], "Out of memory; the state is saved."),
        (5, "raise TypeError('odd')", [1, 0], "Process 1 failed (TypeError: odd)"),
        (5, "os.kill(os.getpid(), signal.SIGKILL)", [6, -9], "Another process of this run has"),
        (4, "os.kill(os.getpid(), signal.SIGTERM)", [130, 0], "Stopped."),
    ],
)
def test_what_ends_one_rank_ends_the_run_with_one_message_and_the_state_saved(
    k: int, what: str, codes: list[int], said: str, config: TrainConfig, launch: Launch
) -> None:
    ended = launch(config, 2, setup=FAULT.format(k=k, what=what))
    assert ended.codes == codes
    assert ended.err[0].count(said) == 1 and "Finished" not in ended.out[0]
    assert ended.out[1] == ended.err[1] == ""
    tensors, progress = state_of(config)
    assert (progress["stage"], progress["step"]) == (1, 2)
    assert all(np.isfinite(value).all() for value in tensors.values())


@posix
@pytest.mark.parametrize(
    ("setup", "code", "said"),
    [
        ("training.prepared_data = None", 1, "bug in litecli"),  # on rank 0 first
        ("if rank: training.shared_data = None", 1, "Process 1 failed (TypeError"),
        (
            "if rank: training.RunFolder = lambda out: run_folder.RunFolder(out / 'elsewhere')",
            6,
            "Process 1 does not see the run folder",
        ),
    ],
)
def test_a_start_that_fails_on_one_rank_fails_once_and_can_be_tried_again(
    setup: str, code: int, said: str, config: TrainConfig, launch: Launch
) -> None:
    ended = launch(config, 2, setup=setup)
    assert ended.codes == [code, 0]
    assert ended.err[0].count(said) == 1 and ended.out[1] == ended.err[1] == ""
    assert not (Path(config.out) / "recipe.toml").exists()


@posix
def test_the_others_wait_for_the_first_as_long_as_it_takes(
    config: TrainConfig, launch: Launch
) -> None:
    """Not as long as processes wait for each other at the start, which is minutes."""
    slow = """
seconds, validate = [3], loop.validate
def validate_late(*arguments):
    time.sleep(seconds.pop() if seconds else 0)
    return validate(*arguments)
loop.validate = validate_late
torchrun.WAITING = timedelta(seconds=2)
"""
    ended = launch(config, 2, setup=slow)
    assert ended.codes == [6, 0] and "Another process" in ended.err[0]
    assert torchrun.WAITING.days >= 7


@pytest.mark.parametrize(
    "environ",
    [
        {"RANK": "2", "WORLD_SIZE": "2"},
        {"RANK": "1"},
        {"RANK": "-1", "WORLD_SIZE": "2"},
        {"RANK": "0", "WORLD_SIZE": "many"},
        {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "1"},
        {"RANK": "0", "WORLD_SIZE": "0"},
    ],
)
def test_variables_that_make_no_sense_are_refused(environ: dict[str, str]) -> None:
    with pytest.raises(LiteError, match="describe no place") as caught, torchrun.joined(environ):
        pass
    assert caught.value.code == ExitCode.USAGE


def test_one_process_joins_nobody() -> None:
    for environ in ({}, {"RANK": "0", "WORLD_SIZE": "1"}):
        with torchrun.joined(environ) as found:
            assert found is ranks.ALONE


def test_a_run_without_an_address_or_without_its_others_is_refused(
    monkeypatch: pytest.MonkeyPatch, config: TrainConfig, launch: Launch
) -> None:
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    environ = {"RANK": "0", "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    with (
        pytest.raises(LiteError, match="did not come together") as caught,
        torchrun.joined(environ),
    ):
        pass
    assert caught.value.code == ExitCode.MACHINE and "MASTER_ADDR" in caught.value.why
    ended = launch(config, 2, setup="torchrun.JOINING = timedelta(seconds=1)", started=1)
    assert ended.codes == [6] and "2 processes of this run did not come" in ended.err[0]


def test_a_gpu_for_each_process_of_a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[int] = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    cuda = torch.device("cuda")
    assert Ranks(3, 4, local_rank=1).device(cuda) == torch.device("cuda", 1) and chosen == [1]
    assert Ranks(3, 4, 1).device(torch.device("cpu")).type == "cpu"
    assert Ranks().device(cuda) == cuda
    with pytest.raises(LiteError, match="no GPU of its own") as caught:
        Ranks(2, 4, 2).device(cuda)
    assert caught.value.code == ExitCode.MACHINE and "--nproc-per-node 2" in caught.value.fix


def test_torchrun_starts_it(config: TrainConfig, alone: TrainConfig, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(to_toml(config), encoding="utf-8")
    command = "-m torch.distributed.run --standalone --nproc-per-node 2 -m litecli meta-train"
    done = subprocess.run(
        [sys.executable, *command.split(), "--config", str(recipe)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("The model is in") == 1 and "2 x cpu" in done.stderr
    assert_same_run(config, alone)
    assert open_model(Path(config.out) / "model").config.architecture == NETWORK
