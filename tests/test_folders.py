"""Scanning a folder of objects: which are found, what they are called, what is refused and why."""

import os
import unicodedata
from itertools import pairwise
from pathlib import Path

import pytest

from litecli.errors import ExitCode
from litecli.photos.folders import list_photos, scan_objects

from .small_folders import make, names, put_jpegs, reasons, refusal


def test_objects_and_photos_come_sorted(tmp_path):
    scan = scan_objects(make(tmp_path, "mug/b.jpg", "mug/a.HEIC", "keys/c.png"))
    assert names(scan) == {"keys": ["keys/c.png"], "mug": ["mug/a.HEIC", "mug/b.jpg"]}
    assert [found.label for found in scan.objects] == ["keys", "mug"]
    assert scan.skipped == () and scan.notes == ()


def test_missing_folder_suggests_the_nearest_name(tmp_path, monkeypatch):
    make(tmp_path, "my_objects/keys/a.jpg")
    monkeypatch.chdir(tmp_path)
    error = refusal(Path("my_objcts"))
    assert error.what == "No folder ./my_objcts. Did you mean ./my_objects?"
    assert error.code == ExitCode.USAGE
    assert refusal(Path("elsewhere/xyz")).what == "No folder ./elsewhere/xyz."


def test_a_file_is_not_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(make(tmp_path, "photo.jpg", "my things.zip"))
    error = refusal(Path("photo.jpg"))
    assert (error.what, error.code) == ("./photo.jpg is a file; give the folder", ExitCode.USAGE)
    error = refusal(Path("my things.zip"))
    assert error.what.endswith("unzip it first: unzip 'my things.zip'")
    assert error.code == ExitCode.USAGE


def test_empty_folder_shows_the_layout(tmp_path):
    error = refusal(make(tmp_path, "notes.txt", ".DS_Store"))
    assert error.what.endswith("no sub-folders and no photos")
    assert "my_objects/keys/IMG_1.jpg" in error.why
    assert error.code == ExitCode.INPUT


def test_photos_without_sub_folders_are_refused_with_the_commands(tmp_path, monkeypatch):
    make(tmp_path, "my_objects/IMG 1.jpg", "my_objects/IMG_2.jpg")
    monkeypatch.chdir(tmp_path)
    error = refusal(Path("my_objects"))
    assert error.what == "./my_objects has photos but no sub-folders."
    assert "Each object needs its own folder, e.g. my_objects/keys/" in error.why
    assert error.fix == (
        "mkdir ./my_objects/keys && mv './my_objects/IMG 1.jpg' ./my_objects/keys/"
    )
    assert error.code == ExitCode.INPUT
    monkeypatch.chdir("my_objects")
    error = refusal(Path())
    assert error.why == "Each object needs its own folder, e.g. ./keys/IMG 1.jpg."
    assert error.fix == "mkdir ./keys && mv './IMG 1.jpg' ./keys/"


def test_loose_photos_beside_objects_are_skipped(tmp_path):
    scan = scan_objects(make(tmp_path, "keys/a.jpg", "mug/b.jpg", "1.jpg", "2.jpg", "3.jpg"))
    assert "3 photos are not in an object folder" in scan.notes
    assert reasons(scan) == dict.fromkeys(("1.jpg", "2.jpg", "3.jpg"), "not in an object folder")


def test_objects_one_level_down(tmp_path, monkeypatch):
    make(tmp_path, "my_objects/my_objects/keys/a.jpg", "my_objects/my_objects/mug/b.jpg")
    monkeypatch.chdir(tmp_path)
    error = refusal(Path("my_objects"))
    assert error.what == "The objects seem to be one level down."
    assert error.fix == "litecli adapt ./my_objects/my_objects"
    assert error.code == ExitCode.INPUT


@pytest.mark.parametrize(
    "files",
    [
        ("keys/day1/a.jpg",),  # one folder below: no second object
        ("keys/day1/a.jpg", "keys/day2/b.jpg", "keys/c.jpg"),  # photos of its own
        ("keys/day1/a.jpg", "keys/day2/b.jpg", "mug/c.jpg"),  # not the only sub-folder
    ],
)
def test_nested_folders_of_an_object_are_merged_and_said_once(tmp_path, files):
    scan = scan_objects(make(tmp_path, *files))
    assert [path for paths in names(scan).values() for path in paths] == sorted(files)
    assert scan.notes == ("sub-folders of an object are part of it (keys/day1)",)


@pytest.mark.parametrize("held_out", ["val", "Test"])
def test_a_data_split_is_not_objects(tmp_path, held_out):
    error = refusal(make(tmp_path, "train/keys/a.jpg", f"{held_out}/keys/b.jpg"))
    assert error.what.startswith("These look like a data split, not objects; adapt ")
    assert error.what.endswith("/train")
    assert error.code == ExitCode.INPUT


@pytest.mark.parametrize("labels", [["train"], ["keys", "train"], ["keys", "test", "train"]])
def test_a_toy_train_is_an_object(tmp_path, labels):
    files = [f"{label}/a.jpg" for label in labels]
    assert list(names(scan_objects(make(tmp_path, *files)))) == labels


def test_empty_object_folder_is_left_out(tmp_path):
    make(tmp_path, "keys/a.jpg")
    (tmp_path / "mug").mkdir()
    scan = scan_objects(tmp_path)
    assert list(names(scan)) == ["keys"]
    assert 'no photos in "mug": left out' in scan.notes


