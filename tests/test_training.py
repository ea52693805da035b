"""Meta-training: a whole small run, and that stopping it anywhere changes no bit of its end."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from litecli import (
    augment,
    backbone,
    best_model,
    episodic,
    run_setup,
    stages,
    storage,
    supervised,
    training,
    training_data,
)
from litecli.atlas import Atlas
from litecli.cli.train_config import read_toml
from litecli.config import EpisodeConfig, PretrainConfig, TrainConfig
from litecli.encoder import Encoder
from litecli.episodes import Episode, Source, sample_episode
from litecli.episodic import EpisodicStage
from litecli.errors import ExitCode, LiteError
from litecli.events import Event, Finished, Preparing, Started, Stepped, Validated
from litecli.model import FewShotModel
from litecli.model_library import Model, open_model
from litecli.pixels import PixelStore
from litecli.run_folder import RunFolder, to_toml
from litecli.teacher import LiveTeacher
from litecli.training import meta_train
from litecli.training_data import TrainingData, open_data

from .small_models import write_network

NETWORK, SIDE = "test_byobnet", 32
STEPS = 6  # three supervised ones, three of episodes


@pytest.fixture
def photos(write_objects: Callable[..., Path]) -> tuple[str, str]:
    """A training folder and a validation folder, four classes each."""
    counts = dict.fromkeys(("keys", "mug", "bowl", "wallet"), 6)
    return str(write_objects(counts, "photos")), str(write_objects(counts, "checking"))


@pytest.fixture
def config(photos: tuple[str, str], tiny_model: Model, tmp_path: Path) -> TrainConfig:
    """A run of two stages, with a teacher, that takes a second."""
    return TrainConfig(
        data=(photos[0],),
        val=photos[1],
        out=str(tmp_path / "run"),
        backbone=NETWORK,
        weights="none",
        image_size=SIDE,
        lite_h=3,
        chunk=4,
        episodes=EpisodeConfig(way_min=2, way_max=3, support_max=8, query=2),
        query_batch=4,
        tasks=6,
        tasks_per_step=2,
        warmup=1,
        val_every=2,
        val_tasks=3,
        workers=2,
        precision="fp32",
        device="cpu",
        pretrain=PretrainConfig(
            images=24, batch=8, image_size=SIDE, teacher=(str(tiny_model.folder),)
        ),
    )


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No curves, and the best model as plain tensors: exporting its graph takes seconds."""
    monkeypatch.setattr(best_model, "write_model", write_tensors)
    monkeypatch.setattr(RunFolder, "draw_curves", lambda self: None)


def write_tensors(model: FewShotModel, config: object, folder: Path, texts: object) -> None:
    state = {name: value.numpy() for name, value in model.state_dict().items()}
    storage.write_tensors(folder / "best.safetensors", state, {})


def events_of(config: TrainConfig, resume: bool = False) -> list[Event]:
    return list(meta_train(config, resume))


def stop_after(config: TrainConfig, count: int, resume: bool = False) -> list[Event]:
    """The first `count` events that are no preparing; then the generator is closed."""
    run = cast(Any, meta_train(config, resume))
    seen: list[Event] = []
    for event in run:
        if not isinstance(event, Preparing):
            seen.append(event)
        if len(seen) == count:
            run.close()
    return seen


def state_of(config: TrainConfig, name: str = "last") -> dict[str, np.ndarray]:
    return storage.read_tensors(Path(config.out) / name / "state.safetensors")[0]


def outcome(config: TrainConfig) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], list]:
    """All that must not depend on interruptions: last weights, best weights, metrics but time."""
    with (Path(config.out) / "metrics.csv").open(newline="") as file:
        rows = [{**row, "seconds": ""} for row in csv.DictReader(file)]
    best = storage.read_tensors(Path(config.out) / "model" / "best.safetensors")[0]
    return state_of(config), best, rows


def assert_same_outcome(config: TrainConfig, expected: tuple) -> None:
    for found, wanted in zip(outcome(config)[:2], expected[:2], strict=True):
        assert set(found) == set(wanted)
        different = [n for n in found if found[n].tobytes() != wanted[n].tobytes()]
        assert not different
    assert outcome(config)[2] == expected[2]


