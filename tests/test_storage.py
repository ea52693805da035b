"""Bytes on disk: whole or not at all, the same for the same content, and found again."""

import errno
import os
import random
from pathlib import Path

import numpy as np
import pytest

from litecli import storage
from litecli.errors import ExitCode, LiteError

TENSORS = {
    "b": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a": np.array(7, dtype=np.int64),
    "text": np.frombuffer(b"jpeg", dtype=np.uint8),
}


def test_tensors_and_metadata_come_back_as_they_went(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "x.safetensors"
    storage.write_tensors(path, TENSORS, {"name": "café [keys]"})
    tensors, metadata = storage.read_tensors(path)
    assert metadata == {"name": "café [keys]"} == storage.read_metadata(path)
    assert tensors.keys() == TENSORS.keys()
    for name, array in TENSORS.items():
        np.testing.assert_array_equal(tensors[name], array, strict=True)


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
    assert error.why == f"It needs 1 MB in {tmp_path}; what was there before is untouched."
    assert error.fix == "-o FILE"
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        "first": b"old 1",
        "second": b"old 2",
    }


def test_a_file_in_the_way_of_a_folder_is_the_machines_refusal(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(LiteError) as caught:
        storage.atomic_write(tmp_path / "file" / "x", b"data")
    assert caught.value.code == ExitCode.MACHINE


@pytest.mark.parametrize("cut", [0, 4, 40, -1])
def test_a_cut_off_file_is_called_damaged(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(storage.tensor_bytes(TENSORS, {})[:cut])
    for read in (storage.read_tensors, storage.read_metadata):
        with pytest.raises(storage.DamagedFileError, match="is damaged"):
            read(path)


def test_nonsense_has_no_offsets(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    for data in (b"", b"\xff" * 40, (2).to_bytes(8, "little") + b"[]"):
        path.write_bytes(data)
        with pytest.raises(storage.DamagedFileError):
            storage.tensor_offsets(path)


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(LiteError, match=r"No file .*nowhere") as caught:
        storage.read_tensors(tmp_path / "nowhere")
    assert caught.value.code == ExitCode.MISSING


def test_a_temporary_folder_lies_beside_and_goes_away(tmp_path: Path) -> None:
    with storage.temporary_folder(tmp_path / "model") as folder:
        assert folder.parent == tmp_path
        (folder / "x").write_bytes(b"data")
    assert list(tmp_path.iterdir()) == []


def test_home_is_what_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITECLI_HOME", str(tmp_path / "elsewhere"))
    assert storage.home() == tmp_path / "elsewhere"
    monkeypatch.delenv("LITECLI_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert storage.home().name == "litecli"


def test_the_hash_is_over_all_files_in_order(tmp_path: Path) -> None:
    one, two = tmp_path / "1", tmp_path / "2"
    one.write_bytes(b"a")
    two.write_bytes(b"b")
    digests = {storage.files_sha256(files) for files in ([one, two], [two, one], [one])}
    assert len(digests) == 3
