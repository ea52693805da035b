"""Where a profile may be saved: never in place of one that was learned from another folder."""

import os
from pathlib import Path

from litecli import storage
from litecli.errors import ExitCode, LiteError
from litecli.library.data_folder import check_name, is_file
from litecli.library.profile import NewerFormatError, Profile, from_tensors
from litecli.library.profile_library import photo_folder, read_profile, saved_path


def check_folder(name: str, folder: str | Path, *, replace: bool = False) -> Profile | None:
    """The saved profile of this name (None: none yet, or unreadable), if `folder` may replace it.

    Raises LiteError: USAGE when it was learned from another folder, also by an older litecli,
    MISSING when a newer litecli saved it; with `replace` neither.
    """
    path = saved_path(check_name(name))
    if not is_file(path):
        return None
    saved = None
    try:
        saved = from_tensors(*storage.read_tensors(path))
    except NewerFormatError:
        return None if replace else read_profile(path, name)  # which raises
    except (storage.DamagedFileError, ValueError):
        pass  # learning it again is what mends it
    if not replace:
        _refuse_another_folder(
            path,
            folder,
            f'Profile "{name}"',
            "give this one a name of its own with --name NAME, or --replace the old one",
        )
    return saved


def check_file(file: Path, folder: str | Path, *, replace: bool = False) -> None:
    """Raise LiteError (USAGE) where -o FILE would take another profile's place.

    None of litecli's own: what lies among them is saved by name, with a lock and a version before.
    With `replace` any other.
    """
    own = Path(os.path.realpath(storage.home() / "profiles"))
    if Path(os.path.realpath(file)).is_relative_to(own):
        raise LiteError(
            f"{file} lies among the profiles that litecli keeps by name.",
            "Written as a file, a profile there could not be undone.",
            "leave -o out, and give the profile a name with --name NAME",
            code=ExitCode.USAGE,
        )
    if not replace:
        _refuse_another_folder(
            file, folder, f"The profile {file}", "choose another place for -o FILE, or --replace it"
        )


def _refuse_another_folder(path: Path, folder: str | Path, what: str, fix: str) -> None:
    learned = photo_folder(path) if is_file(path) else None
    if learned is not None and Path(learned) != Path(folder).resolve():
        raise LiteError(
            f"{what} was learned from another folder.",
            f"That folder is {learned}",
            fix,
            code=ExitCode.USAGE,
        )
