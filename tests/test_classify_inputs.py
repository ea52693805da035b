"""`litecli classify`: photos from folders, patterns, lists and stdin; answers that depend on none.

Forms of an answer are test_cli_classify.py's part, and what goes wrong is test_bad_commands.py's
and test_classify_failures.py's.
"""

import csv
import io
import json
import os
import random
import sys
from pathlib import Path

import pytest

from litecli import library, storage, threads
from litecli.personal import predictions

NAMES = [f"inbox/{number}.jpg" for number in range(9)]


@pytest.fixture
def learned(run, write_objects, put, photo):
    """`run`, with a profile of keys, mug and bowl, and nine new photos of them in inbox/."""
    write_objects({"keys": 5, "mug": 5, "bowl": 5})
    assert run("adapt", "my_objects", "-q")[0] == 0
    for number, name in enumerate(NAMES):
        put(name, photo(("keys", "mug", "bowl")[number % 3], 500 + number))
    return run


def paths(out: str) -> list[str]:
    return [line.split("\t")[0] for line in out.splitlines()]


def stdin(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))


def test_files_folders_and_patterns_in_the_order_given(learned, put, photo) -> None:
    put("more/b.jpg", photo("mug", 1))
    put("more/a.png", photo("mug", 2))
    put("one [1].jpg", photo("mug", 3))
    code, out, err = learned("classify", "inbox/8.jpg", "more", "inbox/[12].jpg", "one [1].jpg")
    assert (code, err) == (0, "")
    assert paths(out) == [
        *("inbox/8.jpg", "more/a.png", "more/b.jpg", "inbox/1.jpg", "inbox/2.jpg"),
        "one [1].jpg",  # a file's own name, though it is a pattern too
    ]
    code, out, _ = learned("classify", "more/*", "inbox/?.jpg")
    assert code == 0 and paths(out) == ["more/a.png", "more/b.jpg", *NAMES]


def test_the_same_photo_twice_is_answered_twice(learned) -> None:
    out = learned("classify", NAMES[0], "inbox", NAMES[0])[1]
    assert paths(out) == [NAMES[0], *NAMES, NAMES[0]]
    first, *_, last = out.splitlines()
    assert first == last


@pytest.mark.parametrize(("workers", "many"), [(1, 100), (4, 100), (4, 1), (1, 7)])
def test_order_batch_and_threads_never_change_an_answer(
    learned, monkeypatch, workers: int, many: int
) -> None:
    """Bit for bit: every number of every answer, alone or among any others."""
    alone = {name: json.loads(learned("classify", name, "--json")[1]) for name in NAMES}
    monkeypatch.setattr(threads, "workers", lambda: workers)
    monkeypatch.setattr(predictions, "MANY", many)
    for seed in range(4):
        some = random.Random(seed).sample(NAMES, 5 + seed)
        told = map(json.loads, learned("classify", *some, "--json")[1].splitlines())
        assert [(answer["path"], answer) for answer in told] == [(n, alone[n]) for n in some]


def test_an_answer_does_not_depend_on_a_bad_neighbour(learned, put) -> None:
    alone = learned("classify", NAMES[1], "--json")[1]
    put("bad.jpg", b"<html>")
    code, out, _ = learned("classify", "bad.jpg", NAMES[1], "gone.jpg", "--json")
    assert code == 3 and out.splitlines()[1] == alone.strip()


def test_a_list_of_paths_on_stdin(learned, put, photo, monkeypatch) -> None:
    put("two words.jpg", photo("mug", 1))
    stdin(monkeypatch, b"inbox/3.jpg\r\n\ntwo words.jpg\ninbox/1.jpg\n")
    code, out, _ = learned("classify", "--stdin-paths")
    assert code == 0 and paths(out) == ["inbox/3.jpg", "two words.jpg", "inbox/1.jpg"]
    stdin(monkeypatch, b"inbox/3.jpg\n")
    assert paths(learned("classify", "--stdin-paths", "inbox/0.jpg")[1]) == [
        "inbox/0.jpg",
        "inbox/3.jpg",
    ]


@pytest.mark.parametrize("named", [(), ("inbox/0.jpg",)])
def test_a_return_inside_a_line_is_part_of_the_name(learned, monkeypatch, photo, named) -> None:
    try:
        Path("odd\rname.jpg").write_bytes(photo("mug", 1))
    except OSError:
        pytest.skip("this file system takes no such names")
    stdin(monkeypatch, b"odd\rname.jpg\r\n \r\ninbox/1.jpg")
    code, out, _ = learned("classify", "--stdin-paths", *named)
    assert code == 0 and paths(out) == [*named, "odd\\rname.jpg", "inbox/1.jpg"]


def test_a_photo_without_features_is_like_no_other(learned) -> None:
    path = library.profile_path()
    tensors, metadata = storage.read_tensors(path)
    tensors["embeddings"][0] = 0.0
    storage.write_tensors(path, tensors, metadata)
    code, out, err = learned("classify", NAMES[0], "--json")
    told = json.loads(out)
    first = library.load_profile().photo_paths[0]
    assert (code, err) == (0, "") and told["nearest"] != first


def test_a_list_of_paths_that_are_no_utf8(learned, photo, monkeypatch) -> None:
    name = b"caf\xe9.jpg"
    try:
        Path(os.fsdecode(name)).write_bytes(photo("mug", 1))
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    stdin(monkeypatch, name + b"\nnul\0.jpg\n")
    code, _, err = learned("classify", "--stdin-paths", "--csv", "out.csv")
    assert code == 3 and "1 of 2 photos could not be used" in err
    assert Path("out.csv").read_bytes().splitlines()[1].startswith(name + b",")


