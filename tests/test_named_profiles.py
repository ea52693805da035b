"""Named profiles: saved, found, kept for undo, locked, and refused in plain words."""

import dataclasses
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from litecli import library, storage
from litecli.errors import ExitCode
from litecli.library import data_folder
from litecli.library.profile import Profile, to_tensors

from .small_library import make_profile, refusal, undone


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


def test_a_profile_copied_by_way_of_a_mac_is_found_by_its_name(own_home: Path) -> None:
    name, by_a_mac = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    old, new = make_profile(name, seed=1), make_profile(name, seed=2)
    saved = library.save_profile(old)
    copied = saved.rename(saved.with_name(f"{by_a_mac}.safetensors"))
    assert library.profile_names() == [name]
    for asked in (name, by_a_mac, None):
        assert library.profile_path(asked) == copied
    assert library.use_profile(name) == copied and library.current_profile_name() == name
    assert library.save_profile(new) == copied
    np.testing.assert_array_equal(undone().embeddings, old.embeddings)
    assert library.rename_profile(name, "cafe") == saved.with_name("cafe.safetensors")
    assert library.current_profile_name() == "cafe" and library.profile_names() == ["cafe"]
    np.testing.assert_array_equal(undone("cafe").embeddings, new.embeddings)


def test_an_empty_name_is_no_profile_of_that_name() -> None:
    library.save_profile(make_profile())
    for function in (library.load_profile, library.use_profile, library.remove_profile):
        error = refusal(ExitCode.USAGE, function, "")
        assert (error.what, error.fix) == ("An empty name is no profile.", "litecli profiles list")


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


def test_a_mistyped_name_is_told_five_others() -> None:
    for count, end in ((5, "e"), (6, "e, ...")):
        for name in "abcdef"[:count]:
            library.save_profile(make_profile(name))
        error = refusal(ExitCode.MISSING, library.load_profile, "none")
        assert error.why == f"{count} profiles: a, b, c, d, {end}"


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


REFUSED = ("", " ", "a/b", "..", "a\\b", "a\nb", "x" * 201, "é" * 101, "a:b", ".x", "a\u202eb")


@pytest.mark.parametrize("name", REFUSED)
def test_names_that_cannot_be_files_are_refused(name: str) -> None:
    refusal(ExitCode.USAGE, library.save_profile, make_profile(name))
    refusal(ExitCode.USAGE, library.check_name, name)


@pytest.mark.parametrize("name", ["ünï [keys]", "钥匙", "my objects", "a.b"])
def test_other_names_are_kept(name: str) -> None:
    assert library.check_name(name) == name
    library.save_profile(make_profile(name))
    assert library.profile_names() == [name]


def test_a_folder_always_gives_a_valid_name(tmp_path: Path) -> None:
    for name in ("my:objects?", "...", " x ", "a" * 250, "é" * 120, "a\u202eb"):
        made = library.name_for_folder(tmp_path / name)
        assert library.check_name(made) == made


def test_undo_exchanges_two_versions_and_an_equal_save_changes_nothing() -> None:
    old, new = make_profile(seed=1), make_profile(seed=2)
    library.save_profile(old)
    assert "no version before" in refusal(ExitCode.MISSING, library.undo_profile).what
    library.save_profile(new)
    library.save_profile(new)
    np.testing.assert_array_equal(undone().embeddings, old.embeddings)
    np.testing.assert_array_equal(library.load_profile().embeddings, old.embeddings)
    np.testing.assert_array_equal(undone("garage").embeddings, new.embeddings)


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


def test_a_file_of_another_folder_needs_replace(tmp_path: Path) -> None:
    file = tmp_path / "fr.safetensors"
    other = make_profile(folder="/elsewhere/garage", seed=5)
    for seed in (1, 2):  # its own folder's is learned again
        library.save_profile(make_profile(seed=seed), file=file)
    error = refusal(ExitCode.USAGE, library.save_profile, other, file=file)
    assert error.what == f"The profile {file} was learned from another folder."
    assert error.why == "That folder is /photos/garage" and "--replace" in error.fix
    assert library.load_profile(file).folder == "/photos/garage"
    library.save_profile(other, file=file, replace=True)
    assert library.load_profile(file).folder == "/elsewhere/garage"


@pytest.mark.parametrize("where", ["garage.safetensors", "new.safetensors", "previous/x"])
def test_no_file_is_written_among_the_kept_profiles(tmp_path: Path, where: str) -> None:
    kept = library.save_profile(make_profile(seed=1))
    linked = tmp_path / "link"
    linked.symlink_to(kept.parent)
    for folder in (kept.parent, linked):
        for replace in (False, True):
            error = refusal(
                *(ExitCode.USAGE, library.save_profile, make_profile(seed=2)),
                file=folder / where,
                replace=replace,
            )
            assert "leave -o out" in error.fix and "--name" in error.fix
    np.testing.assert_array_equal(
        library.load_profile().embeddings, make_profile(seed=1).embeddings
    )


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
