"""Sizes of memory as people write them, and what this process has taken."""

import subprocess
import sys

import numpy as np
import pytest

from litecli import memory
from litecli.errors import ExitCode, LiteError


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("8GB", 8_000_000_000),
        ("500MB", 500_000_000),
        ("8 GiB", 8 * 2**30),
        (" 1.5g ", 1_500_000_000),
        ("640mib", 640 * 2**20),
        ("0.1TB", 100_000_000_000),
    ],
)
def test_sizes_are_read_as_people_write_them(text: str, size: int) -> None:
    assert memory.read_size(text) == size


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("8", "has no unit"),
        ("lots", "is not a size"),
        ("8 parsecs", "is not a size"),
        ("-8GB", "is not a size"),
        ("", "is not a size"),
        ("8MB", "less than any network needs"),
    ],
)
def test_other_sizes_are_refused_with_an_example(text: str, said: str) -> None:
    with pytest.raises(LiteError, match=said) as caught:
        memory.read_size(text)
    assert caught.value.code == ExitCode.USAGE and caught.value.fix == "--memory 8GB"


def test_what_is_written_is_read_back() -> None:
    assert [memory.written(size) for size in (85e6, 999.7e6, 7.64e9)] == [
        "85 MB",
        "1.0 GB",
        "7.6 GB",
    ]
    assert memory.read_size(memory.written(7.6e9)) == 7_600_000_000


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's /proc")
def test_the_peak_stays_and_what_is_freed_goes() -> None:
    before = memory.resident()
    taken = np.ones(150_000_000, np.uint8)
    assert memory.resident() > before + 140_000_000
    del taken
    memory.give_back()
    assert memory.resident() < before + 50_000_000
    assert memory.peak_resident() > before + 140_000_000
    assert memory.available() > 0


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
def test_memory_is_kept_for_the_next_step_and_given_back_in_the_end() -> None:
    """In a process of its own: what else a test run has freed would blur it."""
    code = """
import numpy as np
from litecli import memory

def rise(size=400_000_000):
    before = memory.resident()
    np.ones(size, np.uint8)  # taken, filled and freed at once
    return memory.resident() - before

apart = rise()
with memory.kept():
    within = rise()
    again = rise()
print(apart, within, again, memory.resident())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    apart, within, again, after = map(int, done.stdout.split())
    assert apart < 1e8 and within > 3e8 and again < 1e8 and after < 3e8


@pytest.mark.parametrize(
    ("error", "lacking"),
    [
        (MemoryError(), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes"), True),
        (RuntimeError("could not create a primitive"), True),  # oneDNN, where memory is limited
        (RuntimeError("could not create a primitive descriptor for a convolution"), False),
        (RuntimeError("shapes differ"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_a_lack_of_memory_looks_like(error: Exception, lacking: bool) -> None:
    assert memory.is_out_of_memory(error) is lacking
