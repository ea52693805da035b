"""Folders as they are, not as they should be: rows 1 to 15 and 28 to 38 of the bad inputs.

Each test is one row: the command line is typed, and what is answered is read. That each kind of
folder is found at all is test_folders.py's and test_folder_entries.py's part.
"""

import json
import os
import shutil
import unicodedata
from pathlib import Path

import pytest

from litecli import library
from litecli.personal import support


@pytest.fixture
def adapt(run):
    """`adapt(...)` in the folder of the test -> (exit code, stdout and stderr together)."""

    def call(*arguments: object) -> tuple[int, str]:
        code, out, err = run("adapt", *(arguments or ("my_objects",)))
        return code, out + err

    return call


@pytest.fixture
def two(write_objects) -> Path:
    """A folder of two objects with nothing wrong."""
    return write_objects({"keys": 4, "mug": 4})


def row_of(told: str, label: str) -> str:
    """The line of adapt's table about one object."""
    return next(line for line in told.splitlines() if line.startswith(f"  {label} "))


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


def test_row_28_the_same_photo_in_two_objects(adapt, two: Path, photo) -> None:
    for path in ("keys/a.jpg", "mug/b.jpg"):
        (two / path).write_bytes(photo("bowl", 1))
    code, told = adapt()
    assert code == 0
    assert "keys/a.jpg and mug/b.jpg are the same photo: which is it? Left out." in told
    assert [row_of(told, label).split()[1] for label in ("keys", "mug")] == ["4", "4"]


def test_row_28_two_folders_with_the_same_photos(run, two: Path) -> None:
    shutil.rmtree(two / "mug")
    shutil.copytree(two / "keys", two / "mug")
    code, _, err = run("adapt", two)
    what, why, fix = err.splitlines()[-3:]
    assert code == 3 and what == f"Error: The object folders in {two} are copies of each other."
    assert why == "  Each photo is in two of them, e.g. keys/IMG_0.jpg and mug/IMG_0.jpg."
    assert fix == "  Try: leave every photo only in the folder of the object it shows"


def test_row_29_the_same_photo_twice_in_one_object(adapt, two: Path) -> None:
    (two / "keys" / "IMG_0 (1).jpg").write_bytes((two / "keys" / "IMG_0.jpg").read_bytes())
    code, told = adapt()
    assert code == 0 and row_of(told, "keys").split()[1] == "4"
    assert "  keys/IMG_0 (1).jpg (same photo as keys/IMG_0.jpg)" in told


def test_row_30_a_burst_is_about_one_view(adapt, two, put, photo) -> None:
    shot = bytearray(photo("bowl", 7))
    for number in range(12):  # a comment makes another file of the same picture
        comment = b"\xff\xfe\0\x03" + bytes([number])
        put(f"my_objects/bowl/{number:02}.jpg", bytes(shot[:2] + comment + shot[2:]))
    code, told = adapt()
    row = row_of(told, "bowl")
    assert code == 0 and row.split()[1] == "12"
    assert "12 photos are nearly the same shot (about 1 view); move around it" in row


@pytest.mark.parametrize("label", ["my keys", "鍵 🔑", "[keys]", "[bold]a[", "&lt;b&gt;"])
def test_row_31_labels_are_shown_exactly(adapt, run, two: Path, label: str) -> None:
    (two / "keys").rename(two / label)
    code, told = adapt()
    assert code == 0 and f"  {label}  " in told
    found = run("classify", two / label / "IMG_0.jpg", "--no-unknown")[1]
    assert found.split("\t")[1] == label


def test_row_31_a_label_that_looks_like_closing_markup(adapt, run, two: Path) -> None:
    (two / "keys").rename(two / "a[")
    nested = two / "a[" / "b]"  # "a[/]b" as a path
    nested.mkdir()
    (two / "a[" / "IMG_0.jpg").rename(nested / "x.jpg")
    code, told = adapt()
    assert code == 0 and "part of it (a[/b])" in told


def test_row_32_two_spellings_and_two_cases(adapt, put, photo) -> None:
    composed, decomposed = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    for number, label in enumerate((composed, decomposed, "Keys", "keys")):
        for view in range(2):
            put(f"my_objects/{label}/{view}.jpg", photo("mug", 10 * number + view))
    if len(list(Path("my_objects").iterdir())) < 4:
        pytest.skip("this file system takes some of the names for one")
    code, told = adapt()
    assert code == 0 and f'two folders are both called "{composed}": merged' in told
    assert '"Keys" and "keys" differ only in case; they are kept as 2 objects' in told
    assert row_of(told, composed).split()[1] == "4" and row_of(told, "Keys")


