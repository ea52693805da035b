"""`litecli demo` and `litecli evaluate`."""

import csv
import json
from pathlib import Path

import pytest

from litecli import library
from litecli.cli import demo
from litecli.personalize import Prediction


def test_demo_draws_learns_and_scores(run, write_objects, tmp_path: Path) -> None:
    run("adapt", write_objects({"keys": 2, "mug": 2}))
    code, out, err = run("demo", "show")
    assert code == 0
    pictures = sorted(p.parent.name for p in Path("show/my_objects").glob("*/*.jpg"))
    assert len(pictures) == 36 and len(set(pictures)) == 6
    new = [p.parent.name for p in Path("show/new_photos").glob("*/*.jpg")]
    assert len(new) == 28 and len(set(new) - set(pictures)) == 4
    assert "of 24 new pictures named right" in out and "of 4 pictures of other things" in out
    assert str(tmp_path / "show") in err and str(library.profile_path("demo")) in out
    assert library.current_profile_name() == "my_objects"  # a person's own stays current


def test_the_commands_it_prints_give_the_score_it_prints(run) -> None:
    told = json.loads(run("demo", "show", "--json")[1])
    assert told["schema"] == "litecli.demo/1" and told["total"] == 24
    assert told["unknown_total"] == 4
    assert run("adapt", "show/my_objects", "--name", "demo", "--json")[0] == 0
    answers = run("classify", "-p", "demo", "-r", "show/new_photos")[1].splitlines()
    known = library.load_profile("demo").labels
    right = strange = 0
    for path, label, _ in (line.split("\t") for line in answers):
        thing = Path(path).parent.name
        right += label == thing
        strange += thing not in known and label == "unknown"
    assert (right, strange) == (told["correct"], told["unknown_correct"])


def test_the_score_counts_strangers_apart() -> None:
    def answer(thing: str, label: str, known: bool) -> Prediction:
        return Prediction(f"new/{thing}/1.jpg", label, known, 0.9, {label: 1.0}, None)

    answers = [
        answer("mug", "mug", True),
        answer("mug", "keys", True),
        answer("mug", "mug", False),
        answer("boot", "mug", False),
        answer("boot", "mug", True),
    ]
    score = demo.count_right(answers, ("keys", "mug"))
    assert (score.right, score.total, score.refused, score.strangers) == (1, 3, 1, 2)
    assert score.rows == [
        ("boot", "not learned", "1/2", "mug"),
        ("mug", "learned", "1/3", "keys, unknown"),
    ]


def test_demo_replaces_nothing(run) -> None:
    Path("mine").mkdir()
    Path("mine/x.txt").write_text("x")
    code, _, err = run("demo", "mine")
    assert code == 2 and "not an empty folder" in err and "litecli demo mine_new" in err
    assert [p.name for p in Path("mine").iterdir()] == ["x.txt"]


def test_demo_makes_a_folder_of_its_own(run, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(demo, "NUM_PHOTOS", 2)
    monkeypatch.setattr(demo, "NUM_NEW", 1)
    _, _, err = run("demo")
    (folder,) = tmp_path.glob("litecli_demo_*")
    assert str(folder) in err


@pytest.fixture
def measured(run, write_objects, monkeypatch):
    """`run`, with a data folder; the tiny model is no timm network, so its MACs are given."""
    from litecli import evaluation

    write_objects({"keys": 6, "mug": 6, "bowl": 6}, "photos")
    monkeypatch.setattr(evaluation, "network_macs", lambda model: 1_000_000)
    shape = ("--way", "3", "--shots", "2", "--query", "3", "--tasks", "20")
    return lambda *arguments: run("evaluate", *arguments, *shape)


def test_evaluate_prints_accuracy_and_cost(measured) -> None:
    code, out, _ = measured("photos", "--head", "cosine")
    assert code == 0
    assert " ± " in out.splitlines()[0] and "3-way 2-shot, 20 tasks" in out
    assert "head cosine; 18 photos of 3 classes" in out
    assert "0.01 GMACs, 1 forward pass;" in out


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
    ("arguments", "code", "words"),
    [
        (("nowhere",), 2, "No folder nowhere"),
        (("photos", "--head", "x"), 2, "no head x"),
        (("photos", "--protocol", "orbits"), 2, "no protocol orbits"),
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
