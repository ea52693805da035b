"""The one place that writes: results on stdout, talk and progress on stderr.

User text (folder names, paths) is printed as it is: no markup is read, and what the console's
encoding cannot show is written as ASCII instead of failing.
"""

import codecs
import json
import os
import re
import shutil
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TextIO

from litecli.cli.texts import counted, duration, escaped, shortened_path, text_width, wrapped

ASCII_MARKS = str.maketrans({"±": "+-", "…": "...", "×": "x", "–": "-", "✓": "ok", "★": "*"})
STYLES = {"bold": "1", "red": "31", "green": "32", "yellow": "33"}
OUR_COLOURS = re.compile(r"(\x1b\[(?:0|1|31|32|33)m)")
PROGRESS_SHARE = 0.10  # off a terminal: one line per this share of the work
PROGRESS_SECONDS = 30.0  # or per this many seconds
RECENT = 30  # calls of a progress function
NARROW = 24  # columns: a last column that needs more may go on below itself
SKIPPED_SHOWN = 5  # files that were left out and are named; the rest with -v
WORTH_SAYING = 5.0  # seconds; a shorter rest is not announced


class Output:
    """Where a command's results and talk go, and in which form."""

    def __init__(
        self,
        stdout: TextIO | None = None,
        stderr: TextIO | None = None,
        environ: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.stdout = stdout or sys.stdout
        self.stderr = stderr or sys.stderr
        self.environ = os.environ if environ is None else environ
        self.clock = clock
        self.quiet = False
        self.verbose = False
        self.json = False
        self.errors = True  # False: of many processes another one says what is wrong
        self._drawn = False  # a progress line stands on the terminal, unfinished

    @property
    def for_people(self) -> bool:
        """Whether a person reads stdout; otherwise a program does, and gets tabs."""
        return self.stdout.isatty()

    @property
    def animated(self) -> bool:
        """Whether stderr can redraw a line."""
        return self.stderr.isatty() and self.environ.get("TERM") != "dumb"

    def result(self, text: str = "") -> None:
        """One line of the answer, its tabs and our colours kept; nothing with --json."""
        if not self.json:
            parts = OUR_COLOURS.split(text) if self.for_people else [text]
            # Every second part is a colour.
            parts[::2] = [escaped(part, keep="\n\t") for part in parts[::2]]
            self._write(self.stdout, "".join(parts))

    def paragraph(self, text: str) -> None:
        """`result` of a sentence or two; on a terminal, lines end between words."""
        for line in wrapped(escaped(text), self._room()):
            self.result(line)

    def record(self, data: Mapping[str, Any]) -> None:
        """One JSON object on one line of stdout, in ASCII where the stream is not UTF-8."""
        text = json.dumps(data, ensure_ascii=False)
        whole = len(text.splitlines()) == 1  # U+2028 in a name would end the line for some readers
        self._write(
            self.stdout, text if whole and _carries(self.stdout, text) else json.dumps(data)
        )

    def say(self, text: str) -> None:
        """One line of talk; nothing with --quiet."""
        if not self.quiet:
            self._write(self.stderr, escaped(text))

    def detail(self, text: str) -> None:
        """One line of talk for --verbose."""
        if self.verbose:
            self._write(self.stderr, escaped(text))

    def problem(self, text: str) -> None:
        """Lines of an error: always shown."""
        self._write(self.stderr, escaped(text, keep="\n"))

    def table(self, headers: Sequence[str], rows: Sequence[Sequence[str]], right: str = "") -> None:
        """An aligned table; columns whose header is a word of `right` are right-aligned.

        On a terminal the last column goes on below itself; on one narrower than the columns each
        row becomes a few lines of "header: value".
        """
        rows = [[escaped(cell) for cell in row] for row in rows]
        widths = [max(map(text_width, column)) for column in zip(headers, *rows, strict=True)]
        before = sum(widths[:-1]) + 2 * len(widths)
        room = self._room()
        if before + min(widths[-1], NARROW) > room:
            for row in rows:
                for header, value in zip(headers, row, strict=True):
                    if value:
                        self.paragraph(f"{header}: {value}" if header else value)
            return
        for row in (headers, *rows):
            first, *more = wrapped(row[-1], room - before)
            cells = (
                " " * (width - text_width(cell)) + cell
                if header in right.split()
                else cell + " " * (width - text_width(cell))
                for header, cell, width in zip(headers, (*row[:-1], first), widths, strict=True)
            )
            self.result(("  " + "  ".join(cells)).rstrip())
            for line in more:
                self.result(" " * before + line)

    def styled(self, text: str, style: str) -> str:
        """The text in colour, where stdout is a terminal that wants it."""
        environ = self.environ
        if not self.for_people or environ.get("NO_COLOR") or environ.get("TERM") == "dumb":
            return text
        return f"\x1b[{STYLES[style]}m{text}\x1b[0m"

    def progress(self, label: str, first: int = 0) -> Callable[..., None]:
        """A function to call with (done, total, note); it redraws, or prints a line now and then.

        `first` steps were done before the clock started. The time that is left is judged by the
        last RECENT calls: a later stage may be slower than the one before.
        """
        shown_at = self.clock()
        shown = 0.0
        recent = deque([(shown_at, first)], maxlen=RECENT)

        def show(done: int, total: int, note: str = "") -> None:
            nonlocal shown, shown_at
            if self.quiet or total <= 0:
                return
            now, share = self.clock(), done / total
            began, before = recent[0]
            recent.append((now, done))
            left = (now - began) / max(done - before, 1) * (total - done)
            said = f", {duration(left)} left" if left >= WORTH_SAYING else ""
            text = f"{label} {done}/{total}{said}{note}"
            if self.animated:
                self._write(self.stderr, text, end="")
            elif share - shown >= PROGRESS_SHARE - 1e-9 or now - shown_at >= PROGRESS_SECONDS:
                shown, shown_at = share, now
                self._write(self.stderr, text)

        return show

    def abandon_stdout(self) -> None:
        """Point stdout at nothing: its reader has left, and the last flush must not fail."""
        _point_at_nothing(self.stdout)

    def _room(self) -> int:
        """Columns of the terminal that stdout is; without end where it is none."""
        return shutil.get_terminal_size().columns if self.for_people else sys.maxsize

    def _write(self, stream: TextIO, text: str, end: str = "\n") -> None:
        if self._drawn and stream.isatty():
            self._put(self.stderr, "\r\x1b[K")  # the progress line makes room
            self._drawn = False
        self._drawn |= not end  # before it is written: Ctrl-C may come right after
        encoding = stream.encoding or "utf-8"
        try:
            text.encode(encoding)
        except UnicodeEncodeError:
            text = text.translate(ASCII_MARKS).encode(encoding, "backslashreplace").decode(encoding)
        self._put(stream, text + end)

    def _put(self, stream: TextIO, text: str) -> None:
        """Write now; raises OSError for stdout only: talk that nobody hears stops no work."""
        try:
            stream.write(text)
            stream.flush()
        except OSError:
            if stream is not self.stderr:
                raise
            _point_at_nothing(stream)


def show_skipped(
    out: Output, skipped: Sequence[tuple[str, str]], write: Callable[[str], None]
) -> None:
    """Name the first files that were left out (path, reason), with --verbose all of them."""
    if not skipped:
        return
    named = skipped if out.verbose else skipped[:SKIPPED_SHOWN]
    write(f"Skipped {counted(len(skipped), 'file')}:")
    for path, reason in named:
        write(f"  {shortened_path(path)} ({reason})")
    if len(named) < len(skipped):
        write(f"  and {len(skipped) - len(named)} more; -v names all")


def _point_at_nothing(stream: TextIO) -> None:
    with open(os.devnull, "w") as nothing:  # noqa: PTH123 (a device, not a path)
        os.dup2(nothing.fileno(), stream.fileno())


def _carries(stream: TextIO, text: str) -> bool:
    """Whether the stream is UTF-8 and the text fits it: a file name may be no UTF-8."""
    if codecs.lookup(stream.encoding or "utf-8").name != "utf-8":
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
