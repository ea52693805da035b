"""What the card of a run's best model says of its validation."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from litecli.config import TrainConfig
from litecli.library.model_files import open_model
from litecli.networks.model_folder import described_head, load_model
from litecli.training import run_setup
from litecli.training.best_model import checks, write_best

from .small_runs import opened


def test_the_card_counts_the_tasks_that_were_solved() -> None:
    told = checks(20, [0.5] * 10 + [0.7] * 10, ())
    assert told.startswith("Validation accuracy 60.0 ± 4.")
    assert told.endswith("(20-way 5-shot, 20 tasks on classes not trained on)")
    assert "1 task on" in checks(20, [0.5], ())


@pytest.mark.parametrize("shared", [("overlaps in 4 classes",), ("4 classes", "2 photos (a/b)")])
def test_the_card_of_an_overlapping_validation_says_so(shared: tuple[str, ...]) -> None:
    told = checks(4, [0.9, 0.8], shared)
    assert told.endswith(f"(4-way 5-shot, 2 tasks; {', '.join(shared)})")
    assert "not trained on" not in told


@pytest.mark.parametrize(("learner", "head"), [("protonets", "mahalanobis"), ("ridge", "ridge")])
def test_a_model_remembers_the_head_that_was_trained(
    config: TrainConfig, tmp_path: Path, learner: str, head: str
) -> None:
    """`adapt` may choose another one, but its gradients are those of this one."""
    config = replace(config, learner=learner, head="mahalanobis", out=str(tmp_path / "run"))
    data = opened(config)
    model = run_setup.initial_model(config, torch.device("cpu"), offline=True)
    write_best(model, config, tmp_path / "model", data, "step 1", 5, [0.5])
    written = open_model(tmp_path / "model")
    assert described_head(written.config) == model.head == head
    assert load_model(written.folder, written.config).head == head