def test_no_object_with_photos_names_what_was_found(tmp_path):
    error = refusal(make(tmp_path, "keys/a.dng", "mug/b.txt"))
    assert "no photos in its sub-folders" in error.what
    assert error.why == "keys/a.dng: RAW is not supported; export as JPEG; mug/b.txt: not a photo"
    assert error.code == ExitCode.INPUT


def test_one_photo_asks_for_more(tmp_path):
    scan = scan_objects(make(tmp_path, "keys/a.jpg", "mug/b.jpg", "mug/c.jpg"))
    assert [found.notes for found in scan.objects] == [
        ("1 photo: add 4 more from other sides",),
        (),
    ]


def test_many_photos_are_sampled_evenly(tmp_path):
    files = [f"keys/{number:03}.jpg" for number in range(300)]
    put_jpegs(tmp_path, *files)
    make(tmp_path, "mug/a.jpg", "mug/b.jpg", "mug/c.jpg")
    scan = scan_objects(tmp_path, max_photos=200)
    kept = names(scan)["keys"]
    numbers = [files.index(name) for name in kept]
    assert len(set(numbers)) == 200 and numbers == sorted(numbers)
    gaps = [after - before for before, after in pairwise(numbers)]
    assert set(gaps) == {1, 2} and numbers[0] <= 1 and numbers[-1] >= 298
    assert scan.objects[0].notes == ("200 of 300 photos used, evenly spaced",)
    assert scan.notes == ('300 photos of "keys" but 3 of "mug": add photos of "mug"',)
    (tmp_path / "mug" / "b.jpg").write_bytes(b"\xff\xd8\xff another")
    put_jpegs(tmp_path, "mug/a.jpg")
    one = scan_objects(tmp_path, max_photos=1)
    assert names(one) == {"keys": ["keys/150.jpg"], "mug": ["mug/b.jpg"]}


@pytest.mark.parametrize("label", ["car keys", "🔑", "鍵", "[keys]", "a\nb", "a\tb", "k" * 120])
def test_labels_are_kept_exactly(tmp_path, label):
    assert list(names(scan_objects(make(tmp_path, f"{label}/x.jpg")))) == [label]


def test_labels_that_are_not_utf8_can_be_saved(tmp_path):
    folder = os.fsencode(tmp_path) + b"/caf\xe9"
    try:
        os.mkdir(folder)  # noqa: PTH102 (bytes)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    Path(os.fsdecode(folder), "a.jpg").write_bytes(b"x")
    Path(os.fsdecode(folder), "b.txt").write_bytes(b"x")
    scan = scan_objects(tmp_path)
    assert scan.objects[0].label == "caf\ufffd" and scan.skipped[0].path == "caf\ufffd/b.txt"
    assert scan.objects[0].photos[0].exists()


def test_two_spellings_of_one_label_are_merged(tmp_path):
    composed, decomposed = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    make(tmp_path, f"{composed}/a.jpg", f"{decomposed}/b.jpg")
    if len(list(tmp_path.iterdir())) == 1:
        pytest.skip("this file system merges the two names itself")
    scan = scan_objects(tmp_path)
    assert [found.label for found in scan.objects] == [composed]
    assert len(scan.objects[0].photos) == 2
    assert scan.notes == (f'two folders are both called "{composed}": merged',)


def test_labels_that_differ_in_case_are_kept_with_a_warning(tmp_path):
    make(tmp_path, "Keys/a.jpg", "keys/b.jpg")
    if len(list(tmp_path.iterdir())) == 1:
        pytest.skip("this file system ignores case")
    scan = scan_objects(tmp_path)
    assert list(names(scan)) == ["Keys", "keys"]
    assert scan.notes == ('"Keys" and "keys" differ only in case; they are kept as 2 objects',)


def test_labels_that_differ_in_a_space_are_kept_with_a_warning(tmp_path):
    make(tmp_path, "my mug/a.jpg", "my mug /b.jpg", "my  Mug/c.jpg")
    said = '"my  Mug" and "my mug" and "my mug " differ only in case or spaces'
    assert scan_objects(tmp_path).notes == (f"{said}; they are kept as 3 objects",)


def test_an_object_called_unknown_is_refused(tmp_path):
    error = refusal(make(tmp_path, "keys/a.jpg", "Unknown/b.jpg"))
    assert error.what == "unknown is litecli's word for none of these; rename the folder"
    assert error.code == ExitCode.INPUT


def test_scanning_writes_nothing(tmp_path):
    make(tmp_path, "keys/a.jpg", "mug/b.jpg", "c.txt")
    before = {path: path.stat().st_mtime_ns for path in [tmp_path, *tmp_path.rglob("*")]}
    scan_objects(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in [tmp_path, *tmp_path.rglob("*")]} == before


def test_list_photos_of_a_folder(tmp_path):
    make(tmp_path, "b.jpg", "a.png", "notes.txt", ".DS_Store", "deeper/c.jpg")
    photos, skipped = list_photos(tmp_path, recursive=False)
    assert photos == [tmp_path / "a.png", tmp_path / "b.jpg"]
    assert [(one.path, one.reason) for one in skipped] == [("notes.txt", "not a photo")]
    photos, _ = list_photos(tmp_path, recursive=True)
    assert photos == [tmp_path / "a.png", tmp_path / "b.jpg", tmp_path / "deeper" / "c.jpg"]
