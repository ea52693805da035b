"""No file of a person's is lost to a slip: where --csv, -o and --report may write."""

import io
import os
import shutil
import sys
from pathlib import Path

import pytest

from litecli import library
from litecli.cli.answers import CSV_HEADER


@pytest.fixture
def learned(run, write_objects, put, photo):
    """`run`, with a profile of keys and mug, two new photos in inbox/ and a text of one's own."""
    write_objects({"keys": 3, "mug": 3})
    assert run("adapt", "my_objects", "-q")[0] == 0
    for number in range(2):
        put(f"inbox/{number}.jpg", photo("mug", 500 + number))
    put("thesis.txt", b"all my work")
    return run


def contents() -> dict[str, bytes]:
    files = (path for path in Path().rglob("*") if path.is_file() and path.parts[0] != "home")
    return {path.as_posix(): path.read_bytes() for path in files}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("classify", "inbox/1.jpg", "--csv", "inbox/0.jpg"), "litecli did not write it"),
        (("classify", "inbox", "--csv", "inbox/0.jpg"), "is one of the photos"),
        (("classify", "inbox/0.jpg", "gone.jpg", "--csv", "gone.jpg"), "is one of the photos"),
        (("classify", "inbox", "--csv", "thesis.txt"), "litecli did not write it"),
        (("classify", "inbox", "--csv", "my_objects/out.csv"), "among your photos"),
        (("classify", "inbox", "--csv", "inbox"), "inbox is a folder."),
        (("classify", "inbox/0.jpg", "gone.jpg", "--report", "gone.jpg"), "is one of the photos"),
        (("adapt", "my_objects", "-o", "my_objects/x.safetensors"), "among your photos"),
        (("adapt", "my_objects", "-o", "my_objects/keys/IMG_0.jpg"), "among your photos"),
        (("adapt", "my_objects", "-o", "thesis.txt"), "litecli did not write it"),
        (("adapt", "my_objects", "-o", "tiny/model.safetensors"), "litecli did not write it"),
    ],
)
def test_what_is_not_ours_is_left_as_it_is(
    learned, write_model, arguments: tuple[str, ...], words: str
) -> None:
    write_model(Path("tiny"))
    before = contents()
    code, out, err = learned(*arguments)
    assert (code, out) == (2, "") and words in err and "  Try: -" in err
    assert contents() == before


def test_what_is_ours_is_replaced(learned) -> None:
    Path("empty.csv").touch()
    for table in ("out.csv", "empty.csv", "out.csv"):
        assert learned("classify", "inbox", "--csv", table)[0] == 0
        assert Path(table).read_text().splitlines()[0] == ",".join(CSV_HEADER)
    for _ in range(2):
        assert learned("adapt", "my_objects", "-o", "mine.safetensors")[0] == 0
    shutil.rmtree("my_objects/mug")
    assert learned("adapt", "my_objects", "-o", "mine.safetensors")[0] == 0
    assert library.load_profile("mine.safetensors").labels == ("keys",)


def test_no_table_is_begun_before_the_first_answer(learned, monkeypatch) -> None:
    from litecli.personal import predictions

    Path("out.csv").write_text(",".join(CSV_HEADER) + "\nkept\n")

    def stopped(*_: object, **__: object):
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(predictions, "classify", stopped)
    assert learned("classify", "inbox", "--csv", "out.csv")[0] == 130
    assert "kept" in Path("out.csv").read_text()


def test_a_path_that_cannot_be_is_compared_too(learned, monkeypatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"nul\0.jpg\n")))
    code, _, err = learned("classify", "inbox/0.jpg", "--stdin-paths", "--csv", "out.csv")
    assert code == 3 and "1 of 2 photos" in err


@pytest.mark.skipif(sys.platform == "win32", reason="needs device files")
def test_devices_go_on_working(learned, program) -> None:
    process = program("classify", "inbox", "--csv", "/dev/stdout", env={**os.environ})
    told, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and len(told.splitlines()) == 3
    assert learned("classify", "inbox", "--csv", "/dev/null")[0] == 0
