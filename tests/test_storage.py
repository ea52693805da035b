"""Bytes on disk: the same for the same content, found again, or refused by name."""

import errno
import hashlib
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from litecli import storage
from litecli.errors import ExitCode, LiteError
from litecli.storage import shipped_models_dir  # as it is: conftest.py puts another in its place

from .small_tensors import TENSORS

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