@pytest.mark.parametrize("name", ["unknown", "Unknown", "UNKNOWN"])
def test_row_33_an_object_called_unknown(adapt, two: Path, name: str) -> None:
    (two / "mug").rename(two / name)
    code, told = adapt()
    assert code == 3
    assert "unknown is litecli's word for none of these; rename the folder" in told
    assert library.profile_names() == []


def test_row_34_odd_and_long_labels(adapt, run, two: Path) -> None:
    odd, long = "my\tkeys\n2", "m" * 120
    (two / "keys").rename(two / odd)
    (two / "mug").rename(two / long)
    code, told = adapt()
    assert code == 0 and "  my\\tkeys\\n2  " in told and "m" * 39 + "…" in told
    assert library.load_profile().labels == (long, odd)
    first = two / odd / "IMG_0.jpg"
    _, out, _ = run("classify", first, "--no-unknown", "--csv", "out.csv")
    assert ",my\\tkeys\\n2,true," in Path("out.csv").read_text()
    _, out, _ = run("classify", two / long / "IMG_0.jpg", "--no-unknown")
    assert out.split("\t")[1] == long
    _, out, _ = run("classify", first, "--no-unknown", "--json")
    assert json.loads(out)["label"] == odd


def test_row_35_links(adapt, two: Path, put, photo) -> None:
    put("elsewhere/1.jpg", photo("keys", 99))
    keys = two / "keys"
    (keys / "linked.jpg").symlink_to(two.parent / "elsewhere" / "1.jpg")
    (keys / "broken.jpg").symlink_to(two.parent / "gone.jpg")
    (keys / "loop").symlink_to(two, target_is_directory=True)
    code, told = adapt()
    assert code == 0 and row_of(told, "keys").split()[1] == "5"
    assert "  keys/broken.jpg (broken link)" in told
    assert "  keys/loop (link to a folder already read)" in told


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_row_36_pipes_and_devices_are_never_opened(adapt, run, two: Path) -> None:
    pipe = two / "keys" / "pipe.jpg"
    os.mkfifo(pipe)
    (two / "mug" / "null.jpg").symlink_to(os.devnull)
    code, told = adapt()  # opening the pipe would wait for ever
    assert code == 0 and "  keys/pipe.jpg (not a regular file)" in told
    assert "  mug/null.jpg (not a regular file)" in told
    code, _, err = run("classify", "my_objects/keys/pipe.jpg")
    assert code == 3 and "pipe.jpg: not a regular file" in err


def forbid(monkeypatch: pytest.MonkeyPatch, name: str, owner: object, function: str) -> None:
    """Let `owner.function` refuse paths that end in `name`, for root too."""
    plain = getattr(owner, function)

    def guarded(path, *arguments, **options):
        if Path(path).name == name:
            raise PermissionError(13, "Permission denied", str(path))
        return plain(path, *arguments, **options)

    monkeypatch.setattr(owner, function, guarded)


def test_row_37_no_permission(adapt, two, monkeypatch: pytest.MonkeyPatch) -> None:
    forbid(monkeypatch, "IMG_0.jpg", Path, "read_bytes")
    code, told = adapt()
    assert code == 0 and "  keys/IMG_0.jpg (no permission to read)" in told
    forbid(monkeypatch, "mug", os, "listdir")
    code, told = adapt("my_objects", "--name", "half")
    assert code == 0 and "  mug (no permission to read)" in told
    forbid(monkeypatch, "my_objects", os, "listdir")
    monkeypatch.setattr(os, "access", lambda *_, **__: False)  # Typer would ask first
    code, told = adapt()
    assert code == 3 and "cannot read ./my_objects: permission" in told


def test_row_38_a_file_that_vanishes(adapt, two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = support.read_file

    def too_late(path: Path) -> bytes:
        (two / "keys" / "IMG_1.jpg").unlink(missing_ok=True)
        return read(path)

    monkeypatch.setattr(support, "read_file", too_late)
    code, told = adapt()
    assert code == 0 and "  keys/IMG_1.jpg (changed while reading)" in told
    assert row_of(told, "keys").split()[1] == "3"
