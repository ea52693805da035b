"""litecli.cli.train_config: what meta-train accepts, and what it says to the rest."""

import math
import sys
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

import litecli
from litecli.cli.train_config import EXAMPLE, parse_span, read_toml, with_values
from litecli.cli.train_ranges import RANGES, check
from litecli.config import TrainConfig
from litecli.errors import ExitCode, LiteError

from .typed_meta_train import run

__all__ = ("run",)  # a fixture


def test_the_recipe_of_a_run_can_be_read_back(tmp_path: Path) -> None:
    from litecli.training.run_folder import to_toml

    config = with_values(
        TrainConfig(),
        {"data": ('a "b"', "c"), "out": "o", "lr": 3e-4, "episodes.way_max": 7, "augment": False},
    )
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(to_toml(config), encoding="utf-8")
    assert read_toml(recipe, EXAMPLE) == config


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tasks = 5\nlite_hh = 16\n", ["my.toml:2", "lite_hh", "Did you mean lite_h?"]),
        ("[episodes]\nwaymax = 3\n", ["my.toml:2", "episodes.waymax", "episodes.way_max"]),
        ("tasks = 5\nlr = = 3\n", ["my.toml:2:6"]),
        ('tasks = "many"\n', ["my.toml:1", "tasks must be a whole number, not 'many'"]),
        ("tasks = 1.5\n", ["tasks must be a whole number"]),
        ("augment = 1\n", ["augment must be true or false"]),
        ("lr = true\n", ["lr must be a number"]),
        ("backbone = 3\n", ["backbone must be a text in quotes"]),
        ("data = [1]\n", ["data must be a list of texts"]),
        ("episodes = 3\n", ["episodes must be a table"]),
        ("[pretrain]\nmap_weight = 2.0\n", ["map_weight needs a teacher", "teacher_views = 0"]),
        (
            "[pretrain]\nmix = 0.5\nteacher_views = 0\n",
            ["mix needs a teacher", "teacher_views = 0"],
        ),
        ('[pretrain]\nmix = 0.5\nteacher = "m"\n', ["mix needs a teacher", "teacher_views = 0"]),
        ("[imitation]\nmix = 0.5\n", ["need a teacher to answer them", "in [imitation]"]),
        (
            'learner = "maml"\n[imitation]\nteacher = "m"\n',
            ["have no labels", "--learner protonets"],
        ),
        ("tasks = 0\n", ["--tasks 0 is out of range: 1 or more"]),
    ],
)
def test_row_62_bad_files(run, text: str, words: list[str]) -> None:
    Path("my.toml").write_text(text)
    code, _, err = run("--config", "my.toml")
    assert code == 2 and err.startswith("Error: ")
    assert all(word in err for word in words), err


def test_no_such_file(run) -> None:
    code, _, err = run("--config", "my.toml")
    assert code == 2 and "Cannot read --config my.toml" in err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--way 0", "--way 0 is out of range: from 2 to 1000"),
        ("--way 5-3", "--way 5-3 runs backwards"),
        ("--way many", "--way many is not a number or a range"),
        ("--way 5-5000", "--way 5000 is out of range"),
        ("--support 0", "--support 0 is out of range"),
        ("--support 9-3", "--support 9-3 runs backwards"),
        ("--lr -1", "--lr -1 is out of range: above 0"),
        ("--lr 0", "--lr 0 is out of range"),
        ("--lr nan", "--lr nan is no number"),
        ("--clip nan", "--clip nan is no number"),
        ("--lite-h 0", "--lite-h 0 is out of range: 1 or more"),
        ("--image-size 7", "--image-size 7 is out of range: from 32 to 1024"),
        ("--tasks 0", "--tasks 0 is out of range"),
        ("--chunk -1", "--chunk -1 is out of range"),
        ("--workers 0", "--workers 0 is neither auto nor 1 or more"),
        ("--learner protonet", "Did you mean protonets?"),
        ("--gradient lit", "Did you mean lite?"),
        ("--precision fp16", "--precision takes auto, fp32, bf16"),
        ("--head x", "--head takes cosine, euclidean, ridge"),
        ("--tasks many", "--tasks"),
        (f"--way {'1' * 5000}", "is not a number or a range"),
        (f"--workers {'1' * 5000}", "is neither auto nor 1 or more"),
    ],
)
def test_row_59_ranges_are_checked_before_anything_loads(run, monkeypatch, flags, words) -> None:
    monkeypatch.delattr(litecli, "training", raising=False)
    monkeypatch.setitem(sys.modules, "litecli.training.training", None)  # not importable
    code, out, err = run(*flags.split())
    assert (code, out) == (2, "") and words in err and err.startswith("Error: ")


def test_a_single_number_is_the_way_and_the_most_support() -> None:
    assert parse_span("5-50", "--way") == (5, 50)
    assert parse_span("20", "--way") == (20, 20)
    assert parse_span("500", "--support", single_is_most=True) == (None, 500)