def test_a_run_leaves_a_model_and_its_history(config: TrainConfig) -> None:
    events = events_of(config)
    started = next(e for e in events if isinstance(e, Started))
    steps = [e for e in events if isinstance(e, Stepped)]
    checks = [e for e in events if isinstance(e, Validated)]
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert [e.step for e in steps] == list(range(1, STEPS + 1))
    assert [e.stage for e in steps] == ["supervised"] * 3 + ["episodes"] * 3
    assert all(np.isfinite(e.loss) and e.loss > 0 and e.num_steps == STEPS for e in steps)
    assert [(e.stage, e.step) for e in checks] == [
        (stage, step) for stage in ("supervised", "episodes") for step in (0, 2, 3)
    ]
    assert finished.accuracy == max(e.accuracy for e in checks)
    assert started.warnings == (
        "validation overlaps training in 4 classes (bowl): its accuracy will flatter",
        "validation overlaps training in 24 photos (bowl/IMG_0.jpg): its accuracy will flatter",
    )
    assert "photos (4 classes, 24 images)" in started.data

    out = Path(config.out)
    assert {path.name for path in out.iterdir()} == {
        *("recipe.toml", "metrics.csv", "curves.png", "log.txt", "last", "prev", "model", "cache"),
        ".lock",
    }
    assert read_toml(out / "recipe.toml", TrainConfig()) == config
    with Image.open(out / "curves.png") as curves:
        assert curves.width > 500
    with (out / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["loss"]) for row in rows if row["loss"]] == [e.loss for e in steps]
    assert [float(r["val_accuracy"]) for r in rows if r["val_accuracy"]] == [
        e.accuracy for e in checks
    ]
    *warned, rest = (out / "log.txt").read_text().split("\n", len(started.warnings))
    assert warned == [f"warning: {warning}" for warning in started.warnings]
    checked = rest.splitlines()
    told = [line.partition(":")[0] for line in checked[: len(checks)]]
    assert told == [f"{e.stage} {e.step}" for e in checks]

    model = open_model(out / "model")
    assert (model.config.architecture, model.config.head) == (NETWORK, "auto")
    assert model.config.preprocess.image_size == SIDE
    assert read_toml(model.folder / "recipe.toml", TrainConfig()) == config
    card = (model.folder / "README.md").read_text()
    assert f"{100 * finished.accuracy:.1f}" in card and "photos (4 classes" in card
    features = Encoder(model.folder).encode(np.zeros((1, 3, SIDE, SIDE), np.float32))
    assert np.isfinite(features).all()


def test_a_model_of_maml_keeps_its_steps(config: TrainConfig) -> None:
    pretrain = replace(config.pretrain, images=0)
    config = replace(config, learner="maml", inner_steps=2, inner_lr=0.25, pretrain=pretrain)
    events_of(replace(config, backbone="test_convnext", tasks=1, tasks_per_step=1, val_tasks=1))
    described = open_model(Path(config.out) / "model").config
    assert (described.learner, described.inner_steps, described.inner_lr) == ("maml", 2, 0.25)


def test_any_config_can_be_read_back_from_its_recipe(tmp_path: Path) -> None:
    odd = TrainConfig(
        data=('a "quoted" folder', "naïve\\näme\tx"),
        lr=3e-7,
        stratified=True,
        augment=False,
        clip=0.0,
        episodes=EpisodeConfig(way_max=7),
        pretrain=PretrainConfig(teacher=("big", "small"), lr=1e-5),
    )
    for config in (odd, TrainConfig()):
        (tmp_path / "recipe.toml").write_text(to_toml(config), encoding="utf-8")
        assert read_toml(tmp_path / "recipe.toml", replace(odd, seed=9)) == config


def test_a_run_that_is_stopped_after_every_event_ends_the_same(
    config: TrainConfig, quick: None, tmp_path: Path
) -> None:
    whole = replace(config, out=str(tmp_path / "whole"))
    events_of(whole)
    expected = outcome(whole)
    assert len(expected[2]) == STEPS + 6
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
        ("litecli.training.validate", 3),
        ("litecli.best_model.write_model", 1),
    ],
)
def test_ctrl_c_in_the_middle_of_a_step_leaves_a_state_that_goes_on(
    place: str, call: int, config: TrainConfig, quick: None, tmp_path: Path
) -> None:
    whole = replace(config, out=str(tmp_path / "whole"))
    events_of(whole)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "SAVE_EVERY", -1.0)
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
from litecli import best_model, storage, training
from litecli.cli.train_config import read_toml
from litecli.config import TrainConfig

