"""Command lines and terminals that are not as they should be: rows 46 to 52 of the bad inputs.

Terminals and closed pipes are met by a real process; the rest runs in this one.
"""

import csv
import json
import os
import subprocess
import time
from pathlib import Path

import pytest

from litecli import library

from .small_objects import learned

__all__ = ("learned",)  # a fixture


def test_row_46_no_photos(learned, put) -> None:
    put("empty/notes.txt")
    code, _, err = learned("classify", "empty")
    assert code == 3 and "There are no photos in empty." in err
    code, _, err = learned("classify", "*.jpg")
    assert code == 3 and "No photos match *.jpg" in err
    assert "No file here fits the pattern." in err
    put("empty/film.mov")
    code, _, err = learned("classify", "empty")
    assert code == 3 and "videos are not read yet; export frames or take photos" in err


def test_row_47_a_web_address(learned) -> None:
    code, _, err = learned("classify", "https://example.org/cat.jpg")
    assert code == 2 and "litecli does not download photos; save it first." in err
    assert err.endswith("Try: curl -LO https://example.org/cat.jpg\n")


def test_row_48_stdin_is_a_terminal(learned, program) -> None:
    pty = pytest.importorskip("pty", reason="needs pseudo-terminals")
    master, slave = pty.openpty()
    process = program("classify", "-", stdin=slave)
    _, err = process.communicate(timeout=60)
    os.close(slave)
    os.close(master)
    assert process.returncode == 2 and "stdin is this terminal" in err
    assert err.endswith("Try: litecli classify - < photo.jpg\n")


def test_row_48_stdin_is_empty(learned, program) -> None:
    process = program("classify", "-", stdin=subprocess.DEVNULL)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 3 and "There is no image on stdin." in err


def test_row_49_names_the_shell_takes_apart(learned, put, photo) -> None:
    for name in ("-rf.jpg", "photo 1.jpg"):
        put(name, photo("keys", 1))
    code, _, err = learned("classify", "-rf.jpg")
    assert code == 2 and "-rf.jpg was read as an option, not as a file." in err
    assert err.endswith("Try: litecli classify -- -rf.jpg\n")
    assert learned("classify", "--", "-rf.jpg")[0] == 0
    code, _, err = learned("classify", "photo", "1.jpg")
    assert code == 2 and "No file photo, no file 1.jpg: put quotes round 'photo 1.jpg'" in err


def test_a_folder_whose_name_came_without_quotes(run, write_objects) -> None:
    folder = write_objects({"keys": 2, "mug": 2}, "my phone photos")
    code, out, err = run("adapt", "my", "phone", "photos", "--dry-run")
    assert (code, out) == (2, "") and "There are no quotes round 'my phone photos'." in err
    assert err.endswith("Try: litecli adapt 'my phone photos' --dry-run\n") and folder.is_dir()
    err = run("adapt", "your", "photos")[2]
    assert err.endswith("Try: litecli adapt --help\n")


def test_row_50_one_bad_file_among_200(learned, put, photo) -> None:
    names = [f"many/{number:03}.jpg" for number in range(200)]
    for number, name in enumerate(names):
        put(name, b"<html>" if number == 77 else photo("mug", number % 3))
    code, out, err = learned("classify", *names)
    lines = [line.split("\t") for line in out.splitlines()]
    assert code == 3 and [line[0] for line in lines] == names
    assert lines[77] == [names[77], "", "", "not an image (looks like a web page)"]
    assert sum(line[1] != "" for line in lines) == 199
    assert err.splitlines()[-1].startswith("Error: 1 of 200 photos could not be used: ")
    assert "many/077.jpg" in err.splitlines()[-1]
    code, _, err = learned("classify", *names, "--csv", "out.csv")
    with Path("out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert code == 3 and rows[77]["error"] == "not an image (looks like a web page)"
    assert [row["path"] for row in rows if row["error"]] == [names[77]]
    code, out, err = learned("classify", *names, "--json")
    errors = [json.loads(line)["error"] for line in out.splitlines()]
    assert code == 3 and [n for n, error in enumerate(errors) if error] == [77] and err == ""
    assert learned("classify", "many")[0] == 0  # found, not named


def test_row_51_stdout_is_closed(learned, put, photo, program) -> None:
    for number in range(40):
        put(f"inbox/{number:03}.jpg", photo("mug", number % 3))
    with program("classify", "inbox") as process:
        assert process.stdout and process.stderr
        assert process.stdout.readline().startswith("inbox/0")
        process.stdout.close()  # as head does
        assert process.stderr.read() == ""
    assert process.returncode == 0


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_row_52_a_poor_terminal(learned, encoding: str, program) -> None:
    pty = pytest.importorskip("pty", reason="needs pseudo-terminals")
    Path("my_objects/keys").rename("my_objects/鍵 é")
    poor = {"PYTHONIOENCODING": encoding, "TERM": "dumb", "COLUMNS": "20", "NO_COLOR": "1"}
    master, slave = pty.openpty()
    process = program("adapt", "my_objects", stdout=slave, env={**os.environ, **poor})
    _, err = process.communicate(timeout=60)
    os.close(slave)
    told = os.read(master, 1 << 16)
    os.close(master)
    assert process.returncode == 0 and "Traceback" not in err and b"\x1b" not in told
    lines = told.decode(encoding).splitlines()
    shown = "\\u9375 é" if encoding == "cp1252" else "\\u9375 \\xe9"
    assert f"object: {shown}" in lines and "photos: 5" in lines


def test_row_49_many_names_are_looked_at_once(learned, put, photo) -> None:
    """Looking for a name that the shell took apart must not try every pair of 4,000 names."""
    names = [f"no {number}.jpg".split()[k] for number in range(2000) for k in (0, 1)]
    began = time.process_time()
    code, _, err = learned("classify", *names)
    assert code == 2 and err.startswith("Error: No file no, no file 0.jpg")
    assert time.process_time() - began < 5


ODD = ("", " ", "x" * 300, "a\nb", "caf\udce9.jpg", "~x", "my_objects", "loop", "[b]")


@pytest.mark.parametrize("odd", ODD)
def test_odd_arguments_are_no_bug(learned, odd: str) -> None:
    """Of any command, whatever is typed: an answer, and never exit code 1."""
    Path("loop").symlink_to("loop")
    for command in (
        ("adapt", odd),
        ("adapt", "my_objects", "--name", odd),
        ("adapt", "my_objects", "--model", odd),
        ("adapt", "my_objects", "-o", odd),
        ("classify", odd),
        ("classify", "inbox/0.jpg", odd),
        ("classify", "inbox/0.jpg", "-p", odd),
        ("classify", "inbox/0.jpg", "--csv", odd),
        ("profiles", "show", odd),
        ("profiles", "rename", "my_objects", odd),
        ("profiles", "remove", odd),
        ("models", "show", odd),
        ("models", "use", odd),
        ("models", "add", odd),
    ):
        code, _, err = learned(*command)
        assert code in (0, 2, 3, 4, 6), (command, err)
        if code == 0:
            library.use_model("tiny")
            assert learned("adapt", "my_objects", "--name", "my_objects", "-q")[0] == 0


def test_a_device_is_not_replaced_by_a_profile(learned) -> None:
    os.mkfifo("pipe")
    for place in ("pipe", "inbox"):
        code, _, err = learned("adapt", "my_objects", "-o", place)
        assert code == 2 and f"-o {place} is a folder or a device; give the name of a file." in err
    assert Path("pipe").is_fifo()
