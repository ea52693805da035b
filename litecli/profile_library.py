"""The named profiles in the user's data folder: find, list, use, save, rename, remove, undo.

home()/profiles/NAME.safetensors            a profile
home()/profiles/previous/NAME.safetensors   the version before it, for undo
home()/profiles/previous/NAME.undo          the version to go back from, while undo is at work
"""

import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from litecli import storage
from litecli.data_folder import (
    FORBIDDEN,
    check_name,
    lock_for,
    not_found,
    quoted,
    set_current,
    state,
)
from litecli.errors import ExitCode, LiteError
from litecli.profile import NewerFormatError, OlderFormatError, Profile, from_tensors, to_tensors

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
    """The names of the saved profiles, sorted."""
    folder = storage.home() / "profiles"
    return sorted(path.stem for path in folder.glob(f"[!.]*{_SUFFIX}"))


def list_profiles() -> list[ListedProfile]:
    """All saved profiles, sorted by name, damaged ones included."""
    current = current_profile_name()
    listed = []
    for name in profile_names():
        profile, problem = None, None
        try:
            profile = read_profile(_path(name), name)
        except LiteError as error:
            problem = error.what
        listed.append(ListedProfile(name, _path(name), name == current, profile, problem))
    return listed


def current_profile_name() -> str | None:
    """The name of the current profile; None when there is none."""
    name = state().get("profile")
    return name if name and _path(name).is_file() else None


def profile_path(name: str | Path | None = None) -> Path:
    """The file of a profile, given its name, its file, or None for the current one.

    Raises LiteError (MISSING) when there is none; a name wins over a file of the same name.
    """
    if name is None:
        current = current_profile_name()
        if current is None:
            raise _no_profile_yet()
        return _path(current)
    names = profile_names()
    text = unicodedata.normalize("NFC", str(name))
    if text in names:
        return _path(text)
    if Path(name).is_file():
        return Path(name)
    if FORBIDDEN & set(text) or text.endswith(_SUFFIX):
        raise LiteError(f"No profile file {name}.", code=ExitCode.MISSING)
    if not names:
        raise _no_profile_yet()
    raise not_found("profile", text, names, "litecli profiles list")


def load_profile(name: str | Path | None = None) -> Profile:
    """Read a profile, given its name, its file, or None for the current one.

    Raises LiteError (MISSING): no such profile, or it is damaged, or a newer litecli wrote it.
    """
    path = profile_path(name)
    return read_profile(path, path.stem)


def read_profile(path: Path, name: str) -> Profile:
    """Read one profile file; `name` is what the errors call it. Raises as `load_profile`."""
    try:
        return from_tensors(*storage.read_tensors(path))
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
            "litecli adapt FOLDER   (learn it again)",
            code=ExitCode.MISSING,
        ) from error
    except (storage.DamagedFileError, ValueError) as error:
        fix = "litecli adapt FOLDER   (learn it again)"
        if path == _path(name) and _previous(name).is_file():
            fix += f"   or: litecli profiles undo {quoted(name)}"
        why = f"{path}: {getattr(error, 'why', error)}"
        raise LiteError(f'Profile "{name}" is damaged.', why, fix, code=ExitCode.MISSING) from error


def check_folder(name: str, folder: str | Path, *, replace: bool = False) -> Profile | None:
    """The saved profile of this name (None: none yet, or unreadable), if `folder` may replace it.

    Raises LiteError: USAGE when it was learned from another folder, MISSING when a newer litecli
    saved it; with `replace` neither.
    """
    path = _path(check_name(name))
    if not path.is_file():
        return None
    try:
        saved = from_tensors(*storage.read_tensors(path))
    except NewerFormatError:
        return None if replace else read_profile(path, name)  # which raises
    except (storage.DamagedFileError, ValueError):
        return None  # learning it again is what mends it
    if Path(saved.folder) != Path(folder).resolve() and not replace:
        raise LiteError(
            f'Profile "{name}" was learned from another folder.',
            f"That folder is {saved.folder}",
            "give this one a name of its own with --name NAME, or --replace the old one",
            code=ExitCode.USAGE,
        )
    return saved


def save_profile(
    profile: Profile, *, file: Path | None = None, replace: bool = False, make_current: bool = True
) -> Path:
    """Save a profile under its name and make it current; the version before is kept for undo.

    With `file` it is written there instead, and nothing becomes current. Returns the path.
    Raises LiteError: USAGE (name taken by another folder's profile and not `replace`), MACHINE
    (disk full, read-only, another litecli is saving this profile).
    """
    fix = "add -o FILE to save elsewhere"
    what = f'profile "{profile.name}"'
    data = storage.tensor_bytes(*to_tensors(profile))
    if file is not None:
        storage.atomic_write(file, data, what=what, fix="choose another place for -o FILE")
        return file
    name = check_name(profile.name)
    with _saving(name):
        saved = check_folder(name, profile.folder, replace=replace)
        before = _path(name).read_bytes() if saved else None  # unreadable: nothing to go back to
        if before is None:
            storage.atomic_write(_path(name), data, what=what, fix=fix)
        elif before != data:  # an unchanged profile leaves the version before it alone
            contents = {_previous(name): before, _path(name): data}
            storage.write_together(contents, what=what, fix=fix)
    if make_current:
        set_current("profile", name)
    return _path(name)