def write_tensors(model, config, folder, texts):
    state = {name: value.numpy() for name, value in model.state_dict().items()}
    storage.write_tensors(folder / "best.safetensors", state, {})

best_model.write_model = write_tensors
training.RunFolder.draw_curves = lambda self: None
training.SAVE_EVERY = -1.0  # a state after every step
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


@pytest.fixture
def stopped(config: TrainConfig, quick: None) -> TrainConfig:
    """A run that was stopped after its fourth step, with the state before that in prev/."""
    stop_after(config, 4)
    stop_after(config, 3, resume=True)
    return config


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"lr": 0.5}, "lr"),
        ({"seed": 3}, "seed"),
        ({"gradient": "exact"}, "gradient"),
        ({"episodes": EpisodeConfig(way_max=4)}, "episodes.way_min"),
        ({"pretrain": PretrainConfig(images=24)}, "pretrain.batch"),
        ({"data": ("elsewhere",)}, "data"),
    ],
)
def test_a_run_does_not_go_on_with_other_settings(
    change: dict[str, Any], name: str, stopped: TrainConfig
) -> None:
    before = state_of(stopped)
    with pytest.raises(LiteError, match=f"other settings: {name}") as caught:
        events_of(replace(stopped, **change), resume=True)
    assert caught.value.code == ExitCode.USAGE and name in caught.value.why
    assert set(state_of(stopped)) == set(before)


def test_a_run_goes_on_with_other_settings_that_do_not_matter(stopped: TrainConfig) -> None:
    events = events_of(replace(stopped, workers=1, chunk=3, tasks=8), resume=True)
    assert [e.step for e in events if isinstance(e, Stepped)][-1] == STEPS + 1


def test_both_stages_can_be_made_longer_but_none_can_come_or_go(
    config: TrainConfig, quick: None
) -> None:
    stop_after(config, 3)  # after the first supervised step
    longer = replace(config, pretrain=replace(config.pretrain, images=40), tasks=8)
    steps = [event for event in events_of(longer, resume=True) if isinstance(event, Stepped)]
    assert steps[-1].step == steps[-1].num_steps == 9 and steps[0].step == 2
    assert [step.stage for step in steps][-5:] == ["supervised"] + ["episodes"] * 4
    gone = replace(config, pretrain=replace(config.pretrain, images=0))
    with pytest.raises(LiteError, match=r"other settings: pretrain\.images"):
        events_of(gone, resume=True)


def test_a_setting_that_is_newer_than_the_run_was_at_its_default(stopped: TrainConfig) -> None:
    path = Path(stopped.out) / "last" / "state.safetensors"
    tensors, metadata = storage.read_tensors(path)
    known = json.loads(metadata["config"])
    del known["clip"], known["pretrain"]["balance"]
    storage.write_tensors(path, tensors, {**metadata, "config": json.dumps(known)})
    with pytest.raises(LiteError, match="other settings: clip"):
        events_of(replace(stopped, clip=3.0), resume=True)
    assert isinstance(events_of(stopped, resume=True)[-1], Finished)


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


