"""`litecli classify`: words for people, tabs, CSV and JSON for programs, and its bad inputs."""

import csv
import errno
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from litecli.cli.answers import CSV_HEADER
from litecli.personal.predictions import Prediction


@pytest.fixture
def learned(run, write_objects, photo, tmp_path: Path):
    """`run`, with a profile of keys, mug and bowl, and new photos in inbox/."""
    write_objects({"keys": 6, "mug": 6, "bowl": 6})
    assert run("adapt", "my_objects", "-q")[0] == 0
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    for number, name in enumerate(("keys", "mug", "bowl")):
        (inbox / f"{number}.jpg").write_bytes(photo(name, 500 + number))
    return run


SURE = Prediction("a.jpg", "keys", True, 0.97, {"keys": 0.97, "mug": 0.03}, "keys/IMG_3.jpg")


def test_off_a_terminal_one_line_a_photo_in_input_order(learned) -> None:
    code, out, err = learned(
        "classify", "--no-unknown", "inbox/2.jpg", "inbox/0.jpg", "inbox/1.jpg"
    )
    fields = [line.split("\t") for line in out.splitlines()]
    assert (code, err) == (0, "")
    assert [f[:2] for f in fields] == [
        ["inbox/2.jpg", "bowl"],
        ["inbox/0.jpg", "keys"],
        ["inbox/1.jpg", "mug"],
    ]
    assert all(0 <= float(f[2]) <= 1 for f in fields)


def test_an_answer_does_not_depend_on_the_batch(learned) -> None:
    alone = learned("classify", "inbox/1.jpg", "--json")[1]
    together = learned("classify", "inbox", "--json")[1].splitlines()
    assert json.loads(alone) == json.loads(together[1])


def test_json_lines_follow_their_schema(learned) -> None:
    code, out, _ = learned("classify", "inbox", "--json")
    for line in out.splitlines():
        told = json.loads(line)
        assert list(told) == [
            *("schema", "path", "label", "known", "confidence", "scores", "nearest", "error"),
            "novelty",
        ]
        assert told["schema"] == "litecli.classify/1" and told["error"] is None
        assert sum(told["scores"].values()) == pytest.approx(1)
        assert told["confidence"] == max(told["scores"].values())
        assert told["scores"][told["label"]] == told["confidence"]
        assert told["nearest"].endswith(".jpg")
    assert code == 0


