"""Meta-training: a whole small run, what it leaves, and what it refuses."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from litecli.cli.train_config import read_toml
from litecli.config import EpisodeConfig, PretrainConfig, TrainConfig
from litecli.errors import ExitCode, LiteError
from litecli.library.model_files import open_model
from litecli.networks import backbone
from litecli.networks.encoder import Encoder
from litecli.networks.model import FewShotModel
from litecli.training import episodic, run_setup, supervised, supervised_batches
from litecli.training.episodic import EpisodicStage
from litecli.training.events import Finished, Preparing, Started, Stepped, Validated
from litecli.training.run_folder import RunFolder, to_toml
from litecli.training.training import meta_train

from .small_runs import (
    NETWORK,
    SIDE,
    STEPS,
    events_of,
    state_of,
    stop_after,
)


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
    # Not at step 0 of the episodes, where the weights are those of supervised step 3.
    assert [(e.stage, e.step) for e in checks] == [
        *(("supervised", step) for step in (0, 2, 3)),
        *(("episodes", step) for step in (2, 3)),
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
    assert "3 tasks; validation overlaps training in 4 classes (bowl), validation" in card
    assert "not trained on" not in card
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
    run = meta_train(config)
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
    run = meta_train(good)
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
        original = supervised.SupervisedStage.loss

        def loss(self: supervised.SupervisedStage, batch: supervised_batches.Batch) -> Tensor:
            calls.append(1)
            return original(self, batch) * (1 if len(calls) < 2 else float("nan"))

        patch.setattr(supervised.SupervisedStage, "loss", loss)
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


def test_a_network_of_one_image_size_needs_a_supervised_stage_of_that(config: TrainConfig) -> None:
    vit = "vit_tiny_patch16_224"
    sizes = PretrainConfig(images=24, image_size=48)
    with pytest.raises(LiteError, match=f"{vit} takes no images of 48 px") as caught:
        events_of(replace(config, backbone=vit, pretrain=sizes))
    assert caught.value.code == ExitCode.USAGE
    assert f"image_size = {SIDE} below [pretrain]" in caught.value.fix
    fixed = replace(config, backbone=vit, pretrain=replace(sizes, image_size=SIDE))
    run_setup.check_learnable(fixed, backbone.build(vit, "none", SIDE).network)
    growing = replace(fixed, pretrain=replace(fixed.pretrain, last_image_size=48))
    with pytest.raises(LiteError, match="48 px"):
        run_setup.check_learnable(growing, backbone.build(vit, "none", SIDE).network)
