"""`litecli meta-train`: how a run is shown, stopped and tried dry, and what it refuses."""

import json
from pathlib import Path

import pytest

from litecli.config import TrainConfig
from litecli.training import events

from .typed_meta_train import run, trained

__all__ = ("run", "trained")  # fixtures


def test_a_memory_is_foreseen_and_told(trained, monkeypatch: pytest.MonkeyPatch) -> None:
    from litecli.training import training

    def quick(config: TrainConfig, resume: bool = False, offline: bool = False):
        yield events.Started("photos", "cpu", "fp32", 0, 2, (), 12, 10, 1_900_000_000)
        yield events.Finished("o/model", 0.912, 75.0, 2_000_000_000, 1_900_000_000)

    monkeypatch.setattr(training, "meta_train", quick)
    _, _, err = trained("photos", "--memory", "2GB")
    assert "  chunk 12, query batch 10: 1.9 GB of memory expected" in err.splitlines()
    assert "Memory: 2.0 GB at the peak, 1.9 GB foreseen" in err.splitlines()
    code, _, err = trained("photos", "--memory", "2")
    assert code == 2 and "--memory 8GB" in err


def test_a_run_is_shown(trained) -> None:
    code, out, err = trained("photos", "--out", "o")
    assert code == 0
    assert out == "Validation accuracy 91.2 %, after 75 s.\nThe model is in o/model\n"
    assert err.splitlines() == [
        "Photos 10/10",
        "Training on drawn objects",
        "  2 steps, cpu, fp32",
        "  FiLM on 7 of 7",
        "Warning: val overlaps train",
        "Steps 1/2, episodes, loss 1.500",
        "Validation tasks 1/2",
        "Validation tasks 2/2",
        "Validation (episodes, step 2): 91.2 ± 1.1 %, 20-way, the best so far",
        "Next: litecli models add o/model",
    ]


def test_a_run_as_json_lines(trained) -> None:
    code, out, _ = trained("photos", "--out", "o", "--json", "-q")
    told = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and {t["schema"] for t in told} == {"litecli.meta-train/1"}
    kinds = [t["event"] for t in told]
    shown = ["preparing", "started", "stepped", "validating", "validating", "validated", "finished"]
    assert kinds == shown
    assert told[-1]["model"] == "o/model" and told[-1]["accuracy"] == 0.912


def test_a_long_run_says_so(trained) -> None:

    steps = [events.Stepped("episodes", k, 100, 1.5, 7200.0) for k in (2, 3)]
    trained.more = steps
    assert "This will take about 194 h 0 min.\nCtrl-C saves" in trained("photos")[2]


@pytest.mark.parametrize("while_showing", [False, True])
def test_ctrl_c_saves_and_prints_the_line_that_resumes(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, while_showing: bool
) -> None:
    from litecli.training import training

    closed = []

    def stopped(config: TrainConfig, resume: bool = False, offline: bool = False):
        try:
            yield events.Preparing("photos", 1, 10)
            raise KeyboardInterrupt
        finally:
            closed.append(True)
            (tmp_path / config.out / "last").mkdir(parents=True)

    def show(*_: object) -> None:
        if while_showing:
            raise KeyboardInterrupt

    monkeypatch.setattr("litecli.cli.train_progress._Shown.show", show)
    monkeypatch.setattr(training, "meta_train", stopped)
    code, _, err = run("photos", "--out", "runs/my run")
    assert code == 130 and closed == [True]
    assert "litecli meta-train --config 'runs/my run/recipe.toml' --resume" in err


def test_engine_errors_keep_their_code(run) -> None:
    small = ("--backbone", "mobilenetv3_small_050", "--weights", "none", "--image-size", "32")
    code, _, err = run("nowhere", *small, "--pretrain-images", "5", "--out", "p")
    assert code == 2 and "No folder nowhere" in err
    code, _, err = run("nowhere", *small, "--out", "q")
    assert code == 2 and "--pretrain-images" in err


@pytest.mark.parametrize("out", [(), ("--out", "photos/run")])
@pytest.mark.parametrize("also", [(), ("--dry-run",)])
def test_a_run_does_not_lie_among_its_photos(
    run, write_objects, tmp_path: Path, monkeypatch, out: tuple[str, ...], also: tuple[str, ...]
) -> None:
    """The second `meta-train .` would take runs/ for a class."""
    folder = write_objects({"keys": 2, "mug": 2}, "photos")
    if not out:
        monkeypatch.chdir(folder)
    code, _, err = run("photos" if out else ".", *out, *also, "--weights", "none")
    assert code == 2 and "among the photos" in err and f"--out {tmp_path}/runs/" in err
    assert sorted(path.name for path in folder.iterdir()) == ["keys", "mug"]


def test_dry_run_counts_and_writes_nothing(run, write_objects, tmp_path: Path) -> None:
    write_objects({"keys": 6, "mug": 6, "bowl": 6}, "photos")
    write_objects({"keys": 2, "mug": 2}, "others")
    small = ("--backbone", "mobilenetv3_small_050", "--weights", "none", "--image-size", "32")
    small += ("--pretrain-images", "100", "--val", "others", "--way", "2-50")
    flags = ("photos", *small, "--lite-h", "4", "--chunk", "2", "--query-batch", "2", "--dry-run")
    code, out, _ = run(*flags)
    assert code == 0 and "18 photos of 3 classes in photos" in out
    assert "lite, 4 of 18 photos go back" in out and "at most 3 classes, not 50" in out
    assert not Path("runs").exists()
    lite = json.loads(run(*flags, "--json")[1])
    full = json.loads(run(*flags, "--json", "--gradient", "full")[1])
    assert lite["memory"] < lite["memory_full"] == full["memory"] == full["memory_full"]
    assert lite["config"]["lite_h"] == 4
    assert "Fits" not in out and lite["peak"] == 0
    code, out, _ = run(*flags, "--memory", "90GB")
    assert code == 0 and "Fits      --memory 90GB with --chunk 2 and --query-batch 2: " in out