def test_a_folder_in_use_is_refused_and_left_alone(config: TrainConfig) -> None:
    out = Path(config.out)
    out.mkdir()
    (out / "thesis.txt").write_text("precious")
    with pytest.raises(LiteError, match="not empty") as caught:
        events_of(config)
    assert caught.value.code == ExitCode.USAGE and "--resume" in caught.value.fix
    assert [path.name for path in out.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("resume", [False, True])
def test_two_runs_never_share_a_folder(config: TrainConfig, quick: None, resume: bool) -> None:
    """Both would go on from one state, and write over each other's."""
    if resume:
        events_of(config)
    else:
        Path(config.out).mkdir()
    folder = RunFolder(Path(config.out))
    with folder.held(), pytest.raises(LiteError, match="Another litecli is training") as caught:
        events_of(config, resume=resume)
    assert caught.value.code == ExitCode.MACHINE
    assert isinstance(events_of(config, resume=resume)[-1], Finished)


def test_a_start_that_failed_can_be_tried_again(config: TrainConfig, quick: None) -> None:
    with pytest.raises(LiteError, match="No folder"):
        events_of(replace(config, data=(config.data[0] + " typo",)))
    run = cast(Any, meta_train(config))
    assert isinstance(next(run), Preparing)
    run.close()
    assert isinstance(events_of(config)[-1], Finished)


def broken_loss(self: FewShotModel, kind: str, summed: Tensor) -> Tensor:
    if kind == "loss":
        return summed * float("nan")
    if summed.requires_grad:
        summed.register_hook(lambda gradient: gradient * float("inf"))
    return summed


@pytest.mark.parametrize("kind", ["loss", "gradient"])
def test_a_loss_that_is_not_a_number_stops_the_run_at_its_last_good_state(
    kind: str, config: TrainConfig, quick: None, tmp_path: Path
) -> None:
    good = replace(config, out=str(tmp_path / "good"))
    run = cast(Any, meta_train(good))
    for event in run:
        if isinstance(event, Stepped) and event.step == 4:
            run.close()
    original, calls = EpisodicStage.task_step, []

    def task_step(self: EpisodicStage, k: int, scale: float) -> float:
        calls.append(k)
        with pytest.MonkeyPatch.context() as patch:
            if len(calls) == 3:  # the first task of the second step of episodes
                plain = FewShotModel.summed_loss
                patch.setattr(
                    FewShotModel, "summed_loss", lambda s, *a: broken_loss(s, kind, plain(s, *a))
                )
            return original(self, k, scale)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EpisodicStage, "task_step", task_step)
        with pytest.raises(LiteError, match="not a number at step 2 of the episodes") as caught:
            events_of(config)
    assert caught.value.code == ExitCode.MACHINE and "--lr" in caught.value.fix
    found, expected = state_of(config), state_of(good)
    assert all(np.isfinite(value).all() for value in found.values())
    assert all(np.array_equal(found[name], expected[name]) for name in expected)
    assert (Path(config.out) / "model" / "best.safetensors").exists()


def test_a_supervised_loss_that_is_not_a_number_leaves_no_trace(
    config: TrainConfig, quick: None, tmp_path: Path
) -> None:
    one = replace(config, out=str(tmp_path / "one"))
    stop_after(one, 3)
    with pytest.MonkeyPatch.context() as patch:
        calls: list[int] = []
        original = supervised.SupervisedStage._loss

        def loss(self: supervised.SupervisedStage, batch: supervised.Batch) -> Tensor:
            calls.append(1)
            return original(self, batch) * (1 if len(calls) < 2 else float("nan"))

        patch.setattr(supervised.SupervisedStage, "_loss", loss)
        with pytest.raises(LiteError, match="step 2 of the supervised"):
            events_of(config)
    found, expected = state_of(config), state_of(one)
    assert all(np.array_equal(found[name], expected[name]) for name in expected)


def test_no_memory_names_smaller_settings_and_keeps_the_state(
    config: TrainConfig, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object, **options: object) -> float:
        raise torch.OutOfMemoryError("17 TiB")

    monkeypatch.setattr(episodic.lite, "task_backward", full)
    with pytest.raises(LiteError, match="Out of memory") as caught:
        events_of(config)
    assert caught.value.code == ExitCode.MACHINE
    assert "--chunk 2 --query-batch 2 --resume" in caught.value.fix
    assert any(name.startswith("model.") for name in state_of(config))


def test_random_batch_norm_networks_need_a_supervised_stage(config: TrainConfig) -> None:
    with pytest.raises(LiteError, match="does not learn from episodes alone") as caught:
        events_of(replace(config, pretrain=PretrainConfig()))
    assert caught.value.code == ExitCode.USAGE and "--pretrain-images" in caught.value.fix
    assert not Path(config.out).exists()
    free = replace(config, backbone="test_convnext", pretrain=PretrainConfig())
    run_setup.check_learnable(free, backbone.build("test_convnext", "none", SIDE).network)
    batch_norm = backbone.build(NETWORK, "none", SIDE).network
    run_setup.check_learnable(replace(free, weights="auto"), batch_norm)


# The data of a run


def opened(config: TrainConfig) -> TrainingData:
    *_, data = open_data(config, Path(config.out) / "cache")
    assert isinstance(data, TrainingData)
    return data


def save_folder(root: Path, classes: list[str], photos: int, shade: int = 0) -> Path:
    for number, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for index in range(photos):
            colour = (10 * number, 10 * index, shade)
            Image.new("RGB", (16, 16), colour).save(root / name / f"{index}.png")
    return root


