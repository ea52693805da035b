"""Objects with nothing wrong, and commands as they are typed beside them."""

from pathlib import Path

import pytest


@pytest.fixture
def adapt(run):
    """`adapt(...)` in the folder of the test -> (exit code, stdout and stderr together)."""

    def call(*arguments: object) -> tuple[int, str]:
        code, out, err = run("adapt", *(arguments or ("my_objects",)))
        return code, out + err

    return call


@pytest.fixture
def two(write_objects) -> Path:
    """A folder of two objects with nothing wrong."""
    return write_objects({"keys": 4, "mug": 4})


def row_of(told: str, label: str) -> str:
    """The line of adapt's table about one object."""
    return next(line for line in told.splitlines() if line.startswith(f"  {label} "))


@pytest.fixture
def learned(run, write_objects, put, photo):
    """`run`, with a profile of keys, mug and bowl, and new photos in inbox/."""
    write_objects({"keys": 5, "mug": 5, "bowl": 5})
    assert run("adapt", "my_objects", "-q")[0] == 0
    for number, name in enumerate(("keys", "mug", "bowl")):
        put(f"inbox/{number}.jpg", photo(name, 500 + number))
    return run
