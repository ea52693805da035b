"""`litecli meta-train`: settings from flags and from files, and which of them win."""

from dataclasses import fields
from pathlib import Path

import pytest

from litecli.cli.train_config import EXAMPLE, with_values
from litecli.config import TrainConfig

from .typed_meta_train import run, trained

__all__ = ("run", "trained")  # fixtures


def test_every_setting_has_a_flag(trained) -> None:
    flags = (
        "--out o --learner ridge --head ridge --backbone b --weights w --image-size 96 "
        "--gradient exact --lite-h 16 --stratified --chunk 20 --way 6-12 --support 2-300 "
        "--query 5 --query-batch 30 --tasks 99 --tasks-per-step 4 --lr 0.002 --backbone-lr 0.5 "
        "--warmup 7 --clip 3 --no-augment --precision fp32 --pretrain-images 500 --teacher t "
        "--teacher u --val v --val-every 9 --val-tasks 11 --seed 5 --workers 3 --device cpu "
        "--strict-split --memory 6GB --film on --pooled --projection --feature-power 0.7 "
        "--inner-steps 4 --inner-lr 0.2"
    )
    assert trained("photos", "more", *flags.split())[0] == 0
    expected = with_values(
        TrainConfig(),
        {
            "data": ("photos", "more"),
            "out": "o",
            "learner": "ridge",
            "head": "ridge",
            "backbone": "b",
            "weights": "w",
            "pooled": True,
            "projection": True,
            "feature_power": 0.7,
            "image_size": 96,
            "gradient": "exact",
            "lite_h": 16,
            "stratified": True,
            "chunk": 20,
            "episodes.way_min": 6,
            "episodes.way_max": 12,
            "episodes.support_min": 2,
            "episodes.support_max": 300,
            "episodes.query": 5,
            "query_batch": 30,
            "tasks": 99,
            "tasks_per_step": 4,
            "lr": 0.002,
            "backbone_lr": 0.5,
            "warmup": 7,
            "clip": 3.0,
            "augment": False,
            "precision": "fp32",
            "memory": "6GB",
            "film": "on",
            "inner_steps": 4,
            "inner_lr": 0.2,
            "pretrain.images": 500,
            "pretrain.teacher": ("t", "u"),
            "val": "v",
            "strict_split": True,
            "val_every": 9,
            "val_tasks": 11,
            "seed": 5,
            "workers": 3,
            "device": "cpu",
        },
    )
    assert trained.config == expected
    in_files = ("val_share", "smallest_crop", "imitation", "nuisance")
    untouched = [f.name for f in fields(TrainConfig) if f.name not in in_files]
    default = TrainConfig()
    assert all(getattr(expected, name) != getattr(default, name) for name in untouched)


@pytest.mark.parametrize(
    ("flags", "words", "fix"),
    [
        ("photos --teacher t", "--pretrain-images is 0", "--pretrain-images 100000"),
        ("--teacher t --pretrain-images 0", "--pretrain-images is 0", "--pretrain-images 100000"),
        ("--learner ridge --head euclidean", "not for ridge", "--learner protonets --head eucl"),
        ("--learner simple-cnaps --head cosine", "not for simple-cnaps", "leave --head out"),
        ("--feature-power 0.7", "there is none", "--projection --feature-power 0.7"),
    ],
)
def test_a_flag_that_could_do_nothing_is_refused(trained, flags: str, words: str, fix: str) -> None:
    code, out, err = trained(*flags.split())
    assert (code, out) == (2, "") and words in err and fix in err.splitlines()[-1]


def test_a_flag_says_auto_where_the_recipe_says_cuda(trained, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('device = "cuda"\nlearner = "ridge"\nhead = "ridge"\n')
    for flags, device in ((), "cuda"), (("--device", "auto"), "auto"), (("--device", "cpu"), "cpu"):
        assert trained("photos", "--config", recipe, *flags)[0] == 0
        assert trained.config.device == device
    assert trained("photos", "--config", recipe, "--learner", "protonets")[0] == 0
    assert trained.config.head == "ridge"  # the recipe's, which protonets may have


@pytest.mark.parametrize(
    "learner, head, rate, film",
    [
        ("protonets", "cosine", 0.1, False),
        ("ridge", "ridge", 0.1, False),
        ("cnaps", "generated", 0.0, True),
        ("simple-cnaps", "mahalanobis", 0.0, True),
        ("maml", "cosine", 0.1, False),
    ],
)
def test_a_learner_brings_its_head_its_film_and_a_frozen_network(
    trained, tmp_path: Path, learner: str, head: str, rate: float, film: bool
) -> None:
    assert trained("photos", "--learner", learner)[0] == 0
    config = trained.config
    assert (config.head, config.backbone_lr, config.uses_film) == (head, rate, film)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(f'learner = "{learner}"\nbackbone_lr = 0.3\n')  # said, and so it holds
    assert trained("photos", "--config", recipe)[0] == 0
    assert trained.config.backbone_lr == 0.3
    assert trained("photos", "--learner", learner, "--backbone-lr", "0.2")[0] == 0
    assert trained.config.backbone_lr == 0.2


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("--learner", "maml", "--film", "on"), "maml has no FiLM"),
        (("--head", "generated"), "belongs to cnaps"),
        (("--film", "often"), "no film often"),
        (("--inner-steps", "0"), "--inner-steps 0 is out of range"),
    ],
)
def test_what_no_learner_has_is_refused(trained, arguments: tuple[str, ...], message: str) -> None:
    code, _, err = trained("photos", *arguments)
    assert code == 2 and message in err


def test_bare_meta_train_is_the_example_and_data_is_not(trained) -> None:
    assert trained()[0] == 0
    assert trained.config == with_values(EXAMPLE, {"out": f"runs/protonets-{EXAMPLE.backbone}"})
    assert trained.config.weights == "none"  # it needs no network
    trained("photos")
    assert trained.config == with_values(
        TrainConfig(),
        {"data": ("photos",), "out": "runs/protonets-mobilenetv4_conv_small"},
    )


def test_the_ridge_learner_has_the_ridge_head(trained) -> None:
    trained("photos", "--learner", "ridge")
    assert trained.config.head == "ridge" and trained.config.out.startswith("runs/ridge-")


def test_the_file_is_read_and_flags_win(trained) -> None:
    Path("my.toml").write_text(
        'data = ["photos"]\nlr = 1\ntasks = 50\nlite_h = 8\n[episodes]\nway_max = 20\n'
        "[pretrain]\nimages = 9\n"
    )
    assert trained("--config", "my.toml", "--tasks", "60", "--seed", "3")[0] == 0
    config = trained.config
    assert (config.data, config.lr, config.tasks, config.lite_h) == (("photos",), 1.0, 60, 8)
    assert (config.episodes.way_min, config.episodes.way_max) == (5, 20)
    assert (config.pretrain.images, config.seed) == (9, 3)


def test_resume_reads_the_recipe_of_the_run_folder(trained) -> None:
    Path("o").mkdir()
    Path("o/recipe.toml").write_text('data = ["photos"]\nout = "o"\nlite_h = 8\n')
    assert trained("--out", "o", "--resume", "--tasks", "7")[0] == 0
    assert trained.resume and (trained.config.lite_h, trained.config.tasks) == (8, 7)
    assert trained.config.data == ("photos",)
