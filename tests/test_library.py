"""Named profiles and models: found, current, kept for undo, locked, and refused in plain words."""

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from litecli import library, storage
from litecli.config import MODEL_KEY, PROFILE_KEY
from litecli.errors import ExitCode, LiteError
from litecli.library import data_folder
from litecli.library.model_files import Model
from litecli.library.profile import Profile, from_tensors, to_tensors


def make_profile(name: str = "garage", folder: str = "/photos/garage", seed: int = 0) -> Profile:
    rng = np.random.default_rng(seed)
    return Profile(
        name=name,
        labels=("keys", "mug [x]"),
        model_name="tiny",
        model_folder="",
        model_fingerprint="f" * 64,
        head="cosine",
        head_params={"weights": rng.standard_normal((2, 4)).astype(np.float32)},
        temperature=0.05,
        unknown_threshold=0.3,
        folder=folder,
        photo_paths=("keys/a.jpg", "mug [x]/\udcff.jpg", "mug [x]/ü.jpg"),
        photo_hashes=("a" * 64, "b" * 64, "c" * 64),
        photo_labels=np.array([0, 1, 1]),
        embeddings=rng.standard_normal((3, 4)).astype(np.float32),
        looks=rng.integers(-9, 9, (3, 256)).astype(np.int8),
        check={"accuracy": None},
        thumbnails={"a" * 64: b"jpeg"},
    )


def refusal(code: ExitCode, function: Callable[..., object], *args: object, **options: object):
    with pytest.raises(LiteError) as caught:
        function(*args, **options)
    assert caught.value.code == code
    return caught.value


def test_a_profile_comes_back_as_it_was_saved() -> None:
    profile = make_profile()
    path = library.save_profile(profile)
    again = library.load_profile()
    for field in dataclasses.fields(Profile):
        saved, loaded = getattr(profile, field.name), getattr(again, field.name)
        if isinstance(saved, np.ndarray):
            np.testing.assert_array_equal(loaded, saved, strict=True)
        elif field.name != "head_params":
            assert loaded == saved, field.name
    np.testing.assert_array_equal(again.head_params["weights"], profile.head_params["weights"])
    assert path == library.profile_path("garage") == library.profile_path()
    assert storage.tensor_bytes(*to_tensors(again)) == path.read_bytes()


def test_no_profile_yet_says_how_to_start() -> None:
    for asked in (None, "garage"):
        error = refusal(ExitCode.MISSING, library.load_profile, asked)
        assert (error.what, error.fix) == ("No profile yet.", "litecli adapt ./my_objects")


def test_a_mistyped_name_gets_the_nearest_one() -> None:
    library.save_profile(make_profile("garage"))
    library.save_profile(make_profile("kitchen"))
    error = refusal(ExitCode.MISSING, library.load_profile, "garge")
    assert error.what == "No profile garge. Did you mean garage?"
    assert error.why == "2 profiles: garage, kitchen"
    assert "Did you mean" not in refusal(ExitCode.MISSING, library.use_profile, "zzz").what


def test_a_profile_is_found_by_name_by_file_and_as_current(tmp_path: Path) -> None:
    mailed = tmp_path / "mailed.safetensors"
    library.save_profile(make_profile("mailed", seed=3), file=mailed)
    assert library.current_profile_name() is None  # -o FILE does not become current
    library.save_profile(make_profile("garage"))
    library.save_profile(make_profile("kitchen"))
    assert library.load_profile().name == "kitchen"
    library.use_profile("garage")
    assert library.load_profile().name == "garage"
    assert library.load_profile(mailed).name == library.load_profile(str(mailed)).name == "mailed"
    missing = refusal(ExitCode.MISSING, library.load_profile, str(tmp_path / "no.safetensors"))
    assert missing.what.startswith("No profile file")


@pytest.mark.parametrize("name", ["", " ", "a/b", "..", "a\\b", "a\nb", "x" * 201, "a:b", ".x"])
def test_names_that_cannot_be_files_are_refused(name: str) -> None:
    refusal(ExitCode.USAGE, library.save_profile, make_profile(name))
    refusal(ExitCode.USAGE, library.check_name, name)


