"""The named profiles in the user's data folder: found, listed, read; profile_changes.py writes.

home()/profiles/NAME.safetensors            a profile
home()/profiles/previous/NAME.safetensors   the version before it, for undo
home()/profiles/previous/NAME.undo          the version to go back from, while undo is at work
"""

import unicodedata
from dataclasses import dataclass, replace
from pathlib import Path

from litecli import storage
from litecli.errors import ExitCode, LiteError
from litecli.library.data_folder import (
    FORBIDDEN,
    entries,
    is_file,
    learn_again,
    not_found,
    quoted,
    state,
)
from litecli.library.profile import (
    NewerFormatError,
    OlderFormatError,
    Profile,
    folder_learned,
    from_tensors,
)

_SUFFIX = ".safetensors"


@dataclass(frozen=True)
class ListedProfile:
    """One line of `profiles list`; a file that cannot be read has a problem and no profile."""

    name: str
    path: Path
    current: bool
    profile: Profile | None
    problem: str | None


def profile_names() -> list[str]:
    """The names of the saved profiles in NFC, sorted."""
    paths = entries(storage.home() / "profiles")
    stems = {p.stem for p in paths if p.suffix == _SUFFIX and not p.name.startswith(".")}
    return sorted({unicodedata.normalize("NFC", stem) for stem in stems})


def list_profiles() -> list[ListedProfile]:
    """All saved profiles, sorted by name, damaged ones included."""
    current = current_profile_name()
    listed = []
    for name in profile_names():
        profile, problem = None, None
        try:
            profile = read_profile(saved_path(name), name)
        except LiteError as error:
            problem = error.what
        listed.append(ListedProfile(name, saved_path(name), name == current, profile, problem))
    return listed


def current_profile_name() -> str | None:
    """The name of the current profile; None when there is none."""
    name = state().get("profile")
    return name if name and is_file(saved_path(name)) else None


def profile_path(name: str | Path | None = None) -> Path:
    """The file of a profile, given its name, its file, or None for the current one.

    Raises LiteError (MISSING) when there is none; a name wins over a file of the same name.
    """
    if name is None:
        current = current_profile_name()
        if current is None:
            raise no_profile_yet()
        return saved_path(current)
    names = profile_names()
    text = unicodedata.normalize("NFC", str(name))
    if text in names:
        return saved_path(text)
    if is_file(Path(name)):
        return Path(name)
    if FORBIDDEN & set(text) or text.endswith(_SUFFIX):
        raise LiteError(f"No profile file {name}.", code=ExitCode.MISSING)
    if not names:
        raise no_profile_yet()
    raise not_found("profile", text, names, "litecli profiles list")


def load_profile(name: str | Path | None = None) -> Profile:
    """Read a profile, given its name, its file, or None for the current one.

    Raises LiteError (MISSING): no such profile, or it is damaged, or a newer litecli wrote it.
    """
    path = profile_path(name)
    return read_profile(path, path.stem)


def read_profile(path: Path, name: str) -> Profile:
    """Read one profile file; `name` is what the errors call it. Raises as `load_profile`."""
    file = None if path == saved_path(name) else path
    try:
        return replace(from_tensors(*storage.read_tensors(path)), file=file)
    except NewerFormatError as error:
        raise LiteError(
            f'Profile "{name}" was saved by a newer litecli.',
            str(error),
            "pip install --upgrade litecli",
            code=ExitCode.MISSING,
        ) from error
    except OlderFormatError as error:
        raise LiteError(
            f'Profile "{name}" was saved by an older litecli.',
            str(error),
            learn_again(photo_folder(path), name, file),
            code=ExitCode.MISSING,
        ) from error
    except (storage.DamagedFileError, ValueError) as error:
        # Whole, but with no word of photos: a model, say, which "learn it again" would replace.
        another = isinstance(error, ValueError) and photo_folder(path) is None
        if file is not None and (another or not file.name.endswith(_SUFFIX)):
            raise LiteError(
                f"{path} is not a profile.",
                f"A profile is a file that litecli adapt wrote, NAME{_SUFFIX}.",
                "litecli profiles list",
                code=ExitCode.MISSING,
            ) from error
        fix = learn_again(photo_folder(path), name, file)
        if file is None and is_file(previous_path(name)):
            fix += f"   or: litecli profiles undo {quoted(name)}"
        raise damaged_profile(name, f"{path}: {getattr(error, 'why', error)}", fix) from error


def photo_folder(path: Path) -> str | None:
    """The photo folder of a profile's file, also where nothing else of it can be read."""
    try:
        return folder_learned(storage.read_metadata(path))
    except LiteError:
        return None


def damaged_profile(name: str, why: str, fix: str) -> LiteError:
    """The error (MISSING) of a profile that can be read in part or not at all."""
    return LiteError(f'Profile "{name}" is damaged.', why, fix, code=ExitCode.MISSING)


def saved_path(name: str) -> Path:
    """Where the profile of that name is saved, or would be."""
    return _as_spelled(storage.home() / "profiles" / f"{name}{_SUFFIX}")


def previous_path(name: str) -> Path:
    """Where the version before it is kept, if there is one."""
    return _as_spelled(storage.home() / "profiles" / "previous" / f"{name}{_SUFFIX}")


def _as_spelled(path: Path) -> Path:
    """The file as its folder spells it: one that came by way of a Mac may have its name in NFD."""
    if path.name.isascii() or is_file(path):
        return path
    wanted = unicodedata.normalize("NFC", path.name)
    there = entries(path.parent)
    return next((p for p in there if unicodedata.normalize("NFC", p.name) == wanted), path)


def no_profile_yet() -> LiteError:
    """The error (MISSING) where no profile is saved, or none is current."""
    names = profile_names()
    if names:
        fix = f"litecli profiles use {quoted(names[0])}"
        return LiteError("No profile is current.", "", fix, code=ExitCode.MISSING)
    return LiteError("No profile yet.", fix="litecli adapt ./my_objects", code=ExitCode.MISSING)
