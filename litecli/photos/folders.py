"""A folder of object folders to labelled photo paths.

Unusable things inside the folder are skipped and named (walk.py); a folder that cannot be what the
user meant is refused with the way out.
"""

import shlex
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from litecli.config import MAX_PHOTOS
from litecli.errors import ExitCode, LiteError
from litecli.photos.candidates import candidates
from litecli.photos.walk import NOT_A_PHOTO, Skipped, Walk, printable, shown

UNEVEN = 10  # a note is due where one object has this many times the photos of another

_TRAIN = {"train", "training"}
_HELD_OUT = {"val", "valid", "validation", "test", "testing"}


@dataclass(frozen=True)
class ObjectPhotos:
    """One object: its name (NFC) and its photos, sorted by path."""

    label: str
    photos: tuple[Path, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Scan:
    """What a folder holds, objects sorted by label."""

    folder: Path
    objects: tuple[ObjectPhotos, ...]
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...]
    ignored: int = 0  # .DS_Store and its like, twins of Live Photos: left out without a word


def scan_objects(folder: Path, max_photos: int = MAX_PHOTOS) -> Scan:
    """Find the objects of a folder, one sub-folder each; at most `max_photos` photos of one.

    Raises LiteError: USAGE (no such folder), INPUT (no objects in it, or not the folder meant).
    """
    walk = Walk(folder)
    loose, subfolders = walk.entries(folder)
    if not subfolders:
        raise _no_subfolders(folder, loose)
    subfolders = walk.objects(subfolders)
    _refuse_data_split(subfolders)
    _refuse_one_level_up(subfolders)
    walk.skipped += [Skipped(walk.relative(path), "not in an object folder") for path in loose]
    found: dict[str, list[Path]] = {}
    notes = [f"{_count(len(loose), 'photo')} not in an object folder"] if loose else []
    for subfolder in subfolders:
        label = _label(subfolder.name)
        photos = walk.photos(subfolder)
        if not photos:
            notes.append(f'no photos in "{label}": left out')
        elif label in found:
            notes.append(f'two folders are both called "{label}": merged')
        if photos:
            found.setdefault(label, []).extend(photos)
    for label, files in list(found.items()):
        if len(files) > max_photos:  # in a sample, what is no photo would take a photo's place
            found[label] = candidates(files, walk)
            if not found[label]:
                notes.append(f'no photos in "{label}": left out')
                del found[label]
    if not found:
        raise _no_photos(folder, walk.skipped)
    if any(label.strip().casefold() == "unknown" for label in found):
        raise LiteError(
            "unknown is litecli's word for none of these; rename the folder",
            f"{shown(folder)} has an object folder of that name.",
            code=ExitCode.INPUT,
        )
    notes += _notes(found, walk)
    objects = tuple(_object(label, found[label], max_photos) for label in sorted(found))
    return Scan(folder, objects, tuple(walk.skipped), tuple(notes), walk.ignored)


def list_photos(folder: Path, recursive: bool) -> tuple[list[Path], list[Skipped]]:
    """The photos directly in a folder, or anywhere below it, sorted by path; and what was skipped.

    Raises LiteError (USAGE: no such folder, INPUT: it cannot be read).
    """
    walk = Walk(folder)
    photos = walk.photos(folder) if recursive else walk.entries(folder)[0]
    return photos, walk.skipped


def _no_subfolders(folder: Path, loose: list[Path]) -> LiteError:
    name = shown(folder)
    if not loose:
        return LiteError(f"{name}: no sub-folders and no photos", _layout(), code=ExitCode.INPUT)
    target = shlex.quote(f"{name}/keys")
    photo = shlex.quote(f"{name}/{loose[0].name}")
    short = folder.name or name  # "." has no name of its own
    return LiteError(
        f"{name} has photos but no sub-folders.",
        f"Each object needs its own folder, e.g. {short}/keys/{loose[0].name}.",
        f"mkdir {target} && mv {photo} {target}/",
        code=ExitCode.INPUT,
    )


def _no_photos(folder: Path, skipped: list[Skipped]) -> LiteError:
    reasons = "; ".join(f"{one.path}: {one.reason}" for one in skipped[:5])
    what = f"{shown(folder)}: no photos in its sub-folders"
    return LiteError(what, reasons or _layout(), code=ExitCode.INPUT)


def _layout() -> str:
    return (
        "Each object needs its own folder of photos:\n"
        "    my_objects/keys/IMG_1.jpg\n"
        "    my_objects/keys/IMG_2.jpg\n"
        "    my_objects/mug/IMG_3.jpg"
    )


def _refuse_data_split(subfolders: list[Path]) -> None:
    names = {path.name.lower() for path in subfolders}
    if names & _TRAIN and names & _HELD_OUT and names <= _TRAIN | _HELD_OUT:
        train = next(path for path in subfolders if path.name.lower() in _TRAIN)
        raise LiteError(
            f"These look like a data split, not objects; adapt {shown(train)}",
            "",
            f"litecli adapt {shlex.quote(shown(train))}",
            code=ExitCode.INPUT,
        )


def _refuse_one_level_up(subfolders: list[Path]) -> None:
    """A single sub-folder without photos of its own, but with objects in it, was meant."""
    if len(subfolders) != 1:
        return
    walk = Walk(subfolders[0])
    photos, below = walk.entries(subfolders[0])
    if not photos and sum(bool(walk.photos(path)) for path in below) >= 2:
        raise LiteError(
            "The objects seem to be one level down.",
            "",
            f"litecli adapt {shlex.quote(shown(subfolders[0]))}",
            code=ExitCode.INPUT,
        )


def _object(label: str, photos: list[Path], max_photos: int) -> ObjectPhotos:
    total = len(photos)
    notes = ("1 photo: add 4 more from other sides",) if total == 1 else ()
    photos = sorted(photos, key=lambda path: path.as_posix())
    if total > max_photos:  # evenly spaced, so that a burst does not fill the sample
        photos = [photos[(2 * k + 1) * total // (2 * max_photos)] for k in range(max_photos)]
        notes = (f"{max_photos} of {total} photos used, evenly spaced",)
    return ObjectPhotos(label, tuple(photos), notes)


def _notes(found: dict[str, list[Path]], walk: Walk) -> list[str]:
    notes = []
    most = max(found, key=lambda label: len(found[label]))
    least = min(found, key=lambda label: len(found[label]))
    if len(found[most]) >= UNEVEN * len(found[least]):
        notes.append(
            f'{len(found[most])} photos of "{most}" but {len(found[least])} of "{least}":'
            f' add photos of "{least}"'
        )
    same: dict[str, list[str]] = {}
    for label in sorted(found):
        same.setdefault(" ".join(label.split()).casefold(), []).append(label)
    for labels in same.values():
        if len(labels) > 1:  # a space at the end of a name is not seen at all
            by_case = len({label.casefold() for label in labels}) == 1
            named = " and ".join(f'"{label}"' for label in labels)
            what = "case" if by_case else "case or spaces"
            notes.append(f"{named} differ only in {what}; they are kept as {len(labels)} objects")
    if walk.nested:
        notes.append(f"sub-folders of an object are part of it ({walk.relative(walk.nested[0])})")
    others = sum(one.reason == NOT_A_PHOTO for one in walk.skipped)
    return [*notes, f"not photos ({others})"] if others > 1 else notes


def _label(name: str) -> str:
    """A folder's name as a label: NFC, so that a Mac's and a Windows' "café" are one object."""
    return unicodedata.normalize("NFC", printable(name))


def _count(number: int, noun: str) -> str:
    return f"1 {noun} is" if number == 1 else f"{number} {noun}s are"
