"""What lies in a folder, by name and `stat` alone: photos, clutter, and what is skipped and why.

No file is opened here, so a FIFO cannot hang a scan; decoding.py judges the bytes.
"""

import difflib
import os
import shlex
import stat
from dataclasses import dataclass
from pathlib import Path

from litecli.errors import ExitCode, LiteError

# The reasons that decoding.py gives too, for files whose names do not tell.
EMPTY = "empty file - is it still in the cloud?"
RAW = "RAW is not supported; export as JPEG"
VIDEO = "videos are not read yet; export frames or take photos"
NOT_A_PHOTO = "not a photo"
NO_PERMISSION = "no permission to read"
VANISHED = "changed while reading"
IRREGULAR = "not a regular file"
ABOVE = "link to a folder above the photos"
ANOTHER = "link into another object's folder"

_RAW = ".dng .cr2 .cr3 .nef .nrw .arw .orf .rw2 .raf .pef .srw"
_VIDEOS = ".mov .mp4 .m4v .mp .avi .mkv .webm .3gp .mts .wmv .mpg .mpeg"
_SIDECARS = (
    ".aae .json .xmp .xml .txt .csv .tsv .md .log .ini .db .html .htm .zip .tar .gz .7z .rar .mp3"
    " .m4a .wav .lnk .py .pt .pth .npy .npz .safetensors .onnx .doc .docx .xls .xlsx"
)
_REASONS = (
    dict.fromkeys(_RAW.split(), RAW)
    | dict.fromkeys(_VIDEOS.split(), VIDEO)
    | dict.fromkeys(_SIDECARS.split(), NOT_A_PHOTO)
    | {f".{kind}": f"{kind.upper()} is not supported; export as JPEG" for kind in ("svg", "pdf")}
    | {".psd": "PSD is not supported; export as JPEG"}
)
_CLUTTER = {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir", "#recycle"}


@dataclass(frozen=True)
class Skipped:
    """A file or folder that was left out; `path` is relative to the folder, with slashes."""

    path: str
    reason: str


class Walk:
    """One pass over a folder; remembers what it left out and which real folders it has read."""

    def __init__(self, root: Path) -> None:
        """Raises LiteError: USAGE (no such folder, or a file), INPUT (it cannot be read)."""
        check_is_folder(root)
        self.root = root
        self.skipped: list[Skipped] = []
        self.ignored = 0
        self.nested: list[Path] = []  # folders with photos inside an object's folder
        self._read: set[tuple[int, int]] = set()  # device and inode: links may form a loop
        self._root = root.resolve()
        self._above = frozenset(self._root.parents)
        self._objects: dict[Path, Path] = {}  # each object's folder -> where it really is

    def relative(self, path: Path) -> str:
        """The path below the root, as text that can be shown."""
        return printable(path.relative_to(self.root).as_posix())

    def skip(self, path: Path, reason: str) -> None:
        """Remember that a file or folder was left out, and why."""
        self.skipped.append(Skipped(self.relative(path), reason))

    def objects(self, subfolders: list[Path]) -> list[Path]:
        """The sub-folders that can be objects, real ones first; from now on each keeps its photos.

        Else a link in one object to another's folder would take that one's photos, being first.
        """
        usable = []
        for folder in sorted(subfolders, key=lambda path: (path.is_symlink(), path.name)):
            real = folder.resolve()
            if real in self._above:
                self.skip(folder, ABOVE)
                continue
            usable.append(folder)
            # A link to a folder in here names what is already some object's own.
            if not folder.is_symlink() or self._root not in real.parents:
                self._objects[folder] = real
        return usable

    def photos(self, folder: Path) -> list[Path]:
        """All photos in a folder and below it, sorted by path."""
        photos, waiting = [], [folder]
        while waiting:  # no recursion: folders can be nested deeper than Python calls
            here = waiting.pop()
            reason = None if here == folder else self._astray(here, folder)
            if reason:
                self.skip(here, reason)
                continue
            found, subfolders = self.entries(here)
            self.nested += [here] if found and here != folder else []
            photos += found
            waiting += reversed(subfolders)
        return sorted(photos, key=lambda path: path.as_posix())

    def _astray(self, path: Path, top: Path) -> str | None:
        """Why a link below the object folder `top` is not followed; None when it may be."""
        real = path.resolve() if path.is_symlink() else self._root
        if real == self._root:  # or no link; the root has been read, which `entries` says
            return None
        if real in self._above:
            return ABOVE
        others = [other for folder, other in self._objects.items() if folder != top]
        inside = any(real == other or other in real.parents for other in others)
        return ANOTHER if inside or any(real in other.parents for other in others) else None

    def entries(self, folder: Path) -> tuple[list[Path], list[Path]]:
        """The photos and the sub-folders directly in a folder, sorted by name."""
        try:
            facts = folder.stat()
            names = sorted(os.listdir(folder))  # noqa: PTH208 (names, not paths, are classified)
        except OSError as error:
            if folder == self.root:
                why = "permission" if isinstance(error, PermissionError) else error.strerror
                raise LiteError(
                    f"cannot read {shown(folder)}: {why}", code=ExitCode.INPUT
                ) from error
            self.skip(folder, NO_PERMISSION if isinstance(error, PermissionError) else VANISHED)
            return [], []
        if (facts.st_dev, facts.st_ino) in self._read:
            self.skip(folder, "link to a folder already read")
            return [], []
        self._read.add((facts.st_dev, facts.st_ino))
        files, subfolders = [], []
        for name in names:
            path = folder / name
            mode = self._mode(path)
            if mode is not None and stat.S_ISDIR(mode):
                subfolders.append(path)
            elif mode is not None:
                files.append(path)
        return self._without_twins(files), subfolders

    def _mode(self, path: Path) -> int | None:
        """File mode of a folder or regular file; None once the path is skipped or ignored."""
        name = path.name
        if name.startswith(".") and name.endswith(".icloud"):
            self.skip(path, EMPTY)  # iCloud's stand-in for a photo not downloaded
            return None
        if name.startswith(".") or name.lower() in _CLUTTER:
            self.ignored += 1
            return None
        try:
            mode = path.stat().st_mode
        except OSError as error:
            gone = "broken link" if path.is_symlink() else VANISHED
            self.skip(path, NO_PERMISSION if isinstance(error, PermissionError) else gone)
            return None
        if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
            self.skip(path, IRREGULAR)  # opening a FIFO would wait for ever
            return None
        return mode

    def _without_twins(self, files: list[Path]) -> list[Path]:
        """Photos by name; the rest is skipped, a Live Photo's film without a word."""
        photos = [path for path in files if path.suffix.lower() not in _REASONS]
        stems = {path.stem.lower() for path in photos}
        for path in files:
            reason = _REASONS.get(path.suffix.lower())
            if reason == VIDEO and {path.stem.lower(), path.name.lower()} & stems:
                self.ignored += 1
            elif reason:
                self.skip(path, reason)
        return photos


def printable(text: str) -> str:
    """File names may hold bytes that are no UTF-8; shown, and saved, as replacement marks."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def shown(path: Path) -> str:
    """A path as a person types it: ./my_objects."""
    text = printable(path.as_posix())
    return text if path.is_absolute() or text.startswith(".") else f"./{text}"


def check_is_folder(folder: Path) -> None:
    """Raise LiteError: USAGE (no such folder, or a file), INPUT (no permission)."""
    name = shown(folder)
    try:
        is_folder = stat.S_ISDIR(folder.stat().st_mode)
    except PermissionError:
        raise LiteError(f"cannot read {name}: permission", code=ExitCode.INPUT) from None
    except (OSError, ValueError):  # ValueError: a zero byte in the name
        raise _no_folder(folder) from None
    if is_folder:
        return
    if folder.suffix.lower() == ".zip":
        unzip = f"unzip {shlex.quote(str(folder))}"
        raise LiteError(
            f"{name} is a file; unzip it first: {unzip}", "", unzip, code=ExitCode.USAGE
        )
    parent = shlex.quote(shown(folder.parent))
    raise LiteError(
        f"{name} is a file; give the folder", "", f"litecli adapt {parent}", code=ExitCode.USAGE
    )


def _no_folder(folder: Path) -> LiteError:
    parent = folder.parent
    try:
        siblings = [entry.name for entry in os.scandir(parent) if entry.is_dir()]
    except (OSError, ValueError):
        siblings = []
    near = difflib.get_close_matches(folder.name, siblings, n=1)
    hint = f" Did you mean {shown(parent / near[0])}?" if near else ""
    return LiteError(f"No folder {shown(folder)}.{hint}", code=ExitCode.USAGE)
