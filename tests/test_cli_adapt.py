"""`litecli adapt` as a person and as a script meet it."""

import json
from pathlib import Path

import pytest

from litecli import library
from litecli.cli.adapt_output import changes_text
from litecli.personal.changes import Changes


@pytest.fixture
def folder(write_objects) -> Path:
    return write_objects({"keys": 5, "mug": 4, "bowl": 4})


def test_adapt_tells_what_it_learned_and_what_to_type_next(run, folder: Path) -> None:
    (folder / "bowl" / "notes.txt").write_text("x")
    code, out, err = run("adapt", "my_objects")
    assert code == 0
    lines = out.splitlines()
    assert lines[0].startswith("Learned 3 objects from 13 photos in ")
    assert lines[1].split() == ["object", "photos", "check", "notes"]
    assert [line.split()[:2] for line in lines[2:5]] == [["bowl", "4"], ["keys", "5"], ["mug", "4"]]
    assert "  bowl/notes.txt (not a photo)" in lines
    assert "of 10 right" in out
    assert str(library.profile_path("my_objects")) in out and 'profile "my_objects"' in out
    assert err.splitlines()[-1] == "Next: litecli classify photo.jpg      Pictures: litecli report"
    assert library.current_profile_name() == "my_objects"


def test_adapt_json_follows_its_schema(run, folder: Path) -> None:
    code, out, _ = run("adapt", "my_objects", "--name", "garage", "--json")
    told = json.loads(out)
    assert code == 0 and told["schema"] == "litecli.adapt/1"
    assert (told["profile"], told["model"]) == ("garage", "tiny")
    assert told["path"] == str(library.profile_path("garage"))
    assert [o["label"] for o in told["objects"]] == ["bowl", "keys", "mug"]
    assert set(told["objects"][0]) == {"label", "photos", "check_correct", "check_total", "notes"}
    assert told["check"]["total"] == 13
    assert told["check"]["accuracy"] == told["check"]["correct"] / 13
    assert (told["embedded"], told["reused"]) == (13, 0)
    assert {"read", "encode", "head", "total"} <= set(told["seconds"])
    assert len(told["forecast"]) == 2 and isinstance(told["false_accepts"], dict)


def test_a_second_adapt_embeds_only_what_is_new(run, folder: Path, photo) -> None:
    run("adapt", "my_objects")
    (folder / "mug" / "new.jpg").write_bytes(photo("mug", 999))
    told = json.loads(run("adapt", "my_objects", "--json")[1])
    assert (told["embedded"], told["reused"]) == (1, 13)


def test_what_came_and_went_since_the_last_time_is_told(run, folder: Path, photo) -> None:
    first = run("adapt", "my_objects", "--json")
    assert (json.loads(first[1])["added"], json.loads(first[1])["forgotten"]) == (None, None)
    told = json.loads(run("adapt", "my_objects", "--json")[1])
    assert (told["added"], told["forgotten"]) == ([], [])
    assert "Since last time" not in run("adapt", "my_objects")[1]
    (folder / "mug" / "new.jpg").write_bytes(photo("mug", 999))
    (folder / "mug" / "IMG_0.jpg").unlink()
    (folder / "mug" / "IMG_1.jpg").rename(folder / "mug" / "renamed.jpg")
    for path in (folder / "bowl").iterdir():
        path.unlink()
    out = run("adapt", "my_objects", "--min-accuracy", "0")[1]
    assert out.splitlines()[1] == ('Since last time: 1 new photo, 5 forgotten ("bowl" is gone).')
    run("profiles", "undo")
    told = json.loads(run("adapt", "my_objects", "--json")[1])
    assert told["added"] == ["mug/new.jpg"]
    assert told["forgotten"] == [*(f"bowl/IMG_{n}.jpg" for n in range(4)), "mug/IMG_0.jpg"]


def test_a_folder_with_another_name_brings_no_new_photo(run, folder: Path) -> None:
    run("adapt", "my_objects")
    (folder / "bowl").rename(folder / "dish")
    lines = run("adapt", "my_objects")[1].splitlines()
    assert lines[0].startswith("Learned 3 objects from 13 photos (13 known from last time)")
    expected = '4 photos now in another object ("dish" is new; "bowl" is gone).'
    assert lines[1] == f"Since last time: {expected}"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (Changes((), (), (), ()), ""),
        (Changes((), ("a", "b"), (), ()), "Since last time: 2 photos forgotten."),
        (
            Changes(("a",), ("b",), ("tin",), ("can",)),
            'Since last time: 1 new photo, 1 forgotten ("tin" is new; "can" is gone).',
        ),
        (
            Changes(("a", "b"), (), ("a", "b"), ()),
            'Since last time: 2 new photos ("a", "b" are new).',
        ),
        (
            Changes(("a",), (), tuple("abcd"), ()),
            "Since last time: 1 new photo (4 objects are new).",
        ),
        (
            Changes(("a",), ("b",), ("tin",), ("can",), moved=1),
            'Since last time: 1 photo now in another object ("tin" is new; "can" is gone).',
        ),
        (
            Changes(("a", "c"), ("b", "d", "e"), (), (), moved=1),
            "Since last time: 1 new photo, 2 forgotten, 1 now in another object.",
        ),
    ],
)
def test_changes_in_words(changes: Changes, words: str) -> None:
    assert changes_text(changes) == words


