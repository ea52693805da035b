"""`litecli adapt` as a person and as a script meet it."""

import json
import os
from pathlib import Path

import pytest

from litecli import library, storage
from litecli.errors import ExitCode, LiteError


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
    assert err.splitlines()[-1] == "Next: litecli classify photo.jpg"
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


def test_dry_run_lists_and_saves_nothing(run, folder: Path) -> None:
    code, out, _ = run("adapt", "my_objects", "--dry-run")
    assert code == 0
    assert out.startswith("Would learn 3 objects from 13 photos; nothing was saved.")
    assert library.profile_names() == []
    told = json.loads(run("adapt", "my_objects", "--dry-run", "--json")[1])
    assert [o["photos"] for o in told["objects"]] == [4, 5, 4]


@pytest.mark.parametrize("label", ["[keys]", "[bold]a[", "my keys", "鍵 🔑"])
def test_labels_are_shown_exactly(run, tmp_path: Path, photo, label: str) -> None:
    for name, colour in ((label, "keys"), ("mug", "mug")):
        for number in range(2):
            path = tmp_path / "things" / name / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(photo(colour, number))
    code, out, _ = run("adapt", "things")
    assert code == 0 and f"  {label}  " in out


def test_one_object_and_one_photo(run, write_objects) -> None:
    write_objects({"keys": 1})
    code, out, _ = run("adapt", "my_objects")
    row = next(line for line in out.splitlines() if line.startswith("  keys"))
    assert code == 0 and row.split()[:3] == ["keys", "1", "-"]
    assert "add 4 more" in row and 'only one object: answers will be "keys" or "unknown"' in out


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
        (("my_objcts",), 2, "Did you mean"),
        (("my_objects", "--min-accuracy", "90"), 2, "between 0 and 1"),
        (("my_objects", "--head", "mahala"), 2, "no head mahala"),
        (("my_objects", "--max-photos", "0"), 2, "max-photos"),
        (("my_objects", "--name", "a/b"), 2, "cannot be a name"),
        (("my_objects", "--model", "tinny"), 4, "Did you mean tiny?"),
        (("my_objects", "--device", "cuda"), 6, "no CUDA device"),
        (("my_objects/keys",), 3, "photos but no sub-folders"),
    ],
)
def test_bad_input(run, folder: Path, arguments, code: int, words: str) -> None:
    got, out, err = run("adapt", *arguments)
    assert (got, out) == (code, "") and words in err and err.startswith("Error: ")


def test_mps_falls_back_with_a_note(run, folder: Path) -> None:
    code, _, err = run("adapt", "my_objects", "--device", "mps")
    assert code == 0 and "--device mps is ignored" in err


def test_the_disk_is_full(run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("adapt", "my_objects")
    before = library.profile_path("my_objects").read_bytes()
    (folder / "keys" / "IMG_0.jpg").unlink()

    def full(file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    code, _, err = run("adapt", "my_objects")
    assert code == 6
    assert "could not save profile" in err.lower() and "disk full" in err and "-o FILE" in err
    assert library.profile_path("my_objects").read_bytes() == before


def test_ctrl_c_leaves_the_old_profile(run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("adapt", "my_objects")
    before = library.profile_path("my_objects").read_bytes()
    (folder / "keys" / "IMG_0.jpg").unlink()

    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(storage, "write_together", stopped)
    assert run("adapt", "my_objects")[0] == 130
    assert library.profile_path("my_objects").read_bytes() == before
    assert sorted(p.name for p in library.profile_path("my_objects").parent.iterdir()) == [
        "my_objects.safetensors"
    ]


def test_two_adapts_at_once(run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from litecli import profile_library

    def busy(name: str) -> None:
        raise LiteError("Another litecli is saving this profile.", code=ExitCode.MACHINE)

    monkeypatch.setattr(profile_library, "_saving", busy)
    code, _, err = run("adapt", "my_objects")
    assert code == 6 and "another litecli" in err.lower()


def test_a_home_that_cannot_be_written(run, folder: Path, tmp_path: Path, monkeypatch) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    model = library.find_model("tiny").folder
    monkeypatch.setenv("LITECLI_HOME", str(blocked))
    code, _, err = run("adapt", "my_objects", "--model", model)
    assert code == 6 and str(blocked) in err and "bug" not in err
