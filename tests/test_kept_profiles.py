"""Profiles outlast damage, other versions of litecli, kills, and folders that take no file."""

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from litecli import library, storage
from litecli.config import PROFILE_KEY
from litecli.errors import ExitCode
from litecli.library.model_files import Model
from litecli.library.profile import from_tensors, to_tensors

from .small_library import make_profile, refusal, undone


def test_a_damaged_profile_is_told_from_a_newer_one(own_home: Path) -> None:
    library.save_profile(make_profile(seed=1))
    path = library.save_profile(make_profile(seed=2))
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    error = refusal(ExitCode.MISSING, library.load_profile)
    assert error.what == 'Profile "garage" is damaged.'
    assert error.fix.startswith("litecli adapt FOLDER --name garage   ")
    assert "litecli profiles undo garage" in error.fix
    tensors, metadata = to_tensors(make_profile())
    header = json.loads(metadata[PROFILE_KEY]) | {"schema": 99}
    storage.write_tensors(path, tensors, {PROFILE_KEY: json.dumps(header)})
    error = refusal(ExitCode.MISSING, library.load_profile)
    assert error.what == 'Profile "garage" was saved by a newer litecli.'
    assert error.fix == "pip install --upgrade litecli"
    refusal(ExitCode.MISSING, library.save_profile, make_profile())  # it is not overwritten
    (listed,) = library.list_profiles()
    assert listed.current and listed.profile is None and "newer" in str(listed.problem)


@pytest.mark.parametrize("schema", [1, 2, 3, 4])
def test_a_profile_whose_numbers_meant_something_else_is_learned_again(schema: int) -> None:
    path = library.save_profile(make_profile())
    tensors, metadata = to_tensors(make_profile())
    header = json.loads(metadata[PROFILE_KEY]) | {"schema": schema}
    storage.write_tensors(path, tensors, {PROFILE_KEY: json.dumps(header)})
    error = refusal(ExitCode.MISSING, library.load_profile)
    assert error.what == 'Profile "garage" was saved by an older litecli.'
    assert error.fix.startswith("litecli adapt /photos/garage   ")
    assert library.check_folder("garage", "/photos/garage") is None
    before = path.read_bytes()
    other = make_profile(folder="/elsewhere/garage")
    error = refusal(ExitCode.USAGE, library.save_profile, other)
    assert error.why == "That folder is /photos/garage" and path.read_bytes() == before
    library.save_profile(make_profile())
    assert library.load_profile().labels == make_profile().labels
    assert library.undo_profile() == path and path.read_bytes() == before
    assert undone().labels == make_profile().labels  # a second undo brings it back
    library.save_profile(other, replace=True)
    assert library.load_profile().folder == "/elsewhere/garage"


def test_the_advice_is_for_the_profile_in_its_place(tmp_path: Path) -> None:
    metadata = to_tensors(make_profile("our shed"))[1]
    header = {PROFILE_KEY: json.dumps(json.loads(metadata[PROFILE_KEY]) | {"schema": 1})}
    mailed = tmp_path / "fr.safetensors"
    saved = library.save_profile(make_profile("our shed"))
    for path, asked, place in (
        (saved, None, "--name 'our shed'"),
        (mailed, mailed, f"-o {mailed}"),
    ):
        storage.write_tensors(path, {}, header)
        error = refusal(ExitCode.MISSING, library.load_profile, asked)
        assert error.fix == f"litecli adapt /photos/garage {place}   (learn it again)"


def test_learning_again_mends_a_damaged_profile_and_keeps_the_good_version() -> None:
    library.save_profile(make_profile(seed=1))
    path = library.save_profile(make_profile(seed=2))
    path.write_bytes(b"garbage")
    assert library.check_folder("garage", "/photos/garage") is None
    library.save_profile(make_profile(seed=3))
    np.testing.assert_array_equal(undone().embeddings, make_profile(seed=1).embeddings)


def test_a_damaged_profile_without_a_version_before_is_kept() -> None:
    path = library.save_profile(make_profile(seed=1))
    path.write_bytes(b"garbage")
    library.save_profile(make_profile(seed=2))
    assert library.undo_profile() == path and path.read_bytes() == b"garbage"
    np.testing.assert_array_equal(undone().embeddings, make_profile(seed=2).embeddings)