def test_the_line_to_type_next_names_a_file_with_a_space_as_one_word(run, folder: Path) -> None:
    err = run("adapt", "my_objects", "-o", "for you.safetensors")[2]
    assert err.splitlines()[-1] == "Next: litecli classify -p 'for you.safetensors' photo.jpg"


def test_another_folder_of_the_same_name_needs_replace(run, folder: Path, write_objects) -> None:
    run("adapt", "my_objects")
    write_objects({"keys": 2, "mug": 2}, "other/my_objects")
    code, _, err = run("adapt", "other/my_objects")
    assert code == 2 and "another folder" in err and "--replace" in err
    assert run("adapt", "other/my_objects", "--replace")[0] == 0
    assert library.load_profile("my_objects").labels == ("keys", "mug")


def test_a_file_of_ones_own_does_not_become_current(run, folder: Path) -> None:
    code, out, err = run("adapt", "my_objects", "-o", "for_you.safetensors")
    assert code == 0 and Path("for_you.safetensors").is_file()
    assert "for_you.safetensors" in out and "-p for_you.safetensors" in err
    assert library.current_profile_name() is None and library.profile_names() == []


def test_another_folders_file_is_refused_before_the_work(run, folder: Path, write_objects) -> None:
    run("adapt", folder, "-o", "mine.safetensors")
    before, other = Path("mine.safetensors").read_bytes(), write_objects({"bowl": 3}, "other")
    code, out, err = run("adapt", other, "-o", "mine.safetensors")
    assert (code, out) == (2, "") and "--replace" in err and "Photos" not in err
    assert Path("mine.safetensors").read_bytes() == before
    assert run("adapt", other, "-o", "mine.safetensors", "--replace")[0] == 0


def test_below_min_accuracy_nothing_is_saved(run, folder: Path, photo) -> None:
    for number in range(4):  # a second "object" that looks just like the keys
        path = folder / "more_keys" / f"{number}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(photo("keys", 100 + number))
    code, out, err = run("adapt", "my_objects", "--min-accuracy", "1")
    assert code == 8 and "Nothing was saved" in err and "check" in out
    assert library.profile_names() == []
    code, out, _ = run("adapt", "my_objects", "--min-accuracy", "1", "--json")
    assert code == 8 and json.loads(out)["schema"] == "litecli.error/1"


def test_with_nothing_to_check_min_accuracy_says_so(run, write_objects) -> None:
    write_objects({"keys": 1, "mug": 1})
    code, _, err = run("adapt", "my_objects", "--min-accuracy", "0")
    assert code == 8 and "0 of 0" not in err and "nothing to check --min-accuracy 0" in err
    assert library.profile_names() == []


def test_an_empty_name_is_not_the_current_folder(run, folder: Path, monkeypatch) -> None:
    monkeypatch.chdir(folder)
    code, _, err = run("adapt", "")
    assert code == 2 and err.startswith("Error: An empty name is no folder.")
    assert library.profile_names() == []
    assert run("adapt", ".")[0] == 0 and library.profile_names() == ["my_objects"]


def test_dry_run_lists_and_saves_nothing(run, folder: Path) -> None:
    code, out, _ = run("adapt", "my_objects", "--dry-run")
    assert code == 0
    assert out.startswith("Would learn 3 objects from 13 photos; nothing was saved.")
    assert library.profile_names() == []
    told = json.loads(run("adapt", "my_objects", "--dry-run", "--json")[1])
    assert [o["photos"] for o in told["objects"]] == [4, 5, 4]


def test_only_five_skipped_files_are_named_unless_verbose(run, folder: Path) -> None:
    for number in range(7):
        (folder / "keys" / f"{number}.txt").write_text("x")
    _, out, _ = run("adapt", "my_objects")
    assert "Skipped 7 files:" in out and "and 2 more; -v names all" in out
    _, out, _ = run("adapt", "my_objects", "-v")
    assert out.count("(not a photo)") == 7


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("my_objects", "--min-accuracy", "90"), 2, "between 0 and 1"),
        (("my_objects", "--head", "mahala"), 2, "no head mahala"),
        (("my_objects", "--max-photos", "0"), 2, "max-photos"),
        (("my_objects", "--name", "a/b"), 2, "cannot be a name"),
        (("my_objects", "--name", ""), 2, "cannot be a name"),
        (("my_objects", "--model", "tinny"), 4, "Did you mean tiny?"),
    ],
)
def test_bad_input(run, folder: Path, arguments, code: int, words: str) -> None:
    got, out, err = run("adapt", *arguments)
    assert (got, out) == (code, "") and words in err and err.startswith("Error: ")
