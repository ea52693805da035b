"""The CSV file of `litecli classify --csv`: one line an answer, on disk as answers come."""

import csv
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from litecli.cli.answers import CSV_HEADER, csv_row
from litecli.cli.options import csv_not_written
from litecli.cli.targets import check_target, start_of

if TYPE_CHECKING:
    from litecli.personal.predictions import Prediction

HEADER_LINE = ",".join(CSV_HEADER).encode()


class AnswerTable:
    """Writes answers to a file; it is opened with the first of them, and not before."""

    def __init__(self, path: Path, folder: str, inputs: Iterable[Path]) -> None:
        """`folder` is the profile's photo folder; raises LiteError as `check_target` does."""
        check_target(
            path,
            "--csv",
            kind="table",
            folder=folder,
            is_ours=is_table,
            suggested="answers.csv",
            inputs=inputs,
            devices=True,
        )
        self.path = path
        self._rows: Any = None
        self._files = ExitStack()

    def __enter__(self) -> "AnswerTable":
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()

    def add(self, answer: "Prediction") -> None:
        """Write one line; raises LiteError (MACHINE) when the file cannot be opened."""
        if self._rows is None:
            self._rows = csv.writer(self._files.enter_context(_opened(self.path)))
            self._rows.writerow(CSV_HEADER)
        self._rows.writerow(csv_row(answer))


def is_table(path: Path) -> bool:
    """Whether a file is a table of answers, or empty: nothing is lost with it."""
    start = start_of(path, len(HEADER_LINE) + 1)
    return start.rstrip(b"\r\n") == HEADER_LINE or path.stat().st_size == 0


def _opened(path: Path) -> Any:
    """The file open for writing, each line flushed as it comes."""
    try:
        return path.open("w", newline="", encoding="utf-8", errors="surrogateescape", buffering=1)
    except OSError as error:
        raise csv_not_written(path, error) from error
