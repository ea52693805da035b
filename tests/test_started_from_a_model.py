"""Runs that begin from the network of a litecli model: what it is called, how it looks."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from litecli.cli.meta_train import resolve
from litecli.config import PretrainConfig, TrainConfig
from litecli.errors import ExitCode, LiteError
from litecli.library.model_files import Model, open_model
from litecli.training import run_setup
from litecli.training.best_model import write_best

from .small_runs import opened
from .twice_looking import made, model

__all__ = ("made", "model")  # fixtures


@pytest.mark.parametrize(
    ("learner", "film", "looks"), [("protonets", "auto", 2), ("protonets", "on", 1)]
)
def test_with_film_a_network_that_looked_often_looks_once(
    learner: str, film: str, looks: int, config: TrainConfig, made: Path, tmp_path: Path
) -> None:
    """The set encoder's passes are for one look; else nothing could open the model."""
    config = replace(
        config, weights=str(made), learner=learner, film=film, pretrain=PretrainConfig()
    )
    trained = run_setup.initial_model(config, torch.device("cpu"), offline=True)
    write_best(trained, config, tmp_path / "model", opened(config), "step 1", 5, [0.5])
    seen = open_model(tmp_path / "model").config.preprocess
    assert (len(seen.look_shares), seen.support_looks > 0) == (looks, looks > 1)


def test_a_card_names_the_network_that_was_trained(
    config: TrainConfig, made: Path, tmp_path: Path
) -> None:
    config = replace(config, weights=str(made), backbone="another", pretrain=PretrainConfig())
    trained = run_setup.initial_model(config, torch.device("cpu"), offline=True)
    write_best(trained, config, tmp_path / "model", opened(config), "step 1", 5, [0.5])
    assert "protonets on test_byobnet, " in (tmp_path / "model" / "README.md").read_text()


def test_the_weights_of_a_folder_say_which_network_it_is(model: Model, tmp_path: Path) -> None:
    weights = {"data": ("photos",), "weights": str(model.folder)}
    found = resolve(weights, None)
    assert (found.backbone, found.out) == ("test_byobnet", "runs/protonets-test_byobnet")
    assert resolve({**weights, "backbone": "test_byobnet.r160_in1k"}, None) == found
    with pytest.raises(LiteError, match="is test_byobnet, not resnet18") as caught:
        resolve({**weights, "backbone": "resnet18"}, None)
    assert caught.value.code == ExitCode.USAGE
    timms = tmp_path / "timms"
    timms.mkdir()
    (timms / "config.json").write_text(json.dumps({"architecture": "resnet10t"}))
    assert resolve({**weights, "weights": str(timms)}, None).backbone == "resnet10t"
    (timms / "config.json").write_text("[")  # which the engine will say
    assert resolve({**weights, "weights": str(timms)}, None).backbone == TrainConfig().backbone
