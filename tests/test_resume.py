"""A run that is stopped anywhere and goes on ends with the same bits."""

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from litecli.config import TrainConfig
from litecli.errors import ExitCode, LiteError
from litecli.training import best_model, loop
from litecli.training.events import Finished, Started, Stepped, Validated
from litecli.training.run_folder import RunFolder, to_toml

from .small_models import write_network
from .small_runs import (
    STEPS,
    assert_same_outcome,
    events_of,
    outcome,
    state_of,
    stop_after,
    write_tensors,
)


def test_a_run_that_is_stopped_after_every_event_ends_the_same(
    config: TrainConfig, quick: None, tmp_path: Path
) -> None:
    whole = replace(config, out=str(tmp_path / "whole"))
    events_of(whole)
    expected = outcome(whole)
    assert len(expected[2]) == STEPS + 5
    seen = stop_after(config, 2)
    for _ in range(40):
        if isinstance(seen[-1], Finished):
            break
        seen = stop_after(config, 2, resume=True)  # Started, and one event more
        assert isinstance(seen[0], Started)
    else:
        raise AssertionError("the run never ended")
    assert_same_outcome(config, expected)


@pytest.mark.parametrize(("cut", "live"), [(1, False), (3, True), (6, False), (11, True)])
def test_a_run_that_is_stopped_once_ends_the_same(
    cut: int, live: bool, config: TrainConfig, quick: None, tmp_path: Path
) -> None:
    if live:
        network = write_network(tmp_path / "network")
        pretrain = replace(
            config.pretrain,
            teacher=(str(network.folder),),
            teacher_views=0,
            mix=0.5,
            map_weight=2.0,
        )
        config = replace(config, pretrain=pretrain)
    whole = replace(config, out=str(tmp_path / "whole"))
    events_of(whole)
    stop_after(config, cut)
    rest = events_of(config, resume=True)
    assert_same_outcome(config, outcome(whole))
    again = events_of(config, resume=True)  # nothing is left to do
    assert not any(isinstance(event, Stepped | Validated) for event in again)
    assert isinstance(rest[-1], Finished) and isinstance(again[-1], Finished)
    assert rest[-1].accuracy == again[-1].accuracy
    assert_same_outcome(config, outcome(whole))


@pytest.mark.parametrize(
    ("place", "call"),
    [
        ("torch.nn.functional.cross_entropy", 2),  # in a supervised step
        ("torch.optim.AdamW.step", 2),
        ("torch.nn.utils.clip_grad_norm_", 5),  # in a step of episodes
        ("litecli.training.loop.validate", 3),
        ("litecli.training.best_model.write_model", 1),
    ],
)
def test_ctrl_c_in_the_middle_of_a_step_leaves_a_state_that_goes_on(
    place: str, call: int, config: TrainConfig, quick: None, tmp_path: Path
) -> None:
    whole = replace(config, out=str(tmp_path / "whole"))
    events_of(whole)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "SAVE_EVERY", -1.0)
        interrupt(patch, place, call)
        with pytest.raises(KeyboardInterrupt):
            events_of(config)
    events_of(config, resume=True)
    assert_same_outcome(config, outcome(whole))


def interrupt(patch: pytest.MonkeyPatch, place: str, call: int) -> None:
    """Raise KeyboardInterrupt at the end of that call of that function."""
    owner_path, _, name = place.rpartition(".")
    owner: Any = sys.modules.get(owner_path) or getattr(
        sys.modules[owner_path.rpartition(".")[0]], owner_path.rpartition(".")[2]
    )
    original = getattr(owner, name)
    calls = []

    def counted(*args: Any, **options: Any) -> Any:
        result = original(*args, **options)
        calls.append(1)
        if len(calls) == call:
            raise KeyboardInterrupt
        return result

    patch.setattr(owner, name, counted)


KILLED = """
import os, signal, sys
from pathlib import Path
from litecli import storage
from litecli.training import best_model, loop, training
from litecli.cli.train_config import read_toml
from litecli.config import TrainConfig

def write_tensors(model, config, folder, texts):
    state = {name: value.numpy() for name, value in model.state_dict().items()}
    storage.write_tensors(folder / "best.safetensors", state, {})

best_model.write_model = write_tensors
training.RunFolder.draw_curves = lambda self: None
loop.SAVE_EVERY = -1.0  # a state after every step
rename, saves = Path.rename, []

def killing(self, target):
    if self.name == "next":  # last/ has become prev/, and there is no new last/ yet
        saves.append(target)
        if len(saves) == 6:
            os.kill(os.getpid(), signal.SIGKILL)
    return rename(self, target)

Path.rename = killing
for event in training.meta_train(read_toml(Path(sys.argv[1]), TrainConfig())):
    pass
"""


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_a_kill_in_the_middle_of_saving_loses_one_step(
    config: TrainConfig, quick: None, tmp_path: Path
) -> None:
    (tmp_path / "recipe.toml").write_text(to_toml(config), encoding="utf-8")
    command = [sys.executable, "-c", KILLED, str(tmp_path / "recipe.toml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == -signal.SIGKILL, done.stderr
    out = Path(config.out)
    assert (out / "prev").is_dir() and not (out / "last").exists()
    rest = events_of(config, resume=True)
    started = next(event for event in rest if isinstance(event, Started))
    assert started.step == 4
    whole = replace(config, out=str(tmp_path / "whole"))
    events_of(whole)
    assert_same_outcome(config, outcome(whole))


def test_one_seed_gives_one_result(config: TrainConfig, quick: None, tmp_path: Path) -> None:
    short = replace(config, tasks=2, pretrain=replace(config.pretrain, images=8, teacher=()))
    states = []
    for number, seed in enumerate((0, 0, 1)):
        run = replace(short, out=str(tmp_path / f"{number}"), seed=seed)
        events_of(run)
        states.append(state_of(run))
    assert all(np.array_equal(states[0][n], states[1][n]) for n in states[0])
    assert not all(np.array_equal(states[0][n], states[2][n]) for n in states[0])


@pytest.mark.parametrize("content", [b"\x10" * 500, None])
def test_a_damaged_state_falls_back_on_the_one_before(
    content: bytes | None, stopped: TrainConfig, tmp_path: Path
) -> None:
    path = Path(stopped.out) / "last" / "state.safetensors"
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) // 2] if content is None else content)
    events_of(stopped, resume=True)
    whole = replace(stopped, out=str(tmp_path / "whole"))
    events_of(whole)
    assert_same_outcome(stopped, outcome(whole))


def test_without_any_state_there_is_nothing_to_resume(stopped: TrainConfig) -> None:
    for name in ("last", "prev"):
        (Path(stopped.out) / name / "state.safetensors").write_bytes(b"")
    for out in (stopped.out, stopped.out + " never was"):
        with pytest.raises(LiteError, match="no state to resume") as caught:
            events_of(replace(stopped, out=out), resume=True)
        assert caught.value.code == ExitCode.MISSING


def test_a_run_folder_without_metrics_can_still_be_resumed(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(best_model, "write_model", write_tensors)
    stop_after(config, 7)
    (Path(config.out) / "metrics.csv").unlink()
    shutil.rmtree(Path(config.out) / "prev")
    assert isinstance(events_of(config, resume=True)[-1], Finished)
    assert RunFolder(Path(config.out)).load(config)[0].step == 3
    assert (Path(config.out) / "curves.png").exists()
