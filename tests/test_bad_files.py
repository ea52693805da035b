"""Copies, odd names, and files that cannot be read: rows 28 to 38 of the bad inputs.

Each test is one row, typed and answered as in test_bad_folders.py.
"""

import json
import os
import shutil
import unicodedata
from pathlib import Path

import pytest

from litecli import library
from litecli.personal import support

from .small_objects import adapt, row_of, two

__all__ = ("adapt", "two")  # fixtures


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
