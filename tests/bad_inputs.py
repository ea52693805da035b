"""What litecli really prints to bad inputs: a table of all 65 kinds of them.

    python tests/bad_inputs.py > tests/bad_inputs.md     # three minutes; Linux, bash
    python tests/bad_inputs.py 16 39                     # some of the rows

bad_inputs.txt says how each input is made, what is typed and which exit code is due. Each kind gets
a new folder and data folder of its own, and the program runs in a terminal, as a person has it.
Exits with 1 when a code is another one.
"""

import os
import pickle
import pty
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter
from test_bad_photos import encode, png_that_claims

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from litecli import storage  # noqa: E402 (of this checkout, wherever the script is run)
from litecli.drawn import scenes  # noqa: E402 (of this checkout, wherever the script is run)

SECONDS = 120  # after which a command counts as hanging
FIRST, LAST = 6, 5  # lines kept of a long output
# Root may read and write everything: without these two rights it is as anybody else.
PROGRAM = f"""#!/bin/bash
less=-dac_override,-dac_read_search
drop="setpriv --bounding-set=$less --inh-caps=$less"
$drop true 2> /dev/null || drop=
exec $drop '{sys.executable}' -m litecli "$@"
"""
RUN = 'weights = "none"\nval = "my_objects"\nout = "o"\nval_every = 9\ndevice = "cpu"\n'
LARGE = RUN + 'backbone = "test_convnext"\nimage_size = 1024\ntasks = 1\n'
SMALL = RUN + 'backbone = "test_byobnet"\nimage_size = 32\nval_tasks = 2\ntasks = 4\n'
SMALL += "tasks_per_step = 2\n[pretrain]\nimages = 16\n"
HEAD = """\
What litecli prints to each of the 65 kinds of bad input; \
`python tests/bad_inputs.py > tests/bad_inputs.md` writes this page again.

As on a terminal of 100 columns, without the lines of progress and, after row 0, without lines \
that row 0 has too; of long outputs the middle is left out (⋮). The temporary folder is cut from \
paths, and times are written as N.

| # | input | command | exit | printed |
|---|---|---|---|---|"""


@dataclass
class Row:
    """One command of a kind of bad input."""

    number: int
    code: int  # exit status that is due
    what: str
    prepare: str = ""  # bash, before
    needs: str = ""  # bash; if it fails, the row cannot be run on this machine
    command: str = ""  # bash, typed
    then: str = ""  # done when the first photo is read: ^C is typed, the rest is bash
    not_run: str = ""  # why, and the test instead


def read_rows(text: str) -> Iterator[Row]:
    """The rows of bad_inputs.txt, whose own first lines say what its lines mean."""
    row = None
    for line in text.splitlines():
        mark, _, rest = line.strip().partition(" ")
        if not mark or mark == "#":
            continue
        if mark.isdecimal():
            if row:
                yield row
            code, _, what = rest.partition(" ")
            row = Row(int(mark), int(code), what)
            continue
        field = {":": "prepare", "?": "needs", "$": "command", "!": "then", "-": "not_run"}
        assert row is not None
        before = getattr(row, field[mark])
        setattr(row, field[mark], f"{before}\n{rest}".strip())
    if row:
        yield row


