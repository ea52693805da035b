"""Folders as they are, not as they should be: rows 1 to 15 of the bad inputs.

Each test is one row: the command line is typed, and what is answered is read. That each kind of
folder is found at all is test_folders.py's and test_folder_entries.py's part.
"""

from pathlib import Path

import pytest

from .small_objects import adapt, row_of, two

__all__ = ("adapt", "two")  # fixtures


def test_row_1_folder_that_does_not_exist(adapt, two) -> None:
    code, told = adapt("my_objcts")
    assert code == 2
    assert told == "Error: No folder ./my_objcts. Did you mean ./my_objects?\n"


def test_row_2_a_file_or_a_zip_for_a_folder(adapt, put, photo) -> None:
    put("photo.jpg", photo("keys", 1))
    put("my things.zip", b"PK\x03\x04")
    code, told = adapt("photo.jpg")
    assert code == 2 and "./photo.jpg is a file; give the folder" in told
    code, told = adapt("my things.zip")
    assert code == 2 and "is a file; unzip it first: unzip 'my things.zip'" in told


def test_row_3_empty_folder(adapt, tmp_path: Path) -> None:
    (tmp_path / "my_objects").mkdir()
    code, told = adapt()
    assert code == 3 and "no sub-folders and no photos" in told
    assert "    my_objects/keys/IMG_1.jpg\n    my_objects/keys/IMG_2.jpg\n" in told


def test_row_4_photos_without_sub_folders(adapt, put, photo) -> None:
    put("my_objects/IMG 1.jpg", photo("keys", 1))
    code, told = adapt()
    assert code == 3
    assert told.splitlines() == [
        "Error: ./my_objects has photos but no sub-folders.",
        "  Each object needs its own folder, e.g. my_objects/keys/IMG 1.jpg.",
        "  Try: mkdir ./my_objects/keys && mv './my_objects/IMG 1.jpg' ./my_objects/keys/",
    ]


def test_row_5_loose_photos_beside_the_objects(adapt, two, put, photo) -> None:
    for number in range(3):
        put(f"my_objects/{number}.jpg", photo("bowl", number))
    code, told = adapt()
    assert code == 0 and "Note: 3 photos are not in an object folder\n" in told
    assert "Learned 2 objects from 8 photos" in told and "(not in an object folder)" in told


def test_row_6_one_object_is_known_or_unknown(adapt, run, write_objects) -> None:
    folder = write_objects({"keys": 3})
    code, told = adapt()
    assert code == 0 and 'only one object: answers will be "keys" or "unknown"' in told
    code, _, err = run("classify", folder / "keys" / "IMG_0.jpg", "--no-unknown")
    assert code == 2 and "only one object" in err and "leave --no-unknown out" in err


def test_row_7_one_level_too_deep(adapt, two: Path, tmp_path: Path) -> None:
    two.rename(tmp_path / "inner")
    (tmp_path / "my_objects").mkdir()
    (tmp_path / "inner").rename(tmp_path / "my_objects" / "my_objects")
    code, told = adapt()
    assert code == 3 and "The objects seem to be one level down." in told
    assert told.endswith("  Try: litecli adapt ./my_objects/my_objects\n")


@pytest.mark.parametrize("held_out", ["val", "test", "Validation"])
def test_row_8_a_data_split(adapt, put, photo, held_out: str) -> None:
    for part in ("train", held_out):
        put(f"my_objects/{part}/keys/a.jpg", photo("keys", 1))
    code, told = adapt()
    assert code == 3
    assert "These look like a data split, not objects; adapt ./my_objects/train" in told


def test_row_9_nested_folders_are_one_object(adapt, two, put, photo) -> None:
    for day in ("day1", "day2/evening"):
        put(f"my_objects/keys/{day}/a.jpg", photo("keys", len(day)))
    code, told = adapt()
    assert code == 0 and row_of(told, "keys").split()[1] == "6"
    assert told.count("sub-folders of an object are part of it (keys/day1)") == 1


def test_row_10_empty_object_folder(adapt, two: Path) -> None:
    (two / "bowl").mkdir()
    code, told = adapt()
    assert code == 0 and 'Note: no photos in "bowl": left out\n' in told
    for name in ("keys", "mug"):
        (two / name).rename(two.parent / name)
    code, told = adapt()
    assert code == 3 and "no photos in its sub-folders" in told


def test_row_11_one_photo(adapt, two, put, photo) -> None:
    put("my_objects/bowl/a.jpg", photo("bowl", 1))
    code, told = adapt()
    row = row_of(told, "bowl")
    assert code == 0 and row.split()[:3] == ["bowl", "1", "-"]
    assert row.count("1 photo: add 4 more from other sides") == 1


def test_row_12_many_photos_of_one_and_few_of_another(adapt, put, photo) -> None:
    for number in range(30):
        put(f"my_objects/keys/{number:03}.jpg", photo("keys", number))
        put(f"my_objects/mug/{number // 10}.jpg", photo("mug", number))
    code, told = adapt("my_objects", "--max-photos", "20")
    assert code == 0 and "20 of 30 photos used, evenly spaced" in row_of(told, "keys")
    assert 'Note: 30 photos of "keys" but 3 of "mug": add photos of "mug"\n' in told


def test_row_13_clutter_without_a_word(adapt, two, put) -> None:
    clean = adapt()[1]
    names = [".DS_Store", "Thumbs.db", "desktop.ini", "._IMG_1.jpg", ".ipynb_checkpoints/a.jpg"]
    for name in names:
        put(f"my_objects/keys/{name}")
    for name in ("__MACOSX/keys/a.jpg", "@eaDir/a.jpg", ".git/a.jpg"):
        put(f"my_objects/{name}")
    code, told = adapt()
    assert code == 0 and "Skipped" not in told and "Note" not in told
    assert len(told.splitlines()) == len(clean.splitlines())
    assert "Ignored 8 more: system files" in adapt("my_objects", "-v")[1]


def test_row_14_sidecars(adapt, two, put) -> None:
    for name in ("IMG_1.AAE", "IMG_1.jpg.json", "notes.txt", "IMG_1.xmp"):
        put(f"my_objects/keys/{name}")
    code, told = adapt()
    assert code == 0 and "Skipped 4 files:" in told and "Note: not photos (4)\n" in told
    assert "  keys/IMG_1.AAE (not a photo)" in told


def test_row_15_videos(adapt, two, put, run) -> None:
    put("my_objects/keys/IMG_0.MOV")  # a Live Photo's other half
    assert "IMG_0.MOV" not in adapt()[1]
    film = put("my_objects/keys/film.mp4", b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom")
    reason = "videos are not read yet; export frames or take photos"
    code, told = adapt()
    assert code == 0 and f"  keys/film.mp4 ({reason})" in told
    code, _, err = run("classify", film)
    assert code == 3 and reason in err
    film.rename(film.with_name("film.jpg"))
    code, told = adapt()
    assert code == 0 and f"  keys/film.jpg ({reason})" in told
