"""Scanning a folder of objects: what is found, what is skipped, and what is refused and why."""

import os
import socket
import subprocess
import sys
import unicodedata
from itertools import pairwise
from pathlib import Path

import pytest

from litecli.errors import ExitCode, LiteError
from litecli.photos.folders import Scan, list_photos, scan_objects


def make(root: Path, *files: str) -> Path:
    """Files with one byte each: scanning opens none of them."""
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(b"x")
    return root


def names(scan: Scan) -> dict[str, list[str]]:
    return {
        found.label: [path.relative_to(scan.folder).as_posix() for path in found.photos]
        for found in scan.objects
    }


def reasons(scan: Scan) -> dict[str, str]:
    return {skipped.path: skipped.reason for skipped in scan.skipped}


def refusal(folder: Path) -> LiteError:
    with pytest.raises(LiteError) as caught:
        scan_objects(folder)
    return caught.value


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
    make(tmp_path, *files, "mug/a.jpg", "mug/b.jpg", "mug/c.jpg")
    scan = scan_objects(tmp_path, max_photos=200)
    kept = names(scan)["keys"]
    numbers = [files.index(name) for name in kept]
    assert len(set(numbers)) == 200 and numbers == sorted(numbers)
    gaps = [after - before for before, after in pairwise(numbers)]
    assert set(gaps) == {1, 2} and numbers[0] <= 1 and numbers[-1] >= 298
    assert scan.objects[0].notes == ("200 of 300 photos used, evenly spaced",)
    assert scan.notes == ('300 photos of "keys" but 3 of "mug": add photos of "mug"',)
    assert names(scan_objects(tmp_path, max_photos=1))["keys"] == ["keys/150.jpg"]


def test_clutter_is_ignored_without_a_word(tmp_path):
    clutter = [
        "keys/.DS_Store",
        "keys/Thumbs.db",
        "keys/desktop.ini",
        "keys/._IMG_1.jpg",
        "keys/.ipynb_checkpoints/a.jpg",
        "__MACOSX/keys/a.jpg",
        "@eaDir/a.jpg",
        ".git/a.jpg",
    ]
    scan = scan_objects(make(tmp_path, "keys/a.jpg", "keys/b.jpg", *clutter))
    assert names(scan) == {"keys": ["keys/a.jpg", "keys/b.jpg"]}
    assert scan.skipped == () and scan.notes == ()
    assert scan.ignored == len(clutter)


def test_sidecars_are_not_photos(tmp_path):
    sidecars = ["keys/a.AAE", "keys/a.jpg.json", "keys/notes.txt", "keys/a.xmp"]
    scan = scan_objects(make(tmp_path, "keys/a.jpg", "keys/b.jpg", *sidecars))
    assert reasons(scan) == dict.fromkeys(sidecars, "not a photo")
    assert scan.notes == ("not photos (4)",)


def test_videos_are_named_unless_they_are_the_twin_of_a_still(tmp_path):
    twins = ["keys/IMG_1.MOV", "keys/img_2.mp4", "keys/PXL_3.MP"]
    stills = ["keys/IMG_1.HEIC", "keys/IMG_2.jpg", "keys/PXL_3.MP.jpg"]
    scan = scan_objects(make(tmp_path, *stills, *twins, "keys/film.mp4", "keys/day2/IMG_1.mov"))
    reason = "videos are not read yet; export frames or take photos"
    assert reasons(scan) == {"keys/film.mp4": reason, "keys/day2/IMG_1.mov": reason}
    assert scan.ignored == len(twins)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.dng", "RAW"), ("a.CR3", "RAW"), ("a.svg", "SVG"), ("a.pdf", "PDF"), ("a.psd", "PSD")],
)
def test_other_formats_ask_for_jpeg(tmp_path, name, kind):
    scan = scan_objects(make(tmp_path, "keys/b.jpg", f"keys/{name}"))
    assert reasons(scan) == {f"keys/{name}": f"{kind} is not supported; export as JPEG"}


def test_icloud_placeholder_is_named(tmp_path):
    scan = scan_objects(make(tmp_path, "keys/a.jpg", "keys/.IMG_2.HEIC.icloud"))
    assert reasons(scan) == {
        "keys/.IMG_2.HEIC.icloud": "empty file - is it still in the cloud?",
    }


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


def test_an_object_called_unknown_is_refused(tmp_path):
    error = refusal(make(tmp_path, "keys/a.jpg", "Unknown/b.jpg"))
    assert error.what == "unknown is litecli's word for none of these; rename the folder"
    assert error.code == ExitCode.INPUT


def test_links_are_followed_and_each_real_folder_is_read_once(tmp_path):
    make(tmp_path, "elsewhere/1.jpg", "elsewhere/2.jpg", "my/keys/a.jpg")
    keys = tmp_path / "my" / "keys"
    (keys / "linked.jpg").symlink_to(tmp_path / "elsewhere" / "1.jpg")
    (keys / "broken.jpg").symlink_to(tmp_path / "gone.jpg")
    (keys / "itself.jpg").symlink_to(keys / "itself.jpg")
    (keys / "loop").symlink_to(tmp_path / "my", target_is_directory=True)
    (tmp_path / "my" / "mug").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "my" / "a_link").symlink_to(keys, target_is_directory=True)
    scan = scan_objects(tmp_path / "my")
    assert names(scan) == {
        "keys": ["keys/a.jpg", "keys/linked.jpg"],
        "mug": ["mug/1.jpg", "mug/2.jpg"],
    }
    assert reasons(scan) == {
        "keys/broken.jpg": "broken link",
        "keys/itself.jpg": "broken link",
        "keys/loop": "link to a folder already read",
        "a_link": "link to a folder already read",
    }


