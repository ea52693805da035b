"""The models a person can adapt: those shipped with litecli and those in the user's data folder.

model_files.py says what a model's folder holds.
"""

import os
import shutil
import uuid
from contextlib import AbstractContextManager
from pathlib import Path

from litecli import storage
from litecli.config import WEIGHTS_FILE
from litecli.errors import ExitCode, LiteError
from litecli.library.data_folder import (
    FORBIDDEN,
    check_name,
    entries,
    is_folder,
    learn_again,
    lock_for,
    not_found,
    quoted,
    set_current,
    state,
)
from litecli.library.model_files import Model, open_model
from litecli.library.profile import Profile


def find_model(name: str | Path | None = None) -> Model:
    """A model given its name, its folder, or None: the current one, else the first shipped one.

    The user's own models come before shipped ones, names before folders.
    Raises LiteError (MISSING) when there is none, or it is damaged or too new.
    """
    folders = _folders()
    if name is None:
        name = _current_name()
        if name is None:
            raise LiteError(
                "No model is installed.", fix="litecli models fetch small", code=ExitCode.MISSING
            )
    text = str(name)
    if text not in folders and is_folder(Path(name)):
        return open_model(Path(name))
    if text not in folders and FORBIDDEN & set(text):
        raise LiteError(f"No model folder {text}.", code=ExitCode.MISSING)
    return _named_model(text)


def _named_model(name: str) -> Model:
    return open_model(_folder_of(name, fix=f"litecli models fetch {quoted(name)}"), name)


def model_path(name: str | None = None) -> Path:
    """The folder of a model (None: the current one); raises as `find_model`."""
    return find_model(name).folder


def list_models() -> list[tuple[Model, bool, bool]]:
    """(model, shipped, current) of every model that can be opened, sorted by name."""
    current, own = _current_name(), _own_folder()
    listed = []
    for name, folder in sorted(_folders().items()):
        try:
            model = open_model(folder, name)
        except LiteError:  # whoever names it gets the reason; a list goes on
            continue
        listed.append((model, folder.parent != own, name == current))
    return listed


def use_model(name: str) -> Model:
    """Make a model the one that `adapt` uses; raises LiteError (MISSING) as `find_model`."""
    model = open_model(_folder_of(name), name)
    set_current("model", name)
    return model


def check_free(name: str, *, replace: bool = False) -> str:
    """The name, if `add_model` may give it to a model; else LiteError (USAGE)."""
    name = check_name(name)
    folders = _folders()
    if name in folders and not (replace and folders[name].parent == _own_folder()):
        raise LiteError(
            f"There is a model {name} already.",
            f"It is in {folders[name]}",
            "give this one another name with --name NAME",
            code=ExitCode.USAGE,
        )
    return name


def add_model(folder: Path, name: str | None = None, *, replace: bool = False) -> Model:
    """Copy a model folder among the user's own, whole or not at all.

    Raises LiteError: MISSING (not a model), USAGE (bad or taken name), MACHINE (disk).
    """
    source = open_model(folder)
    name = check_name(name or source.name)
    target = _own_folder() / name
    with _changing(name):
        check_free(name, replace=replace)
        # Hidden until complete: a half-copied model is never listed.
        fresh = _own_folder() / f".{uuid.uuid4().hex}"
        try:
            fresh.mkdir(parents=True)
            for file in sorted(folder.iterdir()):
                if file.is_file() and not file.name.startswith("."):
                    storage.atomic_write(fresh / file.name, file.read_bytes(), what=f"model {name}")
            if target.is_dir():
                _delete(target)
            fresh.rename(target)
        except OSError as error:
            raise LiteError(
                f"Could not save model {name} ({storage.plain_reason(error)}).",
                code=ExitCode.MACHINE,
            ) from error
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return open_model(target, name)


def remove_model(name: str) -> Path:
    """Delete one of the user's own models. Returns the folder that is gone.

    Raises LiteError: MISSING (no such model), USAGE (it is shipped with litecli), MACHINE.
    """
    folder = _folder_of(name)
    if folder.parent != _own_folder():
        raise LiteError(
            f"The model {name} comes with litecli and stays.",
            fix="litecli models use NAME   (to work with another one)",
            code=ExitCode.USAGE,
        )
    with _changing(name):
        try:
            _delete(folder)
        except OSError as error:
            raise LiteError(
                f"Cannot delete {folder} ({storage.plain_reason(error)}).",
                code=ExitCode.MACHINE,
            ) from error
    if state().get("model") == name:
        set_current("model", None)
    return folder


def model_of(profile: Profile, model: str | Path | None = None) -> Model:
    """The model a profile was learned on, where it was then, or at the place `model` names.

    Raises LiteError: MISSING when the model is gone, or is no longer the same, MACHINE where one
    may not look for it.
    """
    folder = profile.model_folder if is_folder(Path(profile.model_folder or "-")) else ""
    try:
        # By its name among names alone: a folder of that name is anybody's.
        place = model or folder
        found = find_model(place) if place else _named_model(profile.model_name)
    except LiteError as error:
        if model is not None or error.code == ExitCode.MACHINE:
            raise
        raise LiteError(
            f'Profile "{profile.name}" needs the model {profile.model_name}: {error.what}',
            error.why,
            f"litecli models fetch {quoted(profile.model_name)}   or, if it was your own: "
            f"litecli models add DIR --name {quoted(profile.model_name)}   "
            f"or: {learn_again(profile.folder, profile.name, profile.file)}",
            code=ExitCode.MISSING,
        ) from error
    check_same_model(profile, found)
    return found


def check_same_model(profile: Profile, model: Model) -> None:
    """Raise LiteError (MISSING) unless the profile's features come from this very model."""
    if profile.model_fingerprint != model.fingerprint:
        same_name = profile.model_name == model.name
        raise LiteError(
            f'The model {model.name} has changed since profile "{profile.name}" was learned.'
            if same_name
            else f'Profile "{profile.name}" was learned on {profile.model_name}, not {model.name}.',
            "The features of one model mean nothing to another.",
            learn_again(profile.folder, profile.name, profile.file),
            code=ExitCode.MISSING,
        )


def _own_folder() -> Path:
    return storage.home() / "models"


def _folders() -> dict[str, Path]:
    """Name -> folder of all models; a user's own hides a shipped one of the same name."""
    folders: dict[str, Path] = {}
    for place in (storage.shipped_models_dir(), _own_folder()):
        # os.path: one model that may not be looked at does not hide the others.
        folders |= {f.name: f for f in entries(place) if os.path.exists(f / WEIGHTS_FILE)}  # noqa: PTH110
    return {name: folder for name, folder in folders.items() if not name.startswith(".")}


def _folder_of(name: str, fix: str = "litecli models list") -> Path:
    """The folder of the model of that name; LiteError (MISSING) with `fix` where there is none."""
    folders = _folders()
    if name not in folders:
        raise not_found("model", name, sorted(folders), fix)
    return folders[name]


def _current_name() -> str | None:
    """The chosen model if it is still there, else the first shipped one, else the first."""
    folders = _folders()
    chosen = state().get("model")
    if chosen in folders:
        return chosen
    shipped = [name for name, folder in folders.items() if folder.parent != _own_folder()]
    return min(shipped or folders, default=None)


def _delete(folder: Path) -> None:
    """Take a model out of sight in one step, then delete its files."""
    hidden = folder.with_name(f".{uuid.uuid4().hex}")
    folder.rename(hidden)
    shutil.rmtree(hidden, ignore_errors=True)


def _changing(name: str) -> AbstractContextManager[None]:
    return lock_for(f"model {name}", "another litecli is changing this model")
