"""`litecli evaluate`."""

import csv
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from litecli import library
from litecli.evaluation import evaluation, methods
from litecli.evaluation.baselines import logistic_probe
from litecli.evaluation.methods import Method
from litecli.evaluation.solvers import FrozenFeatures


@pytest.fixture
def measured(run, write_objects, monkeypatch):
    """`run`, with a data folder; the tiny model is no timm network, so its MACs are given."""
    write_objects({"keys": 6, "mug": 6, "bowl": 6}, "photos")
    monkeypatch.setattr(evaluation, "network_macs", lambda model: 1_000_000)
    shape = ("--way", "3", "--shots", "2", "--query", "3", "--tasks", "20")
    return lambda *arguments: run("evaluate", *arguments, *shape)


def test_evaluate_prints_accuracy_and_cost(measured) -> None:
    code, out, _ = measured("photos", "--head", "cosine")
    assert code == 0
    assert " ± " in out.splitlines()[0] and "3-way 2-shot, 20 tasks" in out
    assert "head cosine; 18 photos of 3 classes" in out
    assert "0.01 GMACs, 1 forward pass, 75 parameters set; " in out


def test_evaluate_json_follows_its_schema(measured) -> None:
    told = json.loads(measured("photos", "--json")[1])
    wanted = (
        "schema model protocol way shots tasks query head accuracy ci95 adapt_seconds adapt_macs "
        "passes images_per_second"
    )
    assert set(wanted.split()) <= set(told)
    assert told["schema"] == "litecli.evaluate/1" and told["model"] == "tiny"
    assert 0.5 < told["accuracy"] <= 1 and 0 <= told["ci95"] < 0.5
    assert told["adapt_macs"] == 6_000_000 and told["head"] == "auto"


def test_a_program_that_loaded_torch_ends_without_a_word(write_objects, tmp_path: Path) -> None:
    folder = write_objects({"keys": 2, "mug": 2})
    task = ("--way", "2", "--shots", "1", "--query", "1", "--tasks", "1")
    done = subprocess.run(
        [sys.executable, "-m", "litecli", "evaluate", str(folder), *task, "--quiet"],
        capture_output=True,
        env={**os.environ, "LITECLI_HOME": str(tmp_path)},
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_evaluate_appends_to_a_csv_file(measured) -> None:
    for _ in range(2):
        assert measured("photos", "--csv", "runs.csv")[0] == 0
    with Path("runs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert (
        len(rows) == 2
        and rows[0]["model"] == "tiny"
        and rows[0]
        == {
            **rows[1],
            "adapt_seconds": rows[0]["adapt_seconds"],
            "images_per_second": rows[0]["images_per_second"],
        }
    )


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("photo.jpg", "litecli did not write it"),
        ("latin.csv", "litecli did not write it"),
        ("photos/keys/IMG_0.jpg", "among your photos"),
        ("photos/out.csv", "among your photos"),
        ("photos", "photos is a folder."),
    ],
)
def test_no_file_of_a_persons_gets_a_line(measured, photo, put, table: str, words: str) -> None:
    put("photo.jpg", photo("keys", 1))
    put("latin.csv", "caf\u00e9,price\n".encode("latin-1"))
    before = {path: path.read_bytes() for path in Path().rglob("*.*") if path.is_file()}
    code, out, err = measured("photos", "--csv", table)
    assert (code, out) == (2, "") and words in err and "  Try: --csv " in err
    assert {path: path.read_bytes() for path in Path().rglob("*.*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("nowhere",), 2, "No folder nowhere"),
        (("photos", "--head", "x"), 2, "no head x"),
        (("photos", "--protocol", "orbits"), 2, "no protocol orbits in this version.\n"),
        (("photos", "--protocol", "orbit"), 2, "in this version. It is planned."),
        (("photos", "--protocol", "meta-dataset"), 2, "in this version. It is planned."),
        (("photos", "--baseline", "finetuner"), 2, "linear, finetune, finetune-film, maml"),
        (("photos", "--baseline", "linear", "--head", "ridge"), 2, "classifier of its own"),
        (("photos", "--baseline", "maml", "--ridge-lambda", "1"), 2, "classifier of its own"),
        (("photos", "--steps", "3"), 2, "baselines that take gradient steps"),
        (("photos", "--baseline", "linear", "--lr", "0.1"), 2, "finetune, finetune-film, maml"),
        (("photos", "--baseline", "linear", "--device", "cuda"), 6, "runs on the processor"),
        (("photos", "--model", "tinny"), 4, "Did you mean tiny?"),
        (("photos", "--csv", "nowhere/x.csv"), 6, "Cannot write nowhere/x.csv"),
    ],
)
def test_evaluate_bad_input(measured, arguments, code: int, words: str) -> None:
    got, _, err = measured(*arguments)
    assert got == code and words in err


