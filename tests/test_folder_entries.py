"""What lies in a folder beside its photos: clutter, links, pipes, and what may not be read."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from litecli.errors import ExitCode
from litecli.photos.folders import list_photos, scan_objects

from .small_folders import make, names, reasons, refusal


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