def test_an_image_on_stdin_of_any_format(learned, monkeypatch, photo) -> None:
    from PIL import Image

    buffer = io.BytesIO()
    Image.open(io.BytesIO(photo("bowl", 1))).save(buffer, "WEBP", lossless=True)
    stdin(monkeypatch, buffer.getvalue())
    code, out, _ = learned("classify", "-", "--json")
    told = json.loads(out)
    assert code == 0 and (told["path"], told["label"]) == ("-", "bowl")
    stdin(monkeypatch, b"<html>")
    code, _, err = learned("classify", "-")
    assert code == 3 and err == "Error: -: not an image (looks like a web page).\n"
    code, _, err = learned("classify", "-", NAMES[0])
    assert code == 2 and "- means the image on stdin, and stands alone." in err


def test_what_is_no_photo_in_a_folder_is_said_once(learned, put) -> None:
    put("inbox/film.mp4")
    put("inbox/.DS_Store")
    for number in range(6):
        put(f"inbox/{number}.txt")
    code, out, err = learned("classify", "inbox")
    assert code == 0 and paths(out) == NAMES
    lines = err.splitlines()
    assert lines[0] == "Skipped 7 files:" and lines[-1] == "  and 2 more; -v names all"
    assert err.count("(not a photo)") == 5
    code, out, err = learned("classify", "inbox", "-v")
    reason = "videos are not read yet; export frames or take photos"
    assert f"  inbox/film.mp4 ({reason})" in err.splitlines() and err.count("(not a photo)") == 6
    assert learned("classify", "inbox", "-q")[2] == ""


def test_csv_and_json_say_the_same(learned, put) -> None:
    put("inbox/bad.jpg", b"")
    code, out, _ = learned("classify", "inbox", "--json", "--csv", "out.csv")
    told = [json.loads(line) for line in out.splitlines()]
    with Path("out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert code == 0 and len(told) == len(rows) == 10
    for answer, row in zip(told, rows, strict=True):
        assert (row["path"], row["error"]) == (answer["path"], answer["error"] or "")
        if answer["error"] is None:
            (best, share), (second, less), *_ = sorted(
                answer["scores"].items(), key=lambda item: -item[1]
            )
            assert (row["label"], row["second"]) == (best, second)
            assert row["confidence"] == f"{share:.4f}"
            assert row["second_confidence"] == f"{less:.4f}"
            assert row["known"] == str(answer["known"]).lower()


@pytest.mark.parametrize("top", [1, 2, 3, 9])
def test_top_and_explain(learned, top: int) -> None:
    flags = ("--no-unknown", "--top", str(top), "--explain")
    fields = learned("classify", NAMES[0], *flags)[1].rstrip("\n").split("\t")
    labels, shares = fields[1:-1:2], [float(share) for share in fields[2:-1:2]]
    assert labels[0] == "keys" and len(labels) == len(set(labels)) == min(top, 3)
    assert shares == sorted(shares, reverse=True)
    assert fields[-1].startswith("keys/") and (Path("my_objects") / fields[-1]).is_file()


def test_subfolders_that_are_not_searched_are_told(learned, put, photo) -> None:
    put("inbox/deep/1.jpg", photo("mug", 1))
    put("inbox/.git/1.jpg")
    put("more/1.jpg", photo("mug", 2))
    put("more/a/1.txt")
    code, out, err = learned("classify", "inbox")
    assert code == 0 and paths(out) == NAMES
    assert err == "Note: 1 sub-folder not searched (--recursive)\n"
    assert learned("classify", "inbox", "-q")[2] == learned("classify", "-r", "inbox")[2] == ""
    err = learned("classify", "inbox", "more")[2]
    assert err == "Note: 2 sub-folders not searched (--recursive)\n"


def test_a_folder_of_which_nothing_can_be_used(learned, put) -> None:
    put("bad/1.jpg", b"<html>")
    code, out, err = learned("classify", "bad")
    assert code == 3 and paths(out) == ["bad/1.jpg"]
    assert err == "Error: bad/1.jpg: not an image (looks like a web page).\n"
    put("bad/2.jpg", b"")
    code, out, err = learned("classify", "bad")
    assert code == 3 and paths(out) == ["bad/1.jpg", "bad/2.jpg"]
    assert err.startswith("Error: 2 of 2 photos could not be used: bad/1.jpg (not an image")
    code, out, err = learned("classify", "bad", "--json")
    assert (code, err) == (3, "") and len(out.splitlines()) == 2
    assert learned("classify", "bad", "inbox")[0] == 0


def test_an_empty_name_is_no_photo(learned) -> None:
    for arguments in (("",), (NAMES[0], "")):
        code, out, err = learned("classify", *arguments)
        assert (code, out) == (2, "") and err.startswith("Error: An empty name is no photo.")
    code, _, err = learned("classify", NAMES[0], "--unknown-threshold", "nan")
    assert code == 2 and "nan is no number" in err


def test_paths_on_stdin_are_answered_as_they_come(learned, program) -> None:
    with program("classify", "--stdin-paths") as process:
        for name in NAMES[:3]:
            process.stdin.write(f"{name}\n")
            process.stdin.flush()
            assert process.stdout.readline().startswith(f"{name}\t")
        process.stdin.write("\r\n".join(NAMES[3:]))
        process.stdin.close()
        assert paths(process.stdout.read()) == NAMES[3:]
    assert process.returncode == 0