def make_samples(folder: Path) -> None:
    """Files that the rows copy: objects, new photos of them, and every kind of odd file."""
    things = {"keys": "house key", "mug": "red mug", "teapot": "teapot"}
    for label, thing in {**things, "camera": "camera"}.items():
        for view in range(5 if label in things else 0):
            save(folder / f"my_objects/{label}/IMG_{view}.jpg", scenes.draw(thing, 0, 256, view))
        save(folder / f"new/{label}.jpg", scenes.draw(thing, 1, 256))
    view = scenes.draw("house key", 2, 256)
    grey, jpeg = view.convert("L"), encode(view, "JPEG")
    exif = Image.Exif()
    exif[0x0112] = 6  # the orientation: lying
    several = {"save_all": True, "append_images": [view.rotate(180)]}
    wide = grey.resize((18_000, 10_200), Image.Resampling.NEAREST)
    blurred = view.resize((800, 800)).filter(ImageFilter.GaussianBlur(16))
    files = {
        "heic": encode(view, "HEIF"),
        "jpg": jpeg,
        "cut.jpg": jpeg[: len(jpeg) // 2],
        "page.jpg": b"<!DOCTYPE html><html>404</html>",
        "wide.jpg": encode(wide, "JPEG", quality=50),
        "claims.png": png_that_claims(20_992, 10_496),
        "speck.png": encode(Image.new("RGB", (1, 1)), "PNG"),
        "strip.png": encode(Image.new("RGB", (4000, 3)), "PNG"),
        "small.png": encode(view.resize((60, 45)), "PNG"),
        "lying.jpg": encode(view.rotate(90), "JPEG", exif=exif.tobytes()),
        "broken-exif.jpg": encode(view, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f"),
        "cmyk.jpg": encode(view.convert("CMYK"), "JPEG"),
        "palette.png": encode(view.convert("P"), "PNG"),
        "alpha.png": encode(view.convert("RGBA"), "PNG"),
        "1-bit.png": encode(grey.convert("1"), "PNG"),
        "16-bit.png": encode(Image.fromarray(np.asarray(grey).astype(np.uint16) * 257), "PNG"),
        "animated.gif": encode(view, "GIF", **several),
        "pages.tif": encode(view, "TIFF", **several),
        "two.mpo": encode(scenes.draw("red mug", 2, 256), "MPO", **several),
        "black.png": encode(Image.new("RGB", (99, 99)), "PNG"),
        "white.png": encode(Image.new("RGB", (99, 99), "white"), "PNG"),
        "blurred.jpg": encode(blurred, "JPEG"),
        "small.toml": SMALL.encode(),
        "large.toml": LARGE.encode(),
        "code.pt": pickle.dumps(HasCode()),
        "other.safetensors": storage.tensor_bytes({"conv1.weight": np.zeros((3, 3))}, {}),
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)


class HasCode:
    """An object whose pickle calls a function when it is read."""

    def __reduce__(self) -> tuple[object, ...]:
        return print, ("this code was run",)


def save(path: Path, image: Image.Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, quality=90)


def environment(folder: Path, temporary: Path) -> dict[str, str]:
    """Variables of every command: little of this machine's own, so that all machines agree."""
    kept = {name: os.environ[name] for name in ("OMP_NUM_THREADS",) if name in os.environ}
    return kept | {
        "PATH": f"{temporary / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(REPOSITORY),
        "MODELS": str(REPOSITORY / "models"),
        "SAMPLES": str(temporary / "samples"),
        "HOME": str(folder),
        "LITECLI_HOME": str(folder / "home"),
        "LANG": "C.UTF-8",
        "TERM": "xterm",
        "COLUMNS": "100",
        "NO_COLOR": "1",
    }


def run(row: Row, folder: Path, variables: dict[str, str]) -> tuple[int, str]:
    """Type the row's command in a terminal -> its exit code, and all that appears there."""
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(folder)
        os.execvpe("bash", ["bash", "-o", "pipefail", "-c", row.command], variables)
    shown, waiting, end = b"", row.then, time.monotonic() + SECONDS
    while select.select([terminal], [], [], max(0, end - time.monotonic()))[0]:
        try:
            more = os.read(terminal, 1 << 16)
        except OSError:  # Linux's way to say that nobody writes any more
            break
        if not more:
            break
        shown += more
        if waiting and b"Photos 1/" in shown:
            if waiting == "^C":
                os.write(terminal, b"\x03")
            else:
                subprocess.run(["bash", "-ec", waiting], cwd=folder, env=variables, check=True)
            waiting = ""
    else:
        os.kill(process, 9)
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    os.close(terminal)
    return code, shown.decode("utf-8", "replace")


def lines_shown(text: str, folder: Path, temporary: Path) -> list[str]:
    """The lines that stayed on the terminal, without what differs from run to run."""
    for path in (folder, temporary, REPOSITORY):
        text = text.replace(f"{path}/", "").replace(str(path), ".")
    lines = [line.rpartition("\x1b[K")[2].rstrip() for line in text.splitlines()]
    lines = [re.sub(r"\b\d+(\.\d+)?( m?s\b)", r"N\2", line) for line in lines]
    return [line for line in lines if line and not re.match(r"(Photos|Steps) \d+/\d+|\^C$", line)]


def as_cell(lines: list[str], usual: list[str]) -> str:
    """What is not the usual, as the cell of a Markdown table."""
    lines = [line for line in lines if line not in usual]
    if len(lines) > FIRST + LAST:
        lines = [*lines[:FIRST], "⋮", *lines[-LAST:]]
    return "<br>".join(map(as_code, lines)) or ("nothing but row 0" if usual else "")


def as_code(text: str) -> str:
    marks = "``" if "`" in text else "`"
    space = " " if marks == "``" else ""
    return f"{marks}{space}{text.expandtabs()}{space}{marks}".replace("|", "\\|")


def install(temporary: Path) -> None:
    """Put `litecli` and the samples into the temporary folder."""
    make_samples(temporary / "samples")
    program = temporary / "bin/litecli"
    program.parent.mkdir()
    program.write_text(PROGRAM)
    program.chmod(0o755)


def answer(row: Row, temporary: Path) -> tuple[int, list[str]] | None:
    """Exit code of the row's command and the lines it showed; None where it cannot be run."""
    folder = temporary / str(row.number)
    if not folder.exists():
        for name in ("my_objects", "new"):
            shutil.copytree(temporary / "samples" / name, folder / name)
    variables = environment(folder, temporary)
    bash = partial(subprocess.run, cwd=folder, env=variables, stdout=subprocess.DEVNULL)
    if row.not_run or bash(["bash", "-c", row.needs]).returncode:
        return None
    bash(["bash", "-ec", row.prepare], check=True)
    code, text = run(row, folder, variables)
    return code, lines_shown(text, folder, temporary)


def main() -> int:
    """Print the table; 1 when an exit code is not the one that is due."""
    wanted = {0, *map(int, sys.argv[1:])}
    rows = list(read_rows(Path(__file__).with_suffix(".txt").read_text(encoding="utf-8")))
    assert {row.number for row in rows} == set(range(66))
    wrong, usual = [], []
    print(HEAD)
    with tempfile.TemporaryDirectory() as name:
        temporary = Path(name).resolve()
        install(temporary)
        for row in rows:
            if len(wanted) > 1 and row.number not in wanted:
                continue
            begins = f"| {row.number} | {row.what} |"
            answered = answer(row, temporary)
            if answered is None:
                why = row.not_run or f"this machine does not allow `{row.needs}`"
                print(f"{begins} | {row.code} | not run here: {why} |")
                continue
            code, lines = answered
            right = code == row.code and not any("Traceback" in line for line in lines)
            wrong += [] if right else [row.number]
            typed = as_code(row.command) + f", then {as_code(row.then)}" * bool(row.then)
            told = f"{code}" if right else f"**{code}, not {row.code}**"
            print(f"{begins} {typed} | {told} | {as_cell(lines, usual)} |", flush=True)
            usual = usual or lines
    if wrong:
        print(f"Not as they should be: {wrong}", file=sys.stderr)
    return int(bool(wrong))


if __name__ == "__main__":
    raise SystemExit(main())