def use_profile(name: str) -> Profile:
    """Make a saved profile current; raises LiteError (MISSING) as `load_profile` does."""
    profile = read_profile(_path(_saved(name)), name)
    set_current("profile", _saved(name))
    return profile


def rename_profile(name: str, new_name: str) -> Path:
    """Give a profile, and the version before it, another name. Returns its new path.

    Raises LiteError: MISSING (no such profile), USAGE (the new name is bad or taken).
    """
    old, new = _saved(name), check_name(new_name)
    first, second = sorted((old, new))
    if old == new:
        return _path(old)
    with _saving(first), _saving(second):
        if _path(new).exists():
            raise LiteError(f'There is a profile "{new}" already.', code=ExitCode.USAGE)
        _previous(new).unlink(missing_ok=True)
        contents = {_path(new): _renamed(_path(old), old, new)}
        if _previous(old).is_file():
            contents[_previous(new)] = _renamed(_previous(old), old, new)
        was_current = current_profile_name() == old
        storage.write_together(contents, what=f'profile "{new}"')
        _previous(old).unlink(missing_ok=True)
        _path(old).unlink()
    if was_current:
        set_current("profile", new)
    return _path(new)


def remove_profile(name: str) -> Path:
    """Delete a profile, the version before it included. Returns the path that is gone.

    Raises LiteError: MISSING (no such profile), MACHINE (it cannot be deleted).
    """
    name = _saved(name)
    with _saving(name):
        for path in (_path(name), _previous(name)):
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise LiteError(
                    f"Cannot delete {path} ({storage.plain_reason(error)}).", code=ExitCode.MACHINE
                ) from error
    if state().get("profile") == name:
        set_current("profile", None)
    return _path(name)


def undo_profile(name: str | None = None) -> Profile:
    """Exchange a profile (None: the current one) with the version before it; returns that one.

    A second undo brings the newer version back. Raises LiteError (MISSING) when there is no
    such profile or no version before it.
    """
    name = profile_path(None).stem if name is None else _saved(name)
    with _saving(name):
        if not _previous(name).is_file():
            raise LiteError(
                f'Profile "{name}" has no version before this one.', code=ExitCode.MISSING
            )
        profile = read_profile(_previous(name), name)
        # A kill between two renames would leave one version twice and the other nowhere.
        contents = {
            _set_aside(name): _path(name).read_bytes(),
            _path(name): _previous(name).read_bytes(),
        }
        storage.write_together(contents, what=f'profile "{name}"')
        _set_aside(name).replace(_previous(name))
    return profile


def _renamed(path: Path, old: str, new: str) -> bytes:
    profile = replace(read_profile(path, old), name=new)
    return storage.tensor_bytes(*to_tensors(profile))


def _path(name: str) -> Path:
    return storage.home() / "profiles" / f"{name}{_SUFFIX}"


def _previous(name: str) -> Path:
    return storage.home() / "profiles" / "previous" / f"{name}{_SUFFIX}"


def _set_aside(name: str) -> Path:
    return _previous(name).parent / f"{name}.undo"


def _saved(name: str) -> str:
    """The name, if a profile is saved under it; else LiteError (MISSING)."""
    names = profile_names()
    name = unicodedata.normalize("NFC", name)
    if name in names:
        return name
    if not names:
        raise _no_profile_yet()
    raise not_found("profile", name, names, "litecli profiles list")


def _no_profile_yet() -> LiteError:
    names = profile_names()
    if names:
        fix = f"litecli profiles use {quoted(names[0])}"
        return LiteError("No profile is current.", "", fix, code=ExitCode.MISSING)
    return LiteError("No profile yet.", fix="litecli adapt ./my_objects", code=ExitCode.MISSING)


@contextmanager
def _saving(name: str) -> Iterator[None]:
    """Hold the profile's lock; what a killed litecli left of it is tidied up first."""
    with lock_for(f"profile {name}", "another litecli is saving this profile"):
        path, previous, aside = _path(name), _previous(name), _set_aside(name)
        for written in (path, previous, aside):
            storage.clear_temporary(written)
        if aside.is_file():  # undo was killed, before it had changed anything or after
            with suppress(OSError):  # what comes next says better what is wrong
                if path.read_bytes() == previous.read_bytes():
                    aside.replace(previous)
                aside.unlink(missing_ok=True)
        yield