@pytest.mark.parametrize("option", ["--way", "--shots", "--query", "--tasks"])
def test_evaluate_ranges(run, option: str) -> None:
    code, _, err = run("evaluate", "photos", option, "0")
    assert code == 2 and option in err and ("1" in err or "2" in err)


def test_evaluate_with_too_few_classes(run, write_objects) -> None:
    write_objects({"keys": 3, "mug": 3}, "photos")
    code, _, err = run("evaluate", "photos", "--way", "5")
    assert code == 3 and "2 usable classes" in err


def test_evaluate_takes_the_baseline_and_its_steps(measured, monkeypatch) -> None:
    chosen = []
    original = methods.choose_method

    def remembered(model, encoder, head, lam, baseline, device):
        chosen.append(baseline)
        return original(model, encoder, head, lam, baseline, device)

    monkeypatch.setattr(evaluation, "choose_method", remembered)
    shape = ("photos", "--baseline", "finetune")
    code, out, _ = measured(*shape, "--steps", "7", "--lr", "0.25")
    assert code == 0 and "baseline finetune; 18 photos" in out
    assert (chosen[0].steps, chosen[0].lr) == (7, 0.25)
    told = json.loads(measured(*shape, "--json")[1])
    assert (told["baseline"], told["head"]) == ("finetune", "linear")
    assert (chosen[1].steps, chosen[1].lr) == (50, 1e-3)
    measured("photos")
    assert chosen[2] is None


@pytest.mark.parametrize(
    "arguments", [("--baseline", "finetune-film"), ("--baseline", "maml"), ()], ids=str
)
def test_evaluate_runs_steps_on_photos_on_the_device_asked_for(
    measured, monkeypatch, arguments: tuple[str, ...]
) -> None:
    """Where torch does the work the device is a choice: here one that is not there."""
    found = library.find_model(None)
    taught = replace(found.config, learner="maml", inner_steps=3, inner_lr=0.5)
    monkeypatch.setattr(library, "find_model", lambda name: replace(found, config=taught))
    monkeypatch.setattr(methods, "load_model", lambda folder, config: pytest.fail("too late"))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    code, _, err = measured("photos", *arguments, "--device", "cuda")
    assert code == 6 and "No cuda device" in err
    code, _, err = measured("photos", "--head", "cosine", "--device", "cuda")
    assert code == 6 and "runs on the processor" in err


@pytest.mark.parametrize(
    ("arguments", "steps"),
    [
        ((), (3, 0.5)),
        (("--baseline", "maml"), (3, 0.5)),
        (("--baseline", "maml", "--steps", "2"), (2, 1e-3)),
    ],
)
def test_a_model_of_maml_takes_the_steps_it_was_trained_with(
    measured, monkeypatch, arguments: tuple[str, ...], steps: tuple[int, float]
) -> None:
    found = library.find_model(None)
    taught = replace(found.config, learner="maml", inner_steps=3, inner_lr=0.5)
    monkeypatch.setattr(library, "find_model", lambda name: replace(found, config=taught))
    taken = []

    def remembered(model, baseline, device):
        taken.append((baseline.steps, baseline.lr))
        return Method("linear", made, 1)

    def made(crops):
        return FrozenFeatures(crops.mean(axis=1), logistic_probe)

    monkeypatch.setattr(methods, "_steps_on_photos", remembered)
    assert measured("photos", *arguments)[0] == 0
    assert taken == [steps]


def test_evaluate_says_which_classes_have_too_few_photos(run, write_objects, monkeypatch) -> None:
    monkeypatch.setattr(evaluation, "network_macs", lambda model: 1)
    write_objects({"keys": 6, "mug": 3, "bowl": 2}, "photos")
    shape = ("evaluate", "photos", "--way", "2", "--tasks", "2", "--shots")
    _, out, err = run(*shape, "3")
    told = "Note: 2 of 3 classes have too few photos for 3 photos to learn from and one to name"
    assert told in err and "Note" not in out
    assert "Note" not in run(*shape, "1")[2]


def test_evaluate_keeps_one_table_to_one_set_of_columns(measured) -> None:
    """Said before any photo is read, and the other table stays as it is."""
    Path("other.csv").write_text("model,accuracy\nmine,0.5\n")
    code, out, err = measured("photos", "--csv", "other.csv")
    assert code == 3 and "other columns" in err and out == "" and "Photos" not in err
    assert Path("other.csv").read_text() == "model,accuracy\nmine,0.5\n"
    Path("empty.csv").touch()
    assert measured("photos", "--csv", "empty.csv")[0] == 0


def test_evaluate_leaves_the_device_to_a_model_with_film(measured, monkeypatch) -> None:
    """Its network runs through torch; a plain model's photos go through the graph as in adapt."""
    found = library.find_model(None)
    assert measured("photos", "--device", "cuda")[0] == 6
    with_film = replace(found, config=replace(found.config, film=("norm",)))
    monkeypatch.setattr(library, "find_model", lambda name: with_film)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    code, _, err = measured("photos", "--device", "cuda")
    assert code == 6 and "No cuda device" in err
