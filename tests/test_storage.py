"""Bytes on disk: whole or not at all, the same for the same content, and found again."""

import errno
import hashlib
import os
import random
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from litecli import storage
from litecli.errors import ExitCode, LiteError
from litecli.storage import shipped_models_dir  # as it is: conftest.py puts another in its place

TENSORS = {
    "b": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a": np.array(7, dtype=np.int64),
    "text": np.frombuffer(b"jpeg", dtype=np.uint8),
}
READERS = {
    "tensors": storage.read_tensors,
    "metadata": storage.read_metadata,
    "offsets": storage.tensor_offsets,
    "hash": lambda path: storage.files_sha256([path]),
}


def check_damaged(error: LiteError, path: Path) -> None:
    """The file's name, what the reader said, and the exit code that scripts branch on."""
    assert error.what == f"{path} is damaged."
    assert error.why == str(error.__cause__) != ""
    assert error.code == ExitCode.MISSING


def test_tensors_and_metadata_come_back_as_they_went(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "x.safetensors"
    storage.write_tensors(path, TENSORS, {"name": "café [keys]"})
    tensors, metadata = storage.read_tensors(path)
    assert metadata == {"name": "café [keys]"} == storage.read_metadata(path)
    assert tensors.keys() == TENSORS.keys()
    for name, array in TENSORS.items():
        np.testing.assert_array_equal(tensors[name], array, strict=True)
    some, metadata = storage.read_tensors(path, names={"a", "another"})
    assert some.keys() == {"a"} and metadata == {"name": "café [keys]"}


def test_a_file_of_another_program_has_no_metadata(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    safetensors.numpy.save_file(TENSORS, path)
    assert storage.read_metadata(path) == storage.read_tensors(path)[1] == {}
    offset, length = storage.tensor_offsets(path)["b"]
    assert path.read_bytes()[offset : offset + length] == TENSORS["b"].tobytes()


def test_metadata_is_short_and_legible_text() -> None:
    assert storage.to_json({"b": [1, None], "a": "café"}) == '{"a":"café","b":[1,null]}'


@pytest.mark.parametrize("length", range(8))
def test_the_values_start_at_a_multiple_of_eight_bytes(tmp_path: Path, length: int) -> None:
    """Safetensors asks for it: a program may map the file and read the numbers where they lie."""
    path = tmp_path / "x.safetensors"
    storage.write_tensors(path, TENSORS, {"name": "x" * length})
    assert min(offset for offset, _ in storage.tensor_offsets(path).values()) % 8 == 0


def test_same_content_gives_the_same_bytes_whatever_the_order() -> None:
    metadata = {f"key {n}": str(n) for n in range(8)}
    expected = storage.tensor_bytes(TENSORS, metadata)
    for seed in range(10):  # safetensors alone writes the metadata in a random order
        names, keys = list(TENSORS), list(metadata)
        random.Random(seed).shuffle(names)
        random.Random(seed).shuffle(keys)
        again = storage.tensor_bytes({n: TENSORS[n] for n in names}, {k: metadata[k] for k in keys})
        assert again == expected


def test_offsets_point_at_the_values(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    storage.write_tensors(path, TENSORS, {"one": "1", "another": "2"})
    data = path.read_bytes()
    offsets = storage.tensor_offsets(path)
    assert offsets.keys() == TENSORS.keys()
    for name, (offset, length) in offsets.items():
        assert data[offset : offset + length] == TENSORS[name].tobytes()


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


REASONS = [
    (OSError(errno.ENOSPC, "No space left on device"), "disk full"),
    (OSError(errno.EDQUOT, "Disk quota exceeded"), "disk full"),
    (OSError(errno.EACCES, "Permission denied"), "no permission to write"),
    (OSError(errno.EPERM, "Operation not permitted"), "no permission to write"),
    (OSError(errno.EROFS, "Read-only file system"), "no permission to write"),
    (OSError(errno.EIO, "Input/output error"), "input/output error"),
    (OSError("The drive is gone"), "the drive is gone"),
]


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


@pytest.mark.parametrize("cut", [0, 4, 40, -1])
def test_a_cut_off_file_is_called_damaged(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(storage.tensor_bytes(TENSORS, {})[:cut])
    for read in (storage.read_tensors, storage.read_metadata):
        with pytest.raises(storage.DamagedFileError) as caught:
            read(path)
        check_damaged(caught.value, path)


def test_nonsense_has_no_offsets(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    for data in (b"", b"\xff" * 40, (2).to_bytes(8, "little") + b"[]"):
        path.write_bytes(data)
        with pytest.raises(storage.DamagedFileError) as caught:
            storage.tensor_offsets(path)
        check_damaged(caught.value, path)


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_an_absent_file_is_named(tmp_path: Path, read: Callable[[Path], object]) -> None:
    path = tmp_path / "nowhere"
    with pytest.raises(LiteError) as caught:
        read(path)
    assert (caught.value.what, caught.value.code) == (f"No file {path}.", ExitCode.MISSING)


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_a_file_of_another_user_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Callable[[Path], object]
) -> None:
    path = tmp_path / "x.safetensors"
    storage.write_tensors(path, TENSORS, {})

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(storage, "safe_open", refuse)
    with pytest.raises(LiteError) as caught:
        read(path)
    assert caught.value.what == f"Cannot read {path}: no permission."
    assert caught.value.code == ExitCode.MISSING


def test_what_safetensors_may_not_open_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says of a file without permission that there is none."""
    path = tmp_path / "x.safetensors"
    storage.write_tensors(path, TENSORS, {})

    def absent(*_: object, **__: object) -> None:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(storage, "safe_open", absent)
    monkeypatch.setattr(Path, "open", refuse)
    for read in (storage.read_tensors, storage.read_metadata):
        with pytest.raises(LiteError, match=r"Cannot read .*: no permission"):
            read(path)


def test_home_is_what_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITECLI_HOME", str(tmp_path / "elsewhere"))
    assert storage.home() == tmp_path / "elsewhere"
    monkeypatch.delenv("LITECLI_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert storage.home().name == "litecli"


def test_without_a_home_the_user_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITECLI_HOME", "~nobody-of-this-name/litecli")
    with pytest.raises(LiteError) as caught:
        storage.home()
    error = caught.value
    assert error.what == "litecli does not know where to keep your profiles."
    assert error.why == "This computer names no home folder for you."
    assert error.fix == "set LITECLI_HOME to a folder you can write to"
    assert error.code == ExitCode.MACHINE


def test_shipped_models_lie_in_the_package_or_in_a_checkout_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "litecli"
    monkeypatch.setattr(storage, "__file__", str(package / "storage.py"))
    assert shipped_models_dir() == tmp_path / "models"
    (package / "models").mkdir(parents=True)
    assert shipped_models_dir() == package / "models"


def test_the_hash_is_over_all_files_in_order(tmp_path: Path) -> None:
    one, two = tmp_path / "1", tmp_path / "2"
    long = bytes(range(256)) * 5000
    one.write_bytes(long)
    two.write_bytes(b"b")
    for files, content in (([one, two], long + b"b"), ([two, one], b"b" + long), ([two], b"b")):
        assert storage.files_sha256(files) == hashlib.sha256(content).hexdigest()


def test_only_a_file_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    os.mkfifo(pipe := tmp_path / "pipe")
    for path in (folder, pipe):
        with pytest.raises(LiteError, match=r" \(it is a folder or a device\)\.$"):
            storage.atomic_write(path, b"new")
    assert folder.is_dir() and pipe.is_fifo() and len(list(tmp_path.iterdir())) == 2
