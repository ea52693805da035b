"""The named profiles in the user's data folder: saved, used, renamed, removed, undone."""

import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from litecli import storage
from litecli.errors import ExitCode, LiteError
from litecli.library.data_folder import (
    FORBIDDEN,
    check_name,
    is_file,
    lock_for,
    not_found,
    set_current,
    state,
)
from litecli.library.profile import (
    NewerFormatError,
    OlderFormatError,
    Profile,
    from_tensors,
    to_tensors,
)
from litecli.library.profile_library import (
    current_profile_name,
    no_profile_yet,
    previous_path,
    profile_names,
    profile_path,
    read_profile,
    saved_path,
)
from litecli.library.profile_places import check_file, check_folder


def save_profile(
    profile: Profile, *, file: Path | None = None, replace: bool = False, make_current: bool = True
) -> Path:
    """Save a profile under its name and make it current; the version before is kept for undo.

    With `file` it is written there instead, and nothing becomes current. Returns the path.
    Raises LiteError: USAGE (name or file taken by another folder's profile and not `replace`),
    MACHINE (disk full, read-only, another litecli is saving this profile).
    """
    fix = "add -o FILE to save elsewhere"
    what = f'profile "{profile.name}"'
    data = storage.tensor_bytes(*to_tensors(profile))
    if file is not None:
        check_file(file, profile.folder, replace=replace)
        storage.atomic_write(file, data, what=what, fix="choose another place for -o FILE")
        return file
    name = check_name(profile.name)
    with _saving(name):
        check_folder(name, profile.folder, replace=replace)
        before = _worth_keeping(name)
        if before is None:
            storage.atomic_write(saved_path(name), data, what=what, fix=fix)
        elif before != data:  # an unchanged profile leaves the version before it alone
            contents = {previous_path(name): before, saved_path(name): data}
            storage.write_together(contents, what=what, fix=fix)
    if make_current:
        set_current("profile", name)
    return saved_path(name)


def use_profile(name: str) -> Path:
    """Make a saved profile current. Returns its path; raises LiteError as `load_profile` does."""
    name = _saved(name)
    read_profile(saved_path(name), name)
    set_current("profile", name)
    return saved_path(name)


def rename_profile(name: str, new_name: str) -> Path:
    """Give a profile, and the version before it, another name. Returns its new path.

    Raises LiteError: MISSING (no such profile), USAGE (the new name is bad or taken).
    """
    old, new = _saved(name), check_name(new_name)
    first, second = sorted((old, new))
    if old == new:
        return saved_path(old)
    with _saving(first), _saving(second):
        if saved_path(new).exists():
            raise LiteError(f'There is a profile "{new}" already.', code=ExitCode.USAGE)
        previous_path(new).unlink(missing_ok=True)
        contents = {saved_path(new): _renamed(saved_path(old), old, new)}
        if is_file(previous_path(old)):
            contents[previous_path(new)] = _renamed_or_as_it_is(previous_path(old), old, new)
        was_current = current_profile_name() == old
        storage.write_together(contents, what=f'profile "{new}"')
        previous_path(old).unlink(missing_ok=True)
        saved_path(old).unlink()
    if was_current:
        set_current("profile", new)
    return saved_path(new)


def remove_profile(name: str) -> Path:
    """Delete a profile, the version before it included. Returns the path that is gone.

    Raises LiteError: MISSING (no such profile), MACHINE (it cannot be deleted).
    """
    name = _saved(name)
    with _saving(name):
        for path in (saved_path(name), previous_path(name)):
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise LiteError(
                    f"Cannot delete {path} ({storage.plain_reason(error)}).", code=ExitCode.MACHINE
                ) from error
    if state().get("profile") == name:
        set_current("profile", None)
    return saved_path(name)


def undo_profile(name: str | None = None) -> Path:
    """Exchange a profile (None: the current one) with the version before it. Returns its path.

    That version may be another litecli's, or damaged: a second undo brings the newer one back.
    Raises LiteError (MISSING) when there is no such profile or no version before it.
    """
    name = _saved(profile_path(None).stem if name is None else name)
    with _saving(name):
        if not is_file(previous_path(name)):
            raise LiteError(
                f'Profile "{name}" has no version before this one.', code=ExitCode.MISSING
            )
        # A kill between two renames would leave one version twice and the other nowhere.
        contents = {
            _set_aside(name): saved_path(name).read_bytes(),
            saved_path(name): previous_path(name).read_bytes(),
        }
        storage.write_together(contents, what=f'profile "{name}"')
        _set_aside(name).replace(previous_path(name))
    return saved_path(name)


def _worth_keeping(name: str) -> bytes | None:
    """The bytes of the saved profile, to go back to; None where there is none.

    Another litecli can read what this one cannot. A damaged one takes no good version's place.
    """
    path = saved_path(name)
    if not is_file(path):
        return None
    try:
        from_tensors(*storage.read_tensors(path))
    except (NewerFormatError, OlderFormatError):
        pass
    except (storage.DamagedFileError, ValueError):
        if is_file(previous_path(name)):
            return None
    return path.read_bytes()


def _renamed(path: Path, old: str, new: str) -> bytes:
    profile = replace(read_profile(path, old), name=new)
    return storage.tensor_bytes(*to_tensors(profile))


def _renamed_or_as_it_is(path: Path, old: str, new: str) -> bytes:
    """What this litecli cannot read, another one may: it goes along unchanged."""
    try:
        return _renamed(path, old, new)
    except LiteError:
        return path.read_bytes()


def _saved(name: str) -> str:
    """The name, if a profile is saved under it; else LiteError (MISSING)."""
    names = profile_names()
    name = unicodedata.normalize("NFC", name)
    if name in names:
        return name
    if FORBIDDEN & set(name) or is_file(Path(name)):
        raise LiteError(
            f"{name} is not the name of a saved profile.",
            "This works on the profiles that litecli keeps, by their names.",
            "litecli profiles list",
            code=ExitCode.MISSING,
        )
    if not names:
        raise no_profile_yet()
    raise not_found("profile", name, names, "litecli profiles list")


def _set_aside(name: str) -> Path:
    """Where undo keeps the version to go back from while it is at work."""
    return previous_path(name).parent / f"{name}.undo"


@contextmanager
def _saving(name: str) -> Iterator[None]:
    """Hold the profile's lock; what a killed litecli left of it is tidied up first."""
    with lock_for(f"profile {name}", "another litecli is saving this profile"):
        path, previous, aside = saved_path(name), previous_path(name), _set_aside(name)
        for written in (path, previous, aside):
            storage.clear_temporary(written)
        if aside.is_file():  # undo was killed, before it had changed anything or after
            with suppress(OSError):  # what comes next says better what is wrong
                if path.read_bytes() == previous.read_bytes():
                    aside.replace(previous)
                aside.unlink(missing_ok=True)
        yield