@pytest.mark.parametrize("name", ["ünï [keys]", "钥匙", "my objects", "a.b"])
def test_other_names_are_kept(name: str) -> None:
    assert library.check_name(name) == name
    library.save_profile(make_profile(name))
    assert library.profile_names() == [name]


def test_a_folder_always_gives_a_valid_name(tmp_path: Path) -> None:
    for name in ("my:objects?", "...", " x ", "a" * 250):
        made = library.name_for_folder(tmp_path / name)
        assert library.check_name(made) == made


def test_undo_exchanges_two_versions_and_an_equal_save_changes_nothing() -> None:
    old, new = make_profile(seed=1), make_profile(seed=2)
    library.save_profile(old)
    assert "no version before" in refusal(ExitCode.MISSING, library.undo_profile).what
    library.save_profile(new)
    library.save_profile(new)
    np.testing.assert_array_equal(library.undo_profile().embeddings, old.embeddings)
    np.testing.assert_array_equal(library.load_profile().embeddings, old.embeddings)
    np.testing.assert_array_equal(library.undo_profile("garage").embeddings, new.embeddings)


def test_the_same_name_from_another_folder_needs_replace() -> None:
    library.save_profile(make_profile(folder="/photos/garage"))
    other = make_profile(folder="/elsewhere/garage", seed=5)
    error = refusal(ExitCode.USAGE, library.save_profile, other)
    assert error.why == "That folder is /photos/garage"
    refusal(ExitCode.USAGE, library.check_folder, "garage", "/elsewhere/garage")
    assert library.load_profile().folder == "/photos/garage"
    library.save_profile(other, replace=True)
    assert library.load_profile().folder == "/elsewhere/garage"
    assert library.check_folder("garage", "/elsewhere/garage") is not None
    assert library.check_folder("new", "/anywhere") is None


def test_a_second_litecli_saving_the_same_profile_is_told(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_folder, "LOCK_SECONDS", 0.05)
    library.save_profile(make_profile(seed=1))
    with FileLock(own_home / "locks" / "profile garage.lock"):
        error = refusal(ExitCode.MACHINE, library.save_profile, make_profile(seed=2))
        assert error.what == "Another litecli is saving this profile."
        library.save_profile(make_profile("kitchen"))  # others may be saved meanwhile
    np.testing.assert_array_equal(
        library.load_profile("garage").embeddings, make_profile(seed=1).embeddings
    )


def test_a_damaged_profile_is_told_from_a_newer_one(own_home: Path) -> None:
    library.save_profile(make_profile(seed=1))
    path = library.save_profile(make_profile(seed=2))
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    error = refusal(ExitCode.MISSING, library.load_profile)
    assert error.what == 'Profile "garage" is damaged.'
    assert "litecli adapt" in error.fix and "litecli profiles undo garage" in error.fix
    tensors, metadata = to_tensors(make_profile())
    header = json.loads(metadata[PROFILE_KEY]) | {"schema": 99}
    storage.write_tensors(path, tensors, {PROFILE_KEY: json.dumps(header)})
    error = refusal(ExitCode.MISSING, library.load_profile)
    assert error.what == 'Profile "garage" was saved by a newer litecli.'
    assert error.fix == "pip install --upgrade litecli"
    refusal(ExitCode.MISSING, library.save_profile, make_profile())  # it is not overwritten
    (listed,) = library.list_profiles()
    assert listed.current and listed.profile is None and "newer" in str(listed.problem)


@pytest.mark.parametrize("schema", [1, 2])
def test_a_profile_whose_numbers_meant_something_else_is_learned_again(schema: int) -> None:
    path = library.save_profile(make_profile())
    tensors, metadata = to_tensors(make_profile())
    header = json.loads(metadata[PROFILE_KEY]) | {"schema": schema}
    storage.write_tensors(path, tensors, {PROFILE_KEY: json.dumps(header)})
    error = refusal(ExitCode.MISSING, library.load_profile)
    assert error.what == 'Profile "garage" was saved by an older litecli.'
    assert "litecli adapt FOLDER" in error.fix
    assert library.check_folder("garage", "/photos/garage") is None
    library.save_profile(make_profile())
    assert library.load_profile().labels == make_profile().labels


