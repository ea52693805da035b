"""Files: whole ones at once or not at all, safetensors, and where they live.

A write is a temporary file, fsync, rename: a reader sees the old file or the new one, never half.
Equal tensors and metadata give equal bytes (no time stamps, sorted header).
"""

import errno
import hashlib
import json
import os
import uuid
import zlib
from collections.abc import Container, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from platformdirs import user_data_path
from safetensors import SafetensorError, safe_open

from litecli.errors import ExitCode, LiteError

_LENGTH_BYTES = 8  # a safetensors file starts with the header's length, little-endian


class DamagedFileError(LiteError):
    """A file that is there and can be read, but is not whole."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} is damaged.", reason, code=ExitCode.MISSING)


def home() -> Path:
    """The user's data folder: `LITECLI_HOME`, else the platform's own; it may not exist yet.

    Raises LiteError (MACHINE) when the machine does not say where that is.
    """
    chosen = os.environ.get("LITECLI_HOME")
    try:
        return Path(chosen).expanduser() if chosen else user_data_path("litecli", appauthor=False)
    except RuntimeError:  # no home folder: HOME unset, user unknown
        raise LiteError(
            "litecli does not know where to keep your profiles.",
            "This computer names no home folder for you.",
            "set LITECLI_HOME to a folder you can write to",
            code=ExitCode.MACHINE,
        ) from None


def shipped_models_dir() -> Path:
    """The folder of the models that come with litecli; it may not exist."""
    package = Path(__file__).parent
    inside = package / "models"
    # An editable install has the models beside the package, not in it.
    return inside if inside.is_dir() else package.parent / "models"


def atomic_write(path: Path, data: bytes, *, what: str = "", fix: str = "") -> None:
    """Write `data` to `path`, all of it or nothing; see `write_together`."""
    write_together({path: data}, what=what, fix=fix)


def write_together(contents: Mapping[Path, bytes], *, what: str = "", fix: str = "") -> None:
    """Write several files so that a full disk changes none of them.

    All temporary files are complete before the first rename; renames follow the mapping's order.
    `what` names the thing in the error ("profile garage"), `fix` is what to type instead.
    Raises LiteError (MACHINE) when the disk is full, read-only or otherwise unwilling.
    """
    temporary: dict[Path, Path] = {}
    try:
        for path, data in contents.items():
            if path.exists() and not path.is_file():  # a rename would put an end to a device
                raise OSError("it is a folder or a device")
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary[path] = _write_temporary(path, data)
        for path in contents:
            temporary[path].replace(path)
            del temporary[path]
            _flush_folder(path.parent)
    except OSError as error:
        size = sum(len(data) for data in contents.values())
        folder = next(iter(contents)).parent
        raise LiteError(
            f"Could not save {what or next(iter(contents))} ({plain_reason(error)}).",
            f"It needs {_megabytes(size)} in {folder}; what was there before is untouched.",
            fix,
            code=ExitCode.MACHINE,
        ) from error
    finally:
        for leftover in temporary.values():
            leftover.unlink(missing_ok=True)


def clear_temporary(path: Path) -> None:
    """Delete what a killed litecli left of writing `path`; nobody else may be writing it now."""
    for leftover in path.parent.glob(f"{_tag(path)}*.tmp"):
        with suppress(OSError):  # whoever wants to write next says better what is wrong
            leftover.unlink()


def write_tensors(
    path: Path,
    tensors: Mapping[str, np.ndarray],
    metadata: Mapping[str, str],
    *,
    what: str = "",
    fix: str = "",
) -> None:
    """Write tensors and text metadata as one safetensors file; raises as `atomic_write`."""
    atomic_write(path, tensor_bytes(tensors, metadata), what=what, fix=fix)


def tensor_bytes(tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> bytes:
    """The bytes of a safetensors file; equal arguments give equal bytes."""
    arrays = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    # ascontiguousarray turns a scalar into a vector of one: put the shape back.
    arrays = {name: array.reshape(tensors[name].shape) for name, array in arrays.items()}
    raw = safetensors.numpy.save(arrays, dict(metadata))
    # safetensors writes its metadata in a random order: sort the header, keep the rest.
    header, start = _split_header(raw)
    text = to_json(header).encode()
    text += b" " * (-len(text) % 8)
    length = len(text).to_bytes(_LENGTH_BYTES, "little")
    return b"".join((length, text, memoryview(raw)[start:]))  # no third copy of large tensors


def to_json(data: Any) -> str:
    """Compact JSON with sorted keys: equal data give equal text."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def read_tensors(
    path: Path, names: Container[str] | None = None
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The tensors of a safetensors file, all or those among `names`, and its metadata.

    Raises LiteError (MISSING) when the file is absent or unreadable, DamagedFileError (one of
    them) when it is not whole.
    """
    try:
        with safe_open(path, framework="np") as file:
            wanted = [n for n in file.keys() if names is None or n in names]  # noqa: SIM118
            tensors = {name: file.get_tensor(name) for name in wanted}
            return tensors, file.metadata() or {}
    except (OSError, SafetensorError, TypeError) as error:
        raise _unreadable(path, error) from error


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file, without its tensors; raises as `read_tensors` does."""
    try:
        with safe_open(path, framework="np") as file:
            return file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise _unreadable(path, error) from error


