"""Many processes of one run: the same steps with any number of them, and one voice at its end."""

import csv
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from litecli import storage
from litecli.config import ImitationConfig, NuisanceConfig, PretrainConfig, TrainConfig
from litecli.errors import ExitCode, LiteError
from litecli.library.model_files import open_model
from litecli.training import torchrun
from litecli.training.run_folder import to_toml
from litecli.training.training import meta_train

from .small_models import write_network
from .small_ranks import Launch, launch, launcher
from .small_runs import NETWORK, SIDE, SMALL_RUN

__all__ = ("launch", "launcher")  # fixtures

posix = pytest.mark.skipif(os.name != "posix", reason="ranks are forked")

# Something that happens in task k.
FAULT = """
task_step = episodic.EpisodicStage.task_step
def faulty(self, k, scale):
    if k == {k}:
        {what}
    return task_step(self, k, scale)
episodic.EpisodicStage.task_step = faulty
"""


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
def test_ranks_that_imitate_take_the_same_steps_as_one(
    config: TrainConfig, quick: None, launch: Launch, tmp_path: Path
) -> None:
    teacher = write_network(tmp_path / "teacher").folder
    shape = ImitationConfig((str(teacher),), support=6, query=3, mix=0.5)
    changes = {"projection": True, "nuisance": NuisanceConfig(photos=40), "imitation": shape}
    alone = replace(config, out=str(tmp_path / "alone"), **changes)
    list(meta_train(alone))
    shared = replace(alone, out=str(tmp_path / "shared"))
    assert launch(shared, 2).codes == [0, 0]
    assert_same_run(shared, alone)


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
