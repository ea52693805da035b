"""The errors a user can mend: what happened, why, and what to type next.

Every layer raises `LiteError`; only the command line's boundary (cli/boundary.py) turns one into
text and an exit code.
"""

from enum import IntEnum


class ExitCode(IntEnum):
    """What the shell sees. The table is part of the interface: scripts branch on it."""

    OK = 0
    BUG = 1
    USAGE = 2  # wrong usage or config
    INPUT = 3  # the photos cannot be used
    MISSING = 4  # profile or model missing, damaged or incompatible
    NETWORK = 5  # the network was needed
    MACHINE = 6  # memory, device, disk, lock, diverged loss
    UNKNOWN = 7  # `classify --fail-on-unknown` met an unknown photo
    BELOW_MINIMUM = 8  # `adapt --min-accuracy` was not reached
    INTERRUPTED = 130  # Ctrl-C


class LiteError(Exception):
    """Something the user can mend.

    `what` is one sentence that names the thing; `why` says what it means (may be empty);
    `fix` is a command or action to try (may be empty); `code` is the process's exit code.
    """

    def __init__(self, what: str, why: str = "", fix: str = "", *, code: ExitCode) -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.fix = fix
        self.code = code


class PhotoError(LiteError):
    """One file that cannot be used as a photo; `reason` is the short text of the skipped list."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, code=ExitCode.INPUT)
        self.reason = reason