def tensor_offsets(path: Path) -> dict[str, tuple[int, int]]:
    """Where each tensor lies in a safetensors file: name -> (offset in the file, length), bytes.

    These are the `offset` and `length` of an ONNX initializer whose data is in this file.
    Raises LiteError (MISSING) when the file is absent or damaged.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
            header = json.loads(file.read(min(length, path.stat().st_size)))
        start = _LENGTH_BYTES + length
        header.pop("__metadata__", None)
        spans = {name: entry["data_offsets"] for name, entry in header.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise _unreadable(path, error) from error
    return {name: (start + begin, end - begin) for name, (begin, end) in spans.items()}


def files_sha256(paths: list[Path]) -> str:
    """The sha256 of the files' bytes one after another, in hex; raises LiteError (MISSING)."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            with path.open("rb") as file:
                hashlib.file_digest(file, lambda: digest)
        except OSError as error:
            raise _unreadable(path, error) from error
    return digest.hexdigest()


def plain_reason(error: Exception) -> str:
    """Why the system would not write, in a few words."""
    number = getattr(error, "errno", None)
    if number in (errno.ENOSPC, errno.EDQUOT):
        return "disk full"
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "no permission to write"
    return (getattr(error, "strerror", None) or str(error)).lower()


def _tag(path: Path) -> str:
    """How the temporary files for `path` begin: short, as a name may be as long as names can be."""
    return f".{zlib.crc32(os.fsencode(path.name)):08x}."


def _write_temporary(path: Path, data: bytes) -> Path:
    """A complete, flushed temporary file beside `path`; none is left when writing fails."""
    temporary = path.with_name(f"{_tag(path)}{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def _flush_folder(folder: Path) -> None:
    """Make a rename survive a power cut, where folders can be flushed (not on Windows)."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _split_header(raw: bytes) -> tuple[dict[str, Any], int]:
    start = _LENGTH_BYTES + int.from_bytes(raw[:_LENGTH_BYTES], "little")
    return json.loads(raw[_LENGTH_BYTES:start]), start


def _megabytes(size: int) -> str:
    return f"{round(size / 1e6)} MB" if size >= 1e6 else "less than 1 MB"


def _unreadable(path: Path, error: Exception) -> LiteError:
    if isinstance(error, FileNotFoundError):  # safetensors says so of any file it may not open
        try:
            path.open("rb").close()
        except OSError as own:
            error = own
    if isinstance(error, FileNotFoundError):
        return LiteError(f"No file {path}.", code=ExitCode.MISSING)
    if isinstance(error, PermissionError):
        return LiteError(f"Cannot read {path}: no permission.", code=ExitCode.MISSING)
    return DamagedFileError(path, str(error))