def test_more_gradient_photos_than_support_is_fine() -> None:
    config = with_values(TrainConfig(), {"lite_h": 1000})
    assert check(config) is config


@pytest.mark.parametrize("config", [TrainConfig(), EXAMPLE])
def test_the_defaults_are_in_range(config: TrainConfig) -> None:
    assert check(config) is config


def numbers(config: Any, prefix: str = "") -> Iterator[str]:
    """The names of all numbers of a config and of its inner configs."""
    for field in fields(config):
        value = getattr(config, field.name)
        if is_dataclass(value):
            yield from numbers(value, f"{prefix}{field.name}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield prefix + field.name


def test_every_number_has_a_range() -> None:
    assert set(numbers(TrainConfig())) == set(RANGES)


@pytest.mark.parametrize("name", RANGES)
@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0])
def test_no_number_takes_everything(name: str, value: float) -> None:
    with pytest.raises(LiteError, match="is out of range: ") as caught:
        check(with_values(TrainConfig(), {name: value}))
    assert caught.value.code == ExitCode.USAGE


@pytest.mark.parametrize(
    "line, words",
    [
        ("val_share = 5", "val_share 5 is out of range: from 0 to 0.5"),
        ("smallest_crop = 3", "smallest_crop 3 is out of range: from 0 to 1"),
        ("smallest_crop = nan", "smallest_crop nan is out of range: from 0 to 1"),
        ("pretrain.batch = 0", "pretrain.batch 0 is out of range: from 2 to 100000"),
        ("pretrain.batch = -4", "pretrain.batch -4 is out of range: from 2 to 100000"),
        ("pretrain.lr = -1", "pretrain.lr -1 is out of range: above 0, at most 10"),
        ("pretrain.lr = 0", "pretrain.lr 0 is out of range: above 0, at most 10"),
        ("pretrain.lr = nan", "pretrain.lr nan is out of range: above 0, at most 10"),
        ("pretrain.weight_decay = -0.1", "pretrain.weight_decay -0.1 is out of range: from 0"),
        ("pretrain.label_smoothing = 3", "pretrain.label_smoothing 3 is out of range: from 0 to 1"),
        ("pretrain.teacher_weight = inf", "pretrain.teacher_weight inf is out of range: from 0"),
        ("pretrain.map_weight = nan", "pretrain.map_weight nan is out of range: from 0 to 1000"),
        ("pretrain.mix = 1.5", "pretrain.mix 1.5 is out of range: from 0 to 1"),
        ("pretrain.balance = -1", "pretrain.balance -1 is out of range: from 0 to 1"),
        ("imitation.support = 0", "imitation.support 0 is out of range: from 1 to 100000"),
        ("imitation.query = 0", "imitation.query 0 is out of range: from 1 to 100000"),
        ("imitation.power = 0", "imitation.power 0 is out of range: above 0, at most 100"),
        ("imitation.mix = nan", "imitation.mix nan is out of range: from 0 to 1"),
    ],
)
def test_bad_numbers_of_a_file_are_refused(run, line: str, words: str) -> None:
    Path("my.toml").write_text(f"{line}\n")
    code, _, err = run("--config", "my.toml")
    assert code == ExitCode.USAGE and words in err and err.startswith("Error: "), err
    assert "Traceback" not in err and "bug" not in err


@pytest.mark.parametrize("arguments", [("caf\udce9",), ("cards", "--out", "r\udcff")])
def test_a_name_that_no_recipe_can_hold_is_refused(run, arguments: tuple[str, ...]) -> None:
    code, _, err = run(*arguments, "--dry-run")
    assert code == ExitCode.USAGE and "is not UTF-8" in err and "bug" not in err


@pytest.mark.parametrize(
    "text",
    [
        f"lr = 1{'0' * 400}",
        f"tasks = {'9' * 5000}",
        f"data = {'[' * 5000}",
        'out = "a\\u0000b"',
    ],
)
def test_a_file_beyond_all_measure_is_refused(run, text: str) -> None:
    Path("my.toml").write_text(f"{text}\n")
    code, _, err = run("--config", "my.toml", "--dry-run")
    assert code == ExitCode.USAGE and err.startswith("Error: ") and "bug" not in err, err


def test_a_recipe_holds_every_letter_of_a_name(tmp_path: Path) -> None:
    from litecli.training.run_folder import to_toml

    config = with_values(TrainConfig(), {"data": ('a\x7fb\n"c\\u007f',)})
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(to_toml(config), encoding="utf-8")
    assert read_toml(recipe, EXAMPLE) == config


def test_maml_whose_network_may_not_learn_is_refused(run) -> None:
    code, _, err = run("--learner", "maml", "--backbone-lr", "0", "--dry-run")
    assert code == ExitCode.USAGE and "learns nothing" in err
