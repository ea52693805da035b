"""Streams that an `Output` writes to, a terminal or a pipe, and what it has written there."""

import io

from litecli.cli.output import Output


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    encoding = "utf-8"  # type: ignore[assignment]

    def isatty(self) -> bool:
        return True


class Pipe(io.StringIO):
    """A stream with an encoding, read by a program."""

    def __init__(self, encoding: str = "utf-8") -> None:
        super().__init__()
        self._encoding = encoding

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding


def make(stdout: io.StringIO | None = None, stderr: io.StringIO | None = None, **environ: str):
    return Output(stdout or Pipe(), stderr or Pipe(), environ)


def written(stream: object) -> str:
    assert isinstance(stream, io.StringIO)
    return stream.getvalue()