@pytest.mark.parametrize(
    "change",
    [
        {"labels": ("keys",)},
        {"photo_paths": ("a.jpg",)},
        {"embeddings": np.zeros((2, 4), np.float32)},
        {"photo_labels": np.array([0, 1, 7])},
        {"labels": ("keys", "keys")},
        {"greys": np.zeros((3, 255), np.int8)},
        {"crops": np.zeros((3, 2, 5), np.float16)},
        {"film": {"norm.weight": np.array([np.nan], np.float32)}},
        {"temperature": 0.0},
        {"unknown_threshold": np.nan},
        {"check": {"objects": [{"label": "keys", "correct": 4, "total": 3}]}},
        {"check": {"forecast": [-1, 10]}},
        {
            **dict.fromkeys(("labels", "photo_paths", "photo_hashes"), ()),
            "photo_labels": np.empty(0, np.int64),
            "embeddings": np.empty((0, 4), np.float32),
            "greys": np.empty((0, 256), np.int8),
        },
    ],
)
def test_parts_that_contradict_each_other_are_damage(change: dict) -> None:
    broken = dataclasses.replace(make_profile(), **change)
    with pytest.raises(ValueError):
        from_tensors(*to_tensors(broken))


def test_any_other_file_is_not_a_profile(tmp_path: Path, tiny_model: Model) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("hello")
    model = tiny_model.folder / "model.safetensors"
    for path in (text, model):  # to learn a profile in its place would be the end of a model
        error = refusal(ExitCode.MISSING, library.load_profile, path)
        assert (error.what, error.fix) == (f"{path} is not a profile.", "litecli profiles list")
    cut_off = tmp_path / "mine.safetensors"
    cut_off.write_bytes(library.save_profile(make_profile()).read_bytes()[:-9])
    assert "is damaged" in refusal(ExitCode.MISSING, library.load_profile, cut_off).what


class Killed(BaseException):
    """Stands for kill -9: nobody catches it."""


@pytest.mark.parametrize("renames", range(4))
def test_a_kill_amid_undo_loses_no_version(monkeypatch: pytest.MonkeyPatch, renames: int) -> None:
    versions = [make_profile(seed=seed) for seed in (1, 2)]
    for version in versions:
        library.save_profile(version)
    left = [None] * renames

    def replace(path: Path, target: Path, real=Path.replace) -> Path:
        if not left:
            raise Killed
        left.pop()
        return real(path, target)

    with monkeypatch.context() as patched, contextlib.suppress(Killed):
        patched.setattr(Path, "replace", replace)
        library.undo_profile()
    found = [library.load_profile(), undone()]
    assert sorted(float(one.embeddings[0, 0]) for one in found) == sorted(
        float(one.embeddings[0, 0]) for one in versions
    )


def test_what_a_killed_litecli_left_goes_with_the_next_save(own_home: Path) -> None:
    folder = own_home / "profiles"
    library.save_profile(make_profile(seed=1))
    library.save_profile(make_profile(seed=2))

    def kill_amid_writing(name: str) -> list[Path]:
        return [
            storage._write_temporary(place / f"{name}.safetensors", b"half")
            for place in (folder, folder / "previous")
        ]

    others = kill_amid_writing("kitchen")  # which may be being saved this moment
    for change in (lambda: library.save_profile(make_profile(seed=3)), library.undo_profile):
        left = kill_amid_writing("garage")
        change()
        assert not any(path.exists() for path in left)
    left = kill_amid_writing("garage")
    library.remove_profile("garage")
    assert not any(path.exists() for path in left) and all(path.exists() for path in others)


def test_a_data_folder_that_cannot_be_made_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("LITECLI_HOME", str(tmp_path / "file" / "home"))
    error = refusal(ExitCode.MACHINE, library.save_profile, make_profile())
    assert str(tmp_path / "file") in error.what


def test_a_killed_save_leaves_the_old_profile(own_home: Path) -> None:
    """A process that dies between the new file's bytes and its rename changes nothing."""
    path = library.save_profile(make_profile(seed=1))
    before = path.read_bytes()
    script = (
        "import os, pathlib; os.fsync = lambda handle: os._exit(9)\n"
        "from litecli import storage\n"
        f"storage.atomic_write(pathlib.Path({str(path)!r}), b'new')"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 9
    assert path.read_bytes() == before
    assert library.profile_names() == ["garage"]


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
@pytest.mark.skipif(os.name == "posix" and os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_data_folder_is_the_machines_refusal(own_home: Path) -> None:
    own_home.mkdir()
    own_home.chmod(0o500)
    try:
        refusal(ExitCode.MACHINE, library.save_profile, make_profile())
    finally:
        own_home.chmod(0o700)