def test_train_and_validation_folders_may_share_their_name(
    config: TrainConfig, tmp_path: Path
) -> None:
    train = save_folder(tmp_path / "train" / "birds", ["robin", "tit"], 3)
    val = save_folder(tmp_path / "val" / "birds", ["wren", "crow", "tit"], 3, shade=200)
    data = opened(replace(config, data=(str(train),), val=str(val)))
    assert [source.classes for source in data.training] == [("robin", "tit")]
    assert [source.classes for source in data.validation] == [("crow", "tit", "wren")]
    assert any("overlaps training in 1 classes (tit)" in warning for warning in data.warnings)
    numbers = [n for pool in data.validation[0].support for n in pool]
    assert all(data.squares(n)[0, 0, 2] > 150 for n in numbers)
    with pytest.raises(LiteError, match="--strict-split") as caught:
        opened(replace(config, data=(str(train),), val=str(val), strict_split=True))
    assert caught.value.code == ExitCode.USAGE


def test_photos_that_are_in_both_folders_are_counted(config: TrainConfig, tmp_path: Path) -> None:
    train = save_folder(tmp_path / "train", ["robin", "tit"], 3)
    val = save_folder(tmp_path / "val", ["wren", "crow"], 3, shade=200)
    for number in (1, 2):
        shutil.copy(train / "tit" / f"{number}.png", val / "wren" / f"copy_{number}.png")
    settings = replace(config, data=(str(train),), val=str(val))
    says = "validation overlaps training in 2 photos (wren/copy_1.png)"
    assert f"{says}: its accuracy will flatter" in opened(settings).warnings
    with pytest.raises(LiteError, match=re.escape(says)):
        opened(replace(settings, strict_split=True))


@pytest.mark.parametrize("size, left", [(2, 4), (9, 9), (99, 25)])
def test_a_small_task_keeps_its_classes(size: int, left: int) -> None:
    labels = np.repeat(np.arange(4), (1, 3, 16, 5))
    whole = Episode("things", 100 + np.arange(25), labels, np.arange(4), np.arange(4))
    small = episodic.small_task(whole, size, torch.Generator().manual_seed(3))
    assert len(small.support) == len(set(small.support.tolist())) == left
    assert set(small.support_labels.tolist()) == {0, 1, 2, 3}
    assert (labels[small.support - 100] == small.support_labels).all()
    assert small.query is whole.query


def test_validation_users_of_orbit_are_not_trained_on(config: TrainConfig, tmp_path: Path) -> None:
    for root, user in (("train", "P1"), ("validation", "P2")):
        for thing in (f"keys of {user}", f"mug of {user}"):
            for part in ("clean", "clutter"):
                folder = tmp_path / root / user / thing / part
                save_folder(folder, ["video"], 2, shade=sum(map(ord, str(folder))) % 250)
    data = opened(
        replace(config, data=(str(tmp_path / "train"),), val=str(tmp_path / "validation"))
    )
    assert [source.name for source in data.training] == ["P1"]
    assert [source.name for source in data.validation] == ["P2"]
    assert not any("overlaps" in warning for warning in data.warnings)


def test_classes_are_held_out_where_no_validation_folder_is_given(
    config: TrainConfig, tmp_path: Path
) -> None:
    root = save_folder(tmp_path / "many", [f"class {n:02}" for n in range(16)], 3)
    (root / "class 00" / "0.png").write_bytes(b"broken")
    data = opened(replace(config, data=(str(root),), val=""))
    (training_part,), (validation_part,) = data.training, data.validation
    assert (len(training_part.classes), len(validation_part.classes)) == (11, 5)
    assert not set(training_part.classes) & set(validation_part.classes)
    assert "1 files could not be read as photos and are left out" in data.warnings


def test_data_that_cannot_be_used_is_refused(
    config: TrainConfig, photos: tuple[str, str], tmp_path: Path
) -> None:
    with pytest.raises(LiteError, match="4 usable classes are too few") as caught:
        opened(replace(config, val=""))
    assert caught.value.code == ExitCode.INPUT and "--val" in caught.value.fix
    with pytest.raises(LiteError, match="needs DATA") as caught:
        opened(replace(config, data=()))
    assert caught.value.code == ExitCode.USAGE


