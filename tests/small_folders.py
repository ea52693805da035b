"""Folders made to be scanned, and what scanning them gives."""

from pathlib import Path

import pytest

from litecli.errors import LiteError
from litecli.photos.folders import Scan, scan_objects


def make(root: Path, *files: str) -> Path:
    """Files with one byte each: scanning opens none, where there are no more than are used."""
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(b"x")
    return root


def put_jpegs(root: Path, *files: str) -> None:
    """Files that begin as a JPEG does, each another one."""
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(b"\xff\xd8\xff" + file.encode())


def names(scan: Scan) -> dict[str, list[str]]:
    return {
        found.label: [path.relative_to(scan.folder).as_posix() for path in found.photos]
        for found in scan.objects
    }


def reasons(scan: Scan) -> dict[str, str]:
    return {skipped.path: skipped.reason for skipped in scan.skipped}


def refusal(folder: Path) -> LiteError:
    with pytest.raises(LiteError) as caught:
        scan_objects(folder)
    return caught.value
