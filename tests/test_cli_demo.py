"""`litecli demo`."""

import errno
import json
from pathlib import Path

import pytest

from litecli import library
from litecli.cli import demo
from litecli.personal.predictions import Prediction


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


@pytest.mark.parametrize("place", ["photo.jpg/x", "photo.jpg", "dangling", "loop", "x" * 300])
def test_demo_has_no_place_to_draw(run, place: str) -> None:
    Path("photo.jpg").write_bytes(b"x")
    Path("dangling").symlink_to("nowhere")
    Path("loop").symlink_to("loop")
    code, out, err = run("demo", place)
    assert (code, out) == (2, "") and err.startswith("Error: ") and "litecli demo" in err
    assert not Path("nowhere").exists()


def test_demo_may_not_draw_there(run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "mkdir", refused)
    code, _, err = run("demo", "locked/show")
    assert code == 6 and err.startswith("Error: Cannot make the folder locked/show: permission")


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_demo_has_a_range_of_seeds(run, seed: int) -> None:
    code, _, err = run("demo", "show", "--seed", seed)
    assert code == 2 and "--seed" in err and not Path("show").exists()


def test_a_profile_of_ones_own_called_demo_stays(run, write_objects, monkeypatch) -> None:
    monkeypatch.setattr(demo, "NUM_PHOTOS", 2)
    monkeypatch.setattr(demo, "NUM_NEW", 1)
    run("adapt", write_objects({"keys": 2, "mug": 2}), "--name", "demo")
    mine = library.profile_path("demo").read_bytes()
    for number in range(2):  # the second one replaces the first one's, not mine
        code, out, err = run("demo", f"show{number}")
        assert code == 0 and "litecli classify -p demo-2 " in out
        assert 'Your own profile "demo" stays; this one is called "demo-2".' in err
    assert library.profile_path("demo").read_bytes() == mine
    assert library.profile_names() == ["demo", "demo-2"]
    library.profile_path("demo-2").write_bytes(b"damaged, and perhaps mine")
    assert 'called "demo-3"' in run("demo", "show2")[2]
    library.remove_profile("demo")
    assert "stays" not in run("demo", "show3")[2] and "stays" not in run("demo", "show4")[2]


def test_demo_makes_a_folder_of_its_own(run, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(demo, "NUM_PHOTOS", 2)
    monkeypatch.setattr(demo, "NUM_NEW", 1)
    _, _, err = run("demo")
    (folder,) = tmp_path.glob("litecli_demo_*")
    assert str(folder) in err