def test_without_data_drawn_objects_are_the_classes(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_data, "DRAWN_CLASSES", 15)
    monkeypatch.setattr(training_data, "DRAWN_VIEWS", 3)
    data = opened(replace(config, data=(), val=""))
    assert (len(data.training[0].classes), len(data.validation[0].classes)) == (10, 5)
    assert data.squares(44).shape == (SIDE, SIDE, 3)
    assert not np.array_equal(data.squares(43), data.squares(44))


# One step


def test_supervised_batches_are_pure_and_go_through_every_photo_in_new_views(
    config: TrainConfig,
) -> None:
    data = opened(config)
    model = FewShotModel(backbone.build(NETWORK, "none", SIDE), "cosine")
    stage = supervised.SupervisedStage(model, config, data.squares, data.training, None, False)
    batches = [stage.batch(k) for k in range(6)]  # two epochs of 24 photos
    for k in (5, 0, 3):
        for found, expected in zip(stage.batch(k), batches[k], strict=True):
            assert torch.equal(found, expected)
    for epoch in (batches[:3], batches[3:]):
        counts = torch.bincount(torch.cat([batch.labels for batch in epoch]))
        assert counts.tolist() == [6, 6, 6, 6]
    # One photo alone: the same in each epoch but for its view.
    one = [Source("one", ("a",), ((7,),))]
    alone = supervised.SupervisedStage(model, config, data.squares, one, None, False)
    views = torch.cat([alone.batch(k).pixels[:1] for k in range(3)])
    assert not torch.equal(views[0], views[1]) and not torch.equal(views[1], views[2])


def taught_stage(config: TrainConfig, model: FewShotModel, folder: Path, **changes: Any) -> Any:
    """A supervised stage with a live teacher, and the data it learns from."""
    settings = {"teacher_views": 0, "teacher": ("t",), "label_smoothing": 0.0, **changes}
    config = replace(config, pretrain=replace(config.pretrain, **settings))
    data, network = opened(config), write_network(folder)
    with_maps = config.pretrain.map_weight > 0
    taught = LiveTeacher([network], torch.device("cpu"), False, with_maps)
    squares, sources = data.squares, data.training
    return supervised.SupervisedStage(model, config, squares, sources, taught, False)


def test_composites_are_imitated_but_never_classified(config: TrainConfig, tmp_path: Path) -> None:
    model = FewShotModel(backbone.build(NETWORK, "none", SIDE), "cosine")
    losses = {}
    for mix in (0.0, 0.5, 1.0):
        stage = taught_stage(config, model, tmp_path / str(mix), mix=mix)
        labels = torch.cat([stage.batch(k).labels for k in range(3)])
        share = float((labels == supervised.NO_LABEL).float().mean())
        assert share == mix if mix in (0, 1) else 0.2 < share < 0.8
        batch = stage.batch(0)
        model.network.eval().requires_grad_(False)
        stage.extra.requires_grad_(False)
        nothing = batch._replace(labels=torch.full_like(batch.labels, supervised.NO_LABEL))
        losses[mix] = float(stage._loss(batch) - stage._loss(nothing))
        kept = batch.labels != supervised.NO_LABEL
        inputs = augment.standardised(stage._lit(batch), model.backbone.preprocess)
        logits = stage.extra["classifier"](model.network(inputs))
        if mix < 1:  # the mean over those that have a label
            expected = torch.nn.functional.cross_entropy(logits[kept], batch.labels[kept])
            assert losses[mix] == pytest.approx(float(expected), rel=1e-4)
    assert losses[1.0] == 0 < losses[0.0]


def test_a_student_sees_what_its_live_teacher_sees(config: TrainConfig, tmp_path: Path) -> None:
    """A student that is its teacher, with maps that are the right ones, has nothing to learn."""
    network = write_network(tmp_path / "same")
    built = backbone.from_model(network.folder, network.config)
    model = FewShotModel(built, "cosine")
    stage = taught_stage(config, model, tmp_path / "again", mix=0.7, map_weight=3.0)
    layers = {"projector": 0, "map0": 1, "map1": 2}
    batch = stage.batch(0)
    before = stage._loss(batch).item()
    with torch.no_grad():
        for name, n in layers.items():
            mean, std = stage.teacher._means[n].float(), stage.teacher._stds[n].float()
            layer = stage.extra[name]
            layer.weight.copy_(torch.diag(1 / std).view(layer.weight.shape))
            layer.bias.copy_(-mean / std)
        labels = torch.full_like(batch.labels, supervised.NO_LABEL)
        alike = float(stage._loss(batch._replace(labels=labels)))
        mirrored = batch._replace(labels=labels, pixels=batch.pixels.flip(-1))
        assert float(stage._loss(mirrored)) == pytest.approx(0, abs=1e-3)  # both see it mirrored
    assert alike == pytest.approx(0, abs=1e-3) and before > 1