def test_csv_file(learned) -> None:
    code, out, err = learned("classify", "inbox", "--csv", "out.csv")
    assert (code, out) == (0, "") and err.splitlines()[-1] == "Wrote 3 answers to out.csv"
    with Path("out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == ["keys", "mug", "bowl"]
    assert list(rows[0]) == list(CSV_HEADER)


def test_csv_is_on_disk_as_answers_come(learned, monkeypatch: pytest.MonkeyPatch) -> None:
    from litecli.personal import predictions

    seen = []

    def one_then_stopped(*_: object, **__: object):
        yield SURE
        seen.append(Path("out.csv").read_text().splitlines())
        raise KeyboardInterrupt

    monkeypatch.setattr(predictions, "classify", one_then_stopped)
    code, _, _ = learned("classify", "inbox", "--csv", "out.csv")
    assert code == 130 and len(seen[0]) == 2 and seen[0][1].startswith("a.jpg,keys,true")


def test_no_torch_is_loaded(learned) -> None:
    code = (
        "import sys; from litecli.cli import main; code = main(['classify', 'inbox', '-q']); "
        "sys.exit(code or ('torch' in sys.modules and 'torch was loaded') or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "") and len(done.stdout.splitlines()) == 3


def test_unknown_and_the_exit_code_for_it(learned) -> None:
    strict = ("classify", "inbox/0.jpg", "--unknown-threshold", "-1000")
    code, out, _ = learned(*strict)
    assert code == 0 and out.split("\t")[1] == "unknown"
    assert learned(*strict, "--fail-on-unknown")[0] == 7
    told = json.loads(learned(*strict, "--json")[1])
    assert told["known"] is False and told["label"] == "keys"
    assert learned("classify", "inbox/0.jpg", "--no-unknown", "--fail-on-unknown")[0] == 0


def test_the_novelty_in_the_answer_is_what_the_threshold_is_set_by(learned) -> None:
    profile = json.loads(learned("profiles", "show", "--json")[1])
    told = json.loads(learned("classify", "inbox/0.jpg", "--json")[1])
    assert told["known"] is (told["novelty"] <= profile["unknown_threshold"])
    for more, known in ((1e-6, True), (-1e-6, False)):
        level = f"{told['novelty'] + more:.9f}"
        again = learned("classify", "inbox/0.jpg", "--json", "--unknown-threshold", level)[1]
        assert json.loads(again)["known"] is known


def test_a_bad_file_inside_a_folder_is_no_failure(learned) -> None:
    Path("inbox/bad.jpg").write_bytes(b"<html>")
    code, out, _ = learned("classify", "inbox")
    assert code == 0 and "inbox/bad.jpg\t\t\tnot an image (looks like a web page)" in out


def test_one_bad_file_alone(learned) -> None:
    Path("bad.jpg").write_bytes(b"")
    code, _, err = learned("classify", "bad.jpg")
    assert code == 3 and err.startswith("Error: bad.jpg: empty file")


def test_recursive(learned, photo) -> None:
    deep = Path("inbox/deep")
    deep.mkdir()
    (deep / "x.jpg").write_bytes(photo("mug", 1))
    assert len(learned("classify", "inbox")[1].splitlines()) == 3
    assert len(learned("classify", "inbox", "--recursive")[1].splitlines()) == 4


class Stdin(io.TextIOWrapper):
    """stdin with the given bytes, a terminal or not."""

    def __init__(self, data: bytes = b"", terminal: bool = False) -> None:
        super().__init__(io.BytesIO(data), encoding="utf-8")
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


def test_image_on_stdin(learned, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Stdin(Path("inbox/1.jpg").read_bytes()))
    code, out, _ = learned("classify", "-", "--no-unknown")
    assert code == 0 and out.split("\t")[:2] == ["-", "mug"]


def test_paths_on_stdin(learned, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Stdin(b"inbox/1.jpg\ninbox/0.jpg\n\n"))
    code, out, _ = learned("classify", "--stdin-paths")
    assert code == 0 and [line.split("\t")[0] for line in out.splitlines()] == [
        "inbox/1.jpg",
        "inbox/0.jpg",
    ]
    monkeypatch.setattr(sys, "stdin", Stdin(b""))
    assert learned("classify", "--stdin-paths")[0] == 3


def test_a_profile_file_works_anywhere(learned, tmp_path: Path) -> None:
    learned("adapt", "my_objects", "-o", "mailed.safetensors")
    code, out, _ = learned("classify", "inbox/0.jpg", "-p", "mailed.safetensors", "--no-unknown")
    assert code == 0 and out.split("\t")[1] == "keys"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ((), 2, "Which photos?"),
        (("nothere.jpg",), 2, "No file nothere.jpg"),
        (("inbox/0.jpeg",), 2, "Did you mean inbox/0.jpg?"),
        (("inbox/0.jpg", "--no-unknown", "--unknown-threshold", "1"), 2, "contradict"),
        (("inbox/0.jpg", "--top", "0"), 2, "--top"),
        (("inbox/0.jpg", "--csv", "nowhere/out.csv"), 6, "Cannot write nowhere/out.csv"),
    ],
)
def test_bad_input(learned, arguments, code: int, words: str) -> None:
    got, out, err = learned("classify", *arguments)
    assert (got, out) == (code, "") and words in err and err.startswith("Error: ")


def test_a_missing_file_among_others_has_its_own_line(learned) -> None:
    code, out, err = learned("classify", "inbox/0.jpg", "gone.jpg")
    assert code == 3 and len(out.splitlines()) == 2
    assert err == "Error: 1 of 2 photos could not be used: gone.jpg (no such file).\n"
    _, out, _ = learned("classify", "gone.jpg", "inbox/0.jpg", "--json")
    assert [json.loads(line)["error"] for line in out.splitlines()] == ["no such file", None]


def test_a_photo_in_a_locked_folder_is_not_called_missing(learned, monkeypatch) -> None:
    def stat(path: Path, real=Path.stat, **options) -> os.stat_result:
        if path.name == "locked.jpg":
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, **options)

    monkeypatch.setattr(Path, "stat", stat)
    code, _, err = learned("classify", "inbox/locked.jpg")
    assert (code, err) == (3, "Error: inbox/locked.jpg: no permission to read.\n")
