"""What a resumed run takes up again: with which settings, of which photos, with which best."""

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from litecli import storage
from litecli.config import EpisodeConfig, PretrainConfig, TrainConfig
from litecli.errors import ExitCode, LiteError
from litecli.training.events import Finished, Stepped
from litecli.training.run_folder import RunFolder

from .small_runs import STEPS, events_of, state_of, stop_after


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


@pytest.mark.parametrize("section", ["imitation", "nuisance"])
def test_a_section_that_is_newer_than_the_run_was_at_its_default(
    section: str, stopped: TrainConfig
) -> None:
    path = Path(stopped.out) / "last" / "state.safetensors"
    tensors, metadata = storage.read_tensors(path)
    known = json.loads(metadata["config"])
    del known[section]
    storage.write_tensors(path, tensors, {**metadata, "config": json.dumps(known)})
    assert isinstance(events_of(stopped, resume=True)[-1], Finished)


def test_a_supervised_stage_that_is_over_is_not_made_longer(
    config: TrainConfig, quick: None
) -> None:
    """The recipe would say so of a run that never took the steps."""
    stop_after(config, 8)
    longer = replace(config, pretrain=replace(config.pretrain, images=40))
    with pytest.raises(LiteError, match=r"other settings: pretrain\.images"):
        events_of(longer, resume=True)
    assert isinstance(events_of(config, resume=True)[-1], Finished)


@pytest.mark.parametrize("change", ["a class more", "a photo less", "of those validated on"])
def test_a_run_does_not_go_on_with_other_photos(change: str, stopped: TrainConfig) -> None:
    """Their numbers mean other photos now, and other classes would be held out."""
    before, folder = state_of(stopped), Path(stopped.data[0])
    if change == "a class more":
        shutil.copytree(folder / "mug", folder / "purse")
    else:
        folder = folder if change == "a photo less" else Path(stopped.val)
        next((folder / "mug").iterdir()).unlink()
    said = "photos/purse had 0, now it has 6" if "class" in change else "/mug had 6, now it has 5"
    with pytest.raises(LiteError, match=said) as caught:
        events_of(stopped, resume=True)
    assert caught.value.code == ExitCode.USAGE and "--weights" in caught.value.fix
    assert set(state_of(stopped)) == set(before)


def test_a_state_that_does_not_tell_its_photos_is_resumed(stopped: TrainConfig) -> None:
    """Those of before they did."""
    path = Path(stopped.out) / "last" / "state.safetensors"
    tensors, metadata = storage.read_tensors(path)
    assert json.loads(metadata.pop("photos"))["photos/mug"] == 6
    storage.write_tensors(path, tensors, metadata)
    assert isinstance(events_of(stopped, resume=True)[-1], Finished)


def test_the_state_before_the_last_knows_the_best_of_all(tmp_path: Path) -> None:
    """model/ holds it, and a worse one is not to take its place."""
    config = TrainConfig(out=str(tmp_path))
    folder = RunFolder(tmp_path)
    progress = {"stage": 0, "step": 2, "best": 0.5, "seconds": 1.0, "expected_memory": 0}
    metadata = {"progress": json.dumps(progress), "config": json.dumps(asdict(config))}
    storage.write_tensors(tmp_path / "prev" / "state.safetensors", {}, metadata)
    rows = "episodes,1,,0.4,0.1,\nepisodes,2,,0.9,0.1,\nepisodes,3,,0.95,0.1,\n"
    header = "stage,step,loss,val_accuracy,val_ci95,seconds\n"
    (tmp_path / "metrics.csv").write_text(header + rows)
    assert folder.load(config)[0].best == 0.9  # step 3 is taken again