def test_crops_of_large_images_may_be_a_small_part_of_them() -> None:
    shares = supervised.smallest_crops(np.array([0, 30, 64, 80, 400]))
    np.testing.assert_allclose(shares, [0.4, 0.4, (40 / 64) ** 2, 0.25, 0.12])


def test_an_atlas_makes_the_pictures_that_threads_would(config: TrainConfig) -> None:
    data = opened(config)
    model = FewShotModel(backbone.build(NETWORK, "none", SIDE), "cosine")
    sources, taught = data.training, None
    atlas = Atlas(data.store, torch.device("cpu"))
    stages = [
        supervised.SupervisedStage(model, config, data.squares, sources, taught, False, made)
        for made in (None, atlas)
    ]
    slow, fast = (stage.batch(1) for stage in stages)
    assert torch.equal(slow.labels, fast.labels) and torch.equal(slow.lights, fast.lights)
    assert (slow.pixels.float() - fast.pixels).abs().mean() < 10
    assert torch.isfinite(stages[1]._loss(fast))


def test_images_grow_in_the_last_half_of_the_supervised_stage(config: TrainConfig) -> None:
    growing = PretrainConfig(image_size=96, last_image_size=170).image_sizes
    assert growing == [96, 128, 160, 170]
    sizes = [supervised.image_size(growing, k, 12) for k in range(12)]
    assert sizes == [96] * 7 + [128] * 2 + [160] * 2 + [170]
    assert supervised.image_size([96], 11, 12) == 96
    pretrain = replace(config.pretrain, image_size=32, last_image_size=48)
    config = replace(config, pretrain=pretrain)
    data = opened(config)
    model = FewShotModel(backbone.build(NETWORK, "none", SIDE), "cosine")
    stage = supervised.SupervisedStage(model, config, data.squares, data.training, None, False)
    assert stage.batch(0).pixels.shape[-2:] == (32, 32)
    assert stage.batch(stage.num_steps - 1).pixels.shape[-2:] == (48, 48)


def test_balance_brings_small_collections_as_often_as_large_ones(config: TrainConfig) -> None:
    large = Source("large", ("a", "b"), (tuple(range(45)), tuple(range(45, 90))))
    small = Source("small", ("c",), (tuple(range(90, 100)),))
    assert supervised.image_shares([large, small], 0.0) is None
    for balance, share in ((1.0, 0.5), (0.5, 0.25)):  # sizes 90 and 10: their roots are 3 : 1
        shares = supervised.image_shares([large, small], balance)
        assert shares is not None and len(shares) == 100
        np.testing.assert_allclose([shares.sum(), shares[90:].sum()], [1, share])
    config = replace(config, pretrain=replace(config.pretrain, balance=1.0, images=800, batch=8))
    data, model = opened(config), FewShotModel(backbone.build(NETWORK, "none", SIDE), "cosine")
    few, many = (Source("few", ("a",), ((3,),)), Source("many", ("b",), (tuple(range(4, 23)),)))
    stage = supervised.SupervisedStage(model, config, data.squares, [few, many], None, False)
    labels = torch.cat([stage.batch(k).labels for k in range(100)])
    assert 0.4 < float((labels == 0).float().mean()) < 0.6  # one image of twenty


def stage_of(head: str, gradient: str, chunk: int = 40, **changes: Any) -> EpisodicStage:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (40, 4, 4, 3), dtype=np.uint8)
    squares = np.kron(coarse, np.ones((1, 9, 9, 1), np.uint8))
    pools = tuple(tuple(range(10 * c, 10 * c + 10)) for c in range(4))
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = FewShotModel(backbone.build(NETWORK, "none", SIDE), head)
    config = TrainConfig(
        head=head,
        gradient=gradient,
        image_size=SIDE,
        lite_h=4,
        chunk=chunk,
        query_batch=chunk,
        episodes=EpisodeConfig(way_min=3, way_max=4, support_max=20, query=4),
        tasks=4,
        tasks_per_step=2,
        warmup=0,
        **changes,
    )
    return EpisodicStage(
        model, config, squares.__getitem__, [Source("made", (*"abcd",), pools)], False
    )