def test_a_link_in_one_object_does_not_take_another_ones_photos(tmp_path):
    root = make(tmp_path / "my", "clock/c.jpg", "vase/a.jpg", "vase/day1/b.jpg")
    make(tmp_path / "shoes", "s.jpg")
    make(tmp_path / "more", "m.jpg")
    for link, target in {
        "clock/whole": root / "vase",
        "clock/part": root / "vase" / "day1",
        "clock/worn": tmp_path / "shoes",
        "clock/own": tmp_path / "more",  # nobody else's: followed
        "shoes": tmp_path / "shoes",
    }.items():
        (root / link).symlink_to(target, target_is_directory=True)
    scan = scan_objects(root)
    assert names(scan) == {
        "clock": ["clock/c.jpg", "clock/own/m.jpg"],
        "shoes": ["shoes/s.jpg"],
        "vase": ["vase/a.jpg", "vase/day1/b.jpg"],
    }
    links = ("clock/part", "clock/whole", "clock/worn")
    assert reasons(scan) == dict.fromkeys(links, "link into another object's folder")


def test_a_link_does_not_lead_above_the_folder(tmp_path):
    root = make(tmp_path / "up" / "my", "keys/a.jpg")
    make(tmp_path, "up/stray.jpg", "stray.jpg")
    for link, target in {"keys/up": root.parent, "keys/root": Path("/"), "all": tmp_path}.items():
        (root / link).symlink_to(target, target_is_directory=True)
    scan = scan_objects(root)
    assert names(scan) == {"keys": ["keys/a.jpg"]}
    links = ("all", "keys/root", "keys/up")
    assert reasons(scan) == dict.fromkeys(links, "link to a folder above the photos")
    photos, skipped = list_photos(root, recursive=True)
    assert photos == [root / "keys" / "a.jpg"]
    assert sorted(one.path for one in skipped) == sorted(links)


def test_a_link_upwards_alone_is_no_object(tmp_path):
    root = tmp_path / "my"
    root.mkdir()
    (root / "all").symlink_to(tmp_path, target_is_directory=True)
    assert refusal(root).why == "all: link to a folder above the photos"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a path may not be so long")
def test_folders_nested_deeper_than_python_calls(tmp_path, monkeypatch):
    make(tmp_path, "my/keys/a.jpg")
    monkeypatch.chdir(tmp_path / "my" / "keys")
    for _ in range(1200):
        Path("d").mkdir()
        monkeypatch.chdir("d")
    Path("b.jpg").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    try:
        scan = scan_objects(Path("my"))
    finally:  # pytest tidies up by recursion
        subprocess.run(["rm", "-rf", "my"], check=True)
    assert names(scan) == {"keys": ["keys/a.jpg", "keys/" + "d/" * 1200 + "b.jpg"]}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipes_and_sockets_are_skipped_unopened(tmp_path, monkeypatch):
    make(tmp_path, "keys/a.jpg")
    os.mkfifo(tmp_path / "keys" / "pipe.jpg")
    monkeypatch.chdir(tmp_path / "keys")  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.jpg")
        scan = scan_objects(tmp_path)
    assert names(scan) == {"keys": ["keys/a.jpg"]}
    assert reasons(scan) == dict.fromkeys(
        ("keys/pipe.jpg", "keys/socket.jpg"), "not a regular file"
    )


def without_permission(monkeypatch, folder: Path) -> None:
    """Forbid listing a folder, for root too."""
    listdir = os.listdir

    def guarded(path):
        if Path(path) == folder:
            raise PermissionError(13, "Permission denied")
        return listdir(path)

    monkeypatch.setattr(os, "listdir", guarded)


def test_unreadable_object_folder_is_skipped(tmp_path, monkeypatch):
    make(tmp_path, "keys/a.jpg", "mug/b.jpg")
    without_permission(monkeypatch, tmp_path / "mug")
    scan = scan_objects(tmp_path)
    assert list(names(scan)) == ["keys"]
    assert reasons(scan) == {"mug": "no permission to read"}


def test_unreadable_folder_is_an_error(tmp_path, monkeypatch):
    make(tmp_path, "my/keys/a.jpg")
    monkeypatch.chdir(tmp_path)
    without_permission(monkeypatch, Path("my"))
    error = refusal(Path("my"))
    assert (error.what, error.code) == ("cannot read ./my: permission", ExitCode.INPUT)


def test_a_file_that_vanishes_during_the_scan_is_skipped(tmp_path, monkeypatch):
    make(tmp_path, "keys/a.jpg", "keys/b.jpg")
    listdir = os.listdir

    def then_remove(path):
        found = listdir(path)
        (tmp_path / "keys" / "b.jpg").unlink(missing_ok=True)
        return [*found, "b.jpg"] if Path(path).name == "keys" and "b.jpg" not in found else found

    monkeypatch.setattr(os, "listdir", then_remove)
    scan = scan_objects(tmp_path)
    assert names(scan) == {"keys": ["keys/a.jpg"]}
    assert reasons(scan) == {"keys/b.jpg": "changed while reading"}


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
