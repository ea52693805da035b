"""`litecli meta-train`: settings from flags and files, their ranges, and how a run is shown."""

import json
from dataclasses import fields
from pathlib import Path

import pytest

from litecli.cli import main
from litecli.cli.train_config import EXAMPLE, with_values
from litecli.config import TrainConfig
from litecli.training import events


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Run `litecli meta-train ...` in an empty folder -> (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> tuple[int, str, str]:
        code = main(["meta-train", *map(str, arguments)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def trained(run, monkeypatch: pytest.MonkeyPatch):
    """`run` with a training engine that takes no time; `trained.config` is what it was given."""
    from litecli.training import training

    def quick(config: TrainConfig, resume: bool = False, offline: bool = False):
        call.config, call.resume, call.offline = config, resume, offline
        yield events.Preparing("photos", 10, 10)
        yield events.Started(
            "drawn objects", "cpu", "fp32", 0, 2, ("val overlaps train",), film="FiLM on 7 of 7"
        )
        yield events.Stepped("episodes", 1, 2, 1.5, 7200.0)
        yield from call.more
        yield from (events.Validating(done, 2) for done in (1, 2))
        yield events.Validated("episodes", 2, 20, 0.912, 0.011, True)
        yield events.Finished(f"{config.out}/model", 0.912, 75.0)

    def call(*arguments: object) -> tuple[int, str, str]:
        return run(*arguments)

    call.more = []
    monkeypatch.setattr(training, "meta_train", quick)
    return call


def test_every_setting_has_a_flag(trained) -> None:
    flags = (
        "--out o --learner ridge --head ridge --backbone b --weights w --image-size 96 "
        "--gradient exact --lite-h 16 --stratified --chunk 20 --way 6-12 --support 2-300 "
        "--query 5 --query-batch 30 --tasks 99 --tasks-per-step 4 --lr 0.002 --backbone-lr 0.5 "
        "--warmup 7 --clip 3 --no-augment --precision fp32 --pretrain-images 500 --teacher t "
        "--teacher u --val v --val-every 9 --val-tasks 11 --seed 5 --workers 3 --device cpu "
        "--strict-split --memory 6GB --film on --pooled --inner-steps 4 --inner-lr 0.2"
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
    untouched = [
        f.name for f in fields(TrainConfig) if f.name not in ("val_share", "smallest_crop")
    ]
    default = TrainConfig()
    assert all(getattr(expected, name) != getattr(default, name) for name in untouched)


@pytest.mark.parametrize(
    ("flags", "words", "fix"),
    [
        ("photos --teacher t", "--pretrain-images is 0", "--pretrain-images 100000"),
        ("--teacher t --pretrain-images 0", "--pretrain-images is 0", "--pretrain-images 100000"),
        ("--learner ridge --head euclidean", "not for ridge", "--learner protonets --head eucl"),
        ("--learner simple-cnaps --head cosine", "not for simple-cnaps", "leave --head out"),
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
