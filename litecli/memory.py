"""Memory: its sizes as people write them, how much this process has, and that there is no more."""

import ctypes
import mmap
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from litecli.errors import ExitCode, LiteError

# glibc's mallopt: its parameters, and what they are by themselves
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
TRIM_THRESHOLD, MMAP_MAX = 128 * 1024, 65536

UNITS = {"kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12}
UNITS |= {"kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}
LEAST = 50_000_000  # bytes; less is a slip of the unit

_before_reset = 0  # the peak of the process until `reset_peak`


def read_size(text: str) -> int:
    """Bytes that --memory names: "8GB", "500 MB", "8 GiB" or "8g"; raises LiteError (USAGE)."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", text.lower())
    unit = match[2] if match else ""
    known = next((u for u in (unit, f"{unit}b") if u in UNITS), None)
    if match is None or known is None:
        what = "has no unit" if match and not unit else "is not a size of memory"
        raise LiteError(f"--memory {text} {what}.", fix="--memory 8GB", code=ExitCode.USAGE)
    size = int(float(match[1]) * UNITS[known])
    if size < LEAST:
        raise LiteError(
            f"--memory {text} is less than any network needs.",
            fix="--memory 8GB",
            code=ExitCode.USAGE,
        )
    return size


def written(size: float) -> str:
    """Bytes as "850 MB" or "7.6 GB"."""
    return f"{size / 1e6:.0f} MB" if size < 999.5e6 else f"{size / 1e9:.1f} GB"


def peak_resident() -> int:
    """Most bytes of memory this process has had at once; 0 where the system does not tell."""
    own = _status("VmHWM")  # getrusage would also count the process that started this one
    if own or sys.platform == "win32":
        return max(own, _before_reset)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def reset_peak() -> None:
    """Have `recent_peak` begin at what the process has now, where the system can (Linux)."""
    global _before_reset
    _before_reset = peak_resident() if sys.platform == "linux" else 0
    with suppress(OSError):  # else it is the peak of all that was before, too
        Path("/proc/self/clear_refs").write_text("5")


def recent_peak() -> int:
    """Most bytes at once since `reset_peak`; 0 where the system does not tell."""
    return _status("VmHWM") or peak_resident()


def let_go(mapped: np.ndarray) -> None:
    """Take the pages of a mapped file out of this process: the system keeps them while it can."""
    mapping = getattr(mapped, "_mmap", None)
    if mapping is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapping.madvise(mmap.MADV_DONTNEED)


def resident() -> int:
    """Bytes of memory this process has now; 0 where the system does not tell."""
    return _status("VmRSS")


def available() -> int:
    """Bytes that could be had without pushing anything out; 0 where the system does not tell."""
    return _field(Path("/proc/meminfo"), "MemAvailable")


def give_back() -> None:
    """Hand memory that was freed back to the system, where the C library keeps it (glibc)."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed: torch says so in more than one way."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's own
        return True
    said = str(error).lower()
    words = ("can't allocate memory", "not enough memory", "out of memory")
    # oneDNN's word for it is the last one; what it cannot do at all is "a primitive descriptor".
    lacking = any(text in said for text in words) or said == "could not create a primitive"
    return isinstance(error, RuntimeError) and lacking


@contextmanager
def kept() -> Iterator[None]:
    """Within, memory that is freed stays for what is asked for next (glibc; else nothing happens).

    A training step frees gigabytes that the next asks for again, a photo megabytes. Handed back in
    between, every page has to be found and zeroed anew by the system.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        yield
        return
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, -1)
    try:
        yield
    finally:
        mallopt(M_MMAP_MAX, MMAP_MAX)
        mallopt(M_TRIM_THRESHOLD, TRIM_THRESHOLD)
        give_back()


def _status(name: str) -> int:
    return _field(Path("/proc/self/status"), name)


def _field(path: Path, name: str) -> int:
    """Bytes of a line "NAME: 1234 kB" of a file of Linux's /proc."""
    try:
        found = re.search(rf"^{name}:\s+(\d+) kB", path.read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0
