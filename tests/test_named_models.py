"""Named models: added, current, replaced, removed, and asked for by the profiles made with them."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from litecli import library, storage
from litecli.config import MODEL_KEY
from litecli.errors import ExitCode
from litecli.library.model_files import Model

from .small_library import make_profile, refusal


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


def test_the_shipped_model_is_used_until_another_is_chosen_and_when_that_is_gone(
    tmp_path: Path, write_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_model(tmp_path / "shipped" / "base", "base")
    monkeypatch.setattr(storage, "shipped_models_dir", lambda: tmp_path / "shipped")
    own = write_model(tmp_path / "x", "a own")
    mine = library.add_model(own)
    assert library.find_model().name == "base"
    library.use_model("a own")
    library.remove_model("a own")
    library.add_model(own)  # one of that name, but it was not chosen
    assert library.find_model().name == "base"
    library.use_model("a own")
    shutil.rmtree(mine.folder)
    assert library.find_model().name == "base"


def test_hidden_files_are_no_part_of_a_model(
    tmp_path: Path, write_model: Callable[..., Path]
) -> None:
    folder = write_model(tmp_path / "x", "mine")
    names = {path.name for path in folder.iterdir()}
    (folder / ".DS_Store").write_bytes(b"x")
    assert {path.name for path in library.add_model(folder).folder.iterdir()} == names


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
    (tmp_path / "photos" / "model").mkdir(parents=True)  # an object of that name
    error = refusal(ExitCode.MISSING, library.add_model, tmp_path / "photos")
    assert error.fix.startswith("litecli models list")
    error = refusal(ExitCode.MISSING, library.find_model, "no/such")
    assert error.what == "No model folder no/such."
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
    assert "litecli models add DIR --name tiny   or: litecli adapt /photos/garage   " in error.fix
    error = refusal(ExitCode.MISSING, library.model_of, make_profile("our shed"))
    assert "litecli adapt /photos/garage --name 'our shed'   " in error.fix
    model = library.add_model(write_model(tmp_path / "x"))
    fits = dataclasses.replace(make_profile(), model_fingerprint=model.fingerprint)
    assert library.model_of(fits) == model
    error = refusal(ExitCode.MISSING, library.model_of, make_profile())
    assert error.what == 'The model tiny has changed since profile "garage" was learned.'
    assert error.fix.startswith("litecli adapt /photos/garage   ")
    error = refusal(ExitCode.MISSING, library.model_of, make_profile("shed"))
    assert error.fix.startswith("litecli adapt /photos/garage --name shed   ")


def test_the_advice_is_for_the_file_that_was_asked_for(
    tmp_path: Path, write_model: Callable[..., Path]
) -> None:
    mailed = tmp_path / "mailed.safetensors"
    library.save_profile(make_profile(), file=mailed)
    again = f"litecli adapt /photos/garage -o {mailed}   (learn it again)"
    error = refusal(ExitCode.MISSING, library.model_of, library.load_profile(mailed))
    assert error.fix.endswith(f"litecli models add DIR --name tiny   or: {again}")
    library.add_model(write_model(tmp_path / "x"))
    error = refusal(ExitCode.MISSING, library.model_of, library.load_profile(mailed))
    assert "has changed" in error.what and error.fix == again
    library.save_profile(make_profile())
    error = refusal(ExitCode.MISSING, library.model_of, library.load_profile())
    assert error.fix == "litecli adapt /photos/garage   (learn it again)"


def test_a_folder_of_the_models_name_is_not_taken_for_it(
    tmp_path: Path, write_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in (tmp_path / "tiny", write_model(tmp_path / "tiny")):
        folder.mkdir(exist_ok=True)
        error = refusal(ExitCode.MISSING, library.model_of, make_profile())
        assert error.what.startswith('Profile "garage" needs the model tiny: No model tiny.')


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