def test_learning_again_mends_a_damaged_profile_and_keeps_the_good_version() -> None:
    library.save_profile(make_profile(seed=1))
    path = library.save_profile(make_profile(seed=2))
    path.write_bytes(b"garbage")
    assert library.check_folder("garage", "/photos/garage") is None
    library.save_profile(make_profile(seed=3))
    undone = library.undo_profile()
    np.testing.assert_array_equal(undone.embeddings, make_profile(seed=1).embeddings)


@pytest.mark.parametrize(
    "change",
    [
        {"labels": ("keys",)},
        {"photo_paths": ("a.jpg",)},
        {"embeddings": np.zeros((2, 4), np.float32)},
        {"photo_labels": np.array([0, 1, 7])},
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
    for path, what in ((text, "is not a profile"), (model, "is damaged")):
        assert what in refusal(ExitCode.MISSING, library.load_profile, path).what


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
    found = [library.load_profile(), library.undo_profile()]
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


def test_rename_keeps_the_current_one_and_its_undo() -> None:
    library.save_profile(make_profile(seed=1))
    library.save_profile(make_profile(seed=2))
    library.save_profile(make_profile("kitchen"))
    library.use_profile("garage")
    refusal(ExitCode.USAGE, library.rename_profile, "garage", "kitchen")
    refusal(ExitCode.MISSING, library.rename_profile, "nothing", "x")
    library.rename_profile("garage", "shed")
    assert library.profile_names() == ["kitchen", "shed"]
    assert library.load_profile().name == "shed"
    undone = library.undo_profile("shed")
    np.testing.assert_array_equal(undone.embeddings, make_profile(seed=1).embeddings)
    assert undone.name == "shed"


def test_remove_leaves_nothing_of_a_profile(own_home: Path) -> None:
    for seed in (1, 2):
        library.save_profile(make_profile(seed=seed))
    library.save_profile(make_profile("kitchen"))
    library.use_profile("garage")
    library.remove_profile("garage")
    assert not list(own_home.rglob("garage*.safetensors"))
    error = refusal(ExitCode.MISSING, library.load_profile)
    assert (error.what, error.fix) == ("No profile is current.", "litecli profiles use kitchen")
    refusal(ExitCode.MISSING, library.remove_profile, "garage")


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


# --- models -----------------------------------------------------------------------------------


def test_models_are_added_listed_used_and_removed(
    tmp_path: Path, write_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = tmp_path / "shipped"
    write_model(shipped / "base", "base")
    monkeypatch.setattr(storage, "shipped_models_dir", lambda: shipped)
    assert library.find_model().name == "base"
    mine = library.add_model(write_model(tmp_path / "x", "mine", seed=1))
    assert (mine.folder / "README.md").is_file()
    assert [(m.name, s, c) for m, s, c in library.list_models()] == [
        ("base", True, True),
        ("mine", False, False),
    ]
    library.use_model("mine")
    assert library.find_model() == mine
    assert library.find_model(shipped / "base").name == "base"
    error = refusal(ExitCode.USAGE, library.remove_model, "base")
    assert error.what == "The model base comes with litecli and stays."
    library.remove_model("mine")
    assert library.find_model().name == "base"
    assert "Did you mean base?" in refusal(ExitCode.MISSING, library.find_model, "bse").what


@pytest.mark.parametrize("schema", [1, 999])
def test_a_version_of_another_litecli_is_renamed_too(schema: int) -> None:
    for seed in range(2):
        library.save_profile(make_profile(seed=seed))
    before = storage.home() / "profiles" / "previous"
    tensors, metadata = storage.read_tensors(before / "garage.safetensors")
    header = json.loads(metadata[PROFILE_KEY]) | {"schema": schema}
    metadata = {PROFILE_KEY: json.dumps(header)}
    storage.write_tensors(before / "garage.safetensors", tensors, metadata)
    whole = (before / "garage.safetensors").read_bytes()
    library.rename_profile("garage", "shed")
    assert library.profile_names() == ["shed"] and library.load_profile("shed").name == "shed"
    assert {path.name: path.read_bytes() for path in before.iterdir()} == {
        "shed.safetensors": whole
    }


@pytest.mark.parametrize("text", ['{"model": [], "profile": {}}', '{"model": 1}', "[" * 10_000])
def test_settings_that_make_no_sense_are_none(tiny_model: Model, text: str) -> None:
    library.add_model(tiny_model.folder)
    library.save_profile(make_profile())
    (storage.home() / "state.json").write_text(text)
    assert library.find_model().name == "tiny" and library.current_profile_name() is None
    library.use_profile("garage")
    assert library.current_profile_name() == "garage"


def test_a_taken_model_name_needs_replace(
    tmp_path: Path, write_model: Callable[..., Path], own_home: Path
) -> None:
    old = library.add_model(write_model(tmp_path / "x", "mine"))
    other = write_model(tmp_path / "y", "mine", seed=1)
    refusal(ExitCode.USAGE, library.add_model, other)
    new = library.add_model(other, replace=True)
    assert new.folder == old.folder and new.fingerprint != old.fingerprint
    assert [path.name for path in (own_home / "models").iterdir()] == ["mine"]


def test_what_is_no_model_is_refused(
    tmp_path: Path, write_model: Callable[..., Path], tiny_model: Model
) -> None:
    assert refusal(ExitCode.MISSING, library.find_model).what == "No model is installed."
    write_model(tmp_path / "run" / "model")
    error = refusal(ExitCode.MISSING, library.add_model, tmp_path / "run")
    assert error.fix == f"litecli models add {tmp_path / 'run' / 'model'}"
    tensors, metadata = storage.read_tensors(tiny_model.folder / "model.safetensors")
    for change, words in (({"schema": 99}, "newer litecli"), ({"preprocess": 3}, "is damaged")):
        header = json.loads(metadata[MODEL_KEY]) | change
        path = tiny_model.folder / "model.safetensors"
        storage.write_tensors(path, tensors, {MODEL_KEY: json.dumps(header)})
        assert words in refusal(ExitCode.MISSING, library.open_model, tiny_model.folder).what


def test_a_profile_whose_model_is_gone_or_changed_says_which(
    tmp_path: Path, write_model: Callable[..., Path]
) -> None:
    error = refusal(ExitCode.MISSING, library.model_of, make_profile())
    assert error.what.startswith('Profile "garage" needs the model tiny: No model tiny.')
    assert "litecli models fetch tiny" in error.fix
    model = library.add_model(write_model(tmp_path / "x"))
    fits = dataclasses.replace(make_profile(), model_fingerprint=model.fingerprint)
    assert library.model_of(fits) == model
    error = refusal(ExitCode.MISSING, library.model_of, make_profile())
    assert error.what == 'The model tiny has changed since profile "garage" was learned.'
    assert error.fix.startswith("litecli adapt /photos/garage")


def test_a_model_used_by_its_folder_is_found_there_again(
    tmp_path: Path, tiny_model: Model, write_model: Callable[..., Path]
) -> None:
    profile = dataclasses.replace(
        make_profile(),
        model_folder=str(tiny_model.folder),
        model_fingerprint=tiny_model.fingerprint,
    )
    library.add_model(write_model(tmp_path / "x", "tiny", seed=1))  # same name, other weights
    assert library.model_of(profile) == tiny_model
    tiny_model.folder.rename(tmp_path / "moved")
    assert "has changed" in refusal(ExitCode.MISSING, library.model_of, profile).what
    assert library.model_of(profile, tmp_path / "moved").fingerprint == tiny_model.fingerprint


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
@pytest.mark.skipif(os.name == "posix" and os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_data_folder_is_the_machines_refusal(own_home: Path) -> None:
    own_home.mkdir()
    own_home.chmod(0o500)
    try:
        refusal(ExitCode.MACHINE, library.save_profile, make_profile())
    finally:
        own_home.chmod(0o700)