def gradients(stage: EpisodicStage) -> dict[str, Tensor]:
    stage.model.zero_grad(set_to_none=True)
    stage.task_step(3, scale=1.0)
    return {n: p.grad.clone() for n, p in stage.model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("head", ["cosine", "euclidean", "ridge"])
def test_every_parameter_learns(head: str) -> None:
    stage = stage_of(head, "lite")
    before = {n: p.detach().clone() for n, p in stage.model.named_parameters()}
    assert "log_scale" in before
    losses = list(stage.steps(0))
    assert len(losses) == 2 and np.isfinite(losses).all()
    still = [n for n, p in stage.model.named_parameters() if torch.equal(p, before[n])]
    assert still == []
    assert not stage.model.network.training


@pytest.mark.parametrize("augment", [True, False])
@pytest.mark.parametrize("head", ["cosine", "ridge"])
def test_exact_gradients_in_chunks_are_ordinary_back_propagation(head: str, augment: bool) -> None:
    full = gradients(stage_of(head, "full", augment=augment))
    for chunk in (40, 3):
        exact = gradients(stage_of(head, "exact", chunk, augment=augment))
        assert set(exact) == set(full)
        for name in full:
            scale = float(full[name].abs().max())
            torch.testing.assert_close(exact[name], full[name], rtol=1e-3, atol=1e-4 * scale + 1e-9)
    lite = gradients(stage_of(head, "lite", augment=augment))
    assert any(not torch.allclose(lite[n], full[n], rtol=1e-2) for n in full)


def test_an_episode_has_its_own_views_and_they_stay_the_same_in_both_passes() -> None:
    for augmented in (True, False):
        stage = stage_of("cosine", "lite", augment=augmented)
        episode = sample_episode(stage.sources, stage.config.episodes, 0, 3)
        images = stage.task(episode, 3).support_images
        chosen = torch.tensor([2, 0])
        assert torch.equal(images[chosen], images[torch.arange(3)][chosen])
        another = stage.task(episode, 4).support_images
        assert torch.equal(images[chosen], another[chosen]) != augmented


def test_statistics_and_random_numbers_stay_as_they_are_in_episodes() -> None:
    stage = stage_of("cosine", "lite")
    buffers = {n: b.clone() for n, b in stage.model.named_buffers()}
    torch.manual_seed(0)
    drawn = torch.random.get_rng_state()
    list(stage.steps(0))
    assert torch.equal(torch.random.get_rng_state(), drawn)
    assert all(torch.equal(buffers[n], b) for n, b in stage.model.named_buffers())


def test_the_schedule_warms_up_and_ends_near_zero() -> None:
    rates = [stages.schedule(step, 100, 10) for step in range(100)]
    assert rates[:10] == pytest.approx([0.1 * n for n in range(1, 11)])
    assert all(a >= b for a, b in pairwise(rates[10:]))
    assert rates[10] == 1.0 and rates[55] == pytest.approx(0.5) and 0 < rates[-1] < 0.001


def test_a_moment_lies_in_memory_as_its_parameter() -> None:
    """A restored optimiser takes the same fast path, with the same rounding, as one that ran on."""
    stage = stage_of("cosine", "lite")
    stage.model.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    next(stage.steps(0))
    saved = {n: t.clone().contiguous() for n, t in stages.state_tensors(stage, stage.model).items()}
    fresh = stage_of("cosine", "lite")
    fresh.model.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    stages.restore(fresh, fresh.model, saved)
    for parameter, slots in fresh.optimizer.state.items():
        assert slots["exp_avg"].stride() == parameter.stride()
    assert len(fresh.optimizer.state) == len(list(fresh.model.parameters()))


def test_a_store_is_read_as_the_stages_read_it(config: TrainConfig) -> None:
    data = opened(config)
    assert isinstance(data.store, PixelStore) and data.store.usable.all()
    numbers, labels = supervised.labelled_images(data.training)
    assert np.bincount(labels).tolist() == [6, 6, 6, 6] and len(set(numbers.tolist())) == 24


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
