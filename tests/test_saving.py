"""Bytes on disk: whole or not at all, and what stood in the way is told."""

import errno
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from litecli import storage
from litecli.errors import ExitCode, LiteError

from .small_tensors import TENSORS


def test_a_full_disk_leaves_every_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    storage.write_together({first: b"old 1", second: b"old 2"})
    synced = []

    def full_at_the_second(handle: int) -> None:
        synced.append(handle)
        if len(synced) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_at_the_second)
    with pytest.raises(LiteError) as caught:
        storage.write_together({first: b"new 1", second: b"new 2"}, what="profile x", fix="-o FILE")
    error = caught.value
    assert error.code == ExitCode.MACHINE
    assert error.what == "Could not save profile x (disk full)."
    assert (
        error.why == f"It needs less than 1 MB in {tmp_path}; what was there before is untouched."
    )
    assert error.fix == "-o FILE"
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        "first": b"old 1",
        "second": b"old 2",
    }


WRITERS = {
    "bytes": lambda path, **options: storage.atomic_write(path, b"data", **options),
    "files": lambda path, **options: storage.write_together({path: b"data"}, **options),
    "tensors": lambda path, **options: storage.write_tensors(path, TENSORS, {}, **options),
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_file_in_the_way_of_a_folder_is_the_machines_refusal(
    tmp_path: Path, write: Callable[..., None]
) -> None:
    (tmp_path / "file").write_bytes(b"")
    path = tmp_path / "file" / "x"
    with pytest.raises(LiteError) as caught:
        write(path)
    assert caught.value.code == ExitCode.MACHINE
    assert caught.value.what.startswith(f"Could not save {path} (") and caught.value.fix == ""
    with pytest.raises(LiteError, match=r"^Could not save profile x \(") as caught:
        write(path, what="profile x", fix="-o FILE")
    assert caught.value.fix == "-o FILE"


@pytest.mark.parametrize(
    ("size", "words"),
    [(999_999, "less than 1 MB"), (1_000_000, "1 MB"), (2_600_000, "3 MB")],
)
def test_how_much_room_a_file_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, words: str
) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(LiteError) as caught:
        storage.atomic_write(tmp_path / "x", bytes(size))
    assert (caught.value.why or "").startswith(f"It needs {words} in {tmp_path};")


def test_an_error_that_the_system_did_not_number_is_told_as_it_is() -> None:
    assert storage.plain_reason(ValueError("Odd bytes")) == "odd bytes"


def test_leftovers_of_a_killed_program_are_cleared_as_far_as_they_can_be(tmp_path: Path) -> None:
    """Those of one file alone; whoever writes next says what is wrong with the folder."""
    path, names = tmp_path / "x", []

    def killed(source: Path, target: Path) -> Path:
        names.append(source)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Path, "replace", killed)
        patched.setattr(Path, "unlink", lambda *_, **__: None)
        for target in (path, tmp_path / "y", path):
            with pytest.raises(KeyboardInterrupt):
                storage.atomic_write(target, b"data")
    names[0].unlink()
    names[0].mkdir()  # cannot be unlinked
    storage.clear_temporary(path)
    assert sorted(tmp_path.iterdir()) == sorted(names[:2])


REASONS = [
    (OSError(errno.ENOSPC, "No space left on device"), "disk full"),
    (OSError(errno.EDQUOT, "Disk quota exceeded"), "disk full"),
    (OSError(errno.EACCES, "Permission denied"), "no permission to write"),
    (OSError(errno.EPERM, "Operation not permitted"), "no permission to write"),
    (OSError(errno.EROFS, "Read-only file system"), "no permission to write"),
    (OSError(errno.EIO, "Input/output error"), "input/output error"),
    (OSError("The drive is gone"), "the drive is gone"),
]


@pytest.mark.parametrize("step", ["open", "fsync", "replace"])
@pytest.mark.parametrize(("error", "words"), REASONS, ids=[str(error) for error, _ in REASONS])
def test_why_a_file_could_not_be_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: OSError, words: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(os if step == "fsync" else Path, step, refuse)
    with pytest.raises(LiteError) as caught:
        storage.atomic_write(tmp_path / "x", b"data", what="profile x")
    assert caught.value.what == f"Could not save profile x ({words})."
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_vanishes_meanwhile_is_no_bug(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A memory stick pulled out: the temporary file to be tidied away is gone as well."""
    path = tmp_path / "stick" / "x"
    monkeypatch.setattr(os, "fsync", lambda handle: shutil.rmtree(path.parent))
    with pytest.raises(LiteError, match="no such file") as caught:
        storage.atomic_write(path, b"data")
    assert caught.value.code == ExitCode.MACHINE


@pytest.mark.skipif(os.name != "posix", reason="folders cannot be flushed here")
def test_bytes_reach_the_disk_before_the_name_and_then_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a power cut at any moment each name stands for all of the old bytes or of the new."""
    done, fsync, replace = [], os.fsync, Path.replace

    def flush(handle: int) -> None:
        fsync(handle)
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            assert os.path.samestat(os.fstat(handle), tmp_path.stat())
            done.append("folder flushed")
        else:
            done.append(f"{os.fstat(handle).st_size} bytes flushed")

    def rename(source: Path, target: Path) -> Path:
        done.append(f"{target.name} renamed")
        return replace(source, target)

    monkeypatch.setattr(os, "fsync", flush)
    monkeypatch.setattr(Path, "replace", rename)
    storage.write_together({tmp_path / "one": b"1", tmp_path / "two": b"22"})
    assert done == [
        *("1 bytes flushed", "2 bytes flushed"),
        *("one renamed", "folder flushed", "two renamed", "folder flushed"),
    ]


def test_a_written_file_leaves_nothing_open(tmp_path: Path) -> None:
    """A long run saves often, and a process may hold only so many files open."""

    def next_handle() -> int:
        handle = os.dup(1)
        os.close(handle)
        return handle

    before = next_handle()
    storage.write_together({tmp_path / "one": b"1", tmp_path / "two": b"22"})
    assert next_handle() == before


def test_only_a_file_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    os.mkfifo(pipe := tmp_path / "pipe")
    for path in (folder, pipe):
        with pytest.raises(LiteError, match=r" \(it is a folder or a device\)\.$"):
            storage.atomic_write(path, b"new")
    assert folder.is_dir() and pipe.is_fifo() and len(list(tmp_path.iterdir())) == 2
