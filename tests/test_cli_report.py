"""`litecli report` and `classify --report`: the pages they write, and what they write over."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from litecli import library, storage
from litecli.photos import images

from .small_reports import Reader, assert_alone, folder

__all__ = ("folder",)  # fixtures


def test_the_command(run, folder: Path) -> None:
    run("adapt", folder)
    code, out, err = run("report")
    assert code == 0 and "Wrote report.html (" in out and "browser" in err
    assert Path("report.html").read_bytes().startswith(b"<!doctype html>")
    code, out, _ = run("report", "my_objects", "-o", "new/other.html", "--json")
    told = json.loads(out)
    assert code == 0 and Path(told["path"]) == Path("new/other.html")
    assert told["schema"] == "litecli.report/1" and told["photos"] == 24 and told["pictures"]
    assert {"kind": "dark", "paths": ["mug/IMG_dark.jpg"], "like": None} in told["look_at"]
    assert [o["label"] for o in told["objects"]] == ["bowl", "keys", "mug", "wallet"]
    assert told["next"][0]["labels"] == ["wallet"] and told["mix_ups"][0]["taken_for"] == "keys"
    assert Path("new/other.html").read_bytes() == Path("report.html").read_bytes()
    assert run("report")[0] == 0  # over its own page


def test_a_photo_of_two_concerns_is_counted_once(run, folder: Path) -> None:
    soft = folder / "keys" / "IMG_soft.jpg"
    Image.open(soft).save(soft.with_name("again.jpg"), quality=60)  # blurred, and the same shot
    run("adapt", folder)
    code, out, _ = run("report")
    told = json.loads(run("report", "--json")[1])
    named = [path for finding in told["look_at"] for path in finding["paths"]]
    assert len(named) > len(set(named))
    assert code == 0 and f", {len(set(named))} photos to look at." in out


def test_all_that_is_not_used_is_counted(run, write_objects) -> None:
    folder = write_objects({"keys": 3, "mug": 3})
    for number in range(102):
        (folder / "mug" / f"{number}.txt").touch()
    (folder / "keys" / "page.jpg").write_text("<html></html>")
    run("adapt", folder)
    told = json.loads(run("report", "--json")[1])
    assert (len(told["left_out"]), told["left_out_total"]) == (100, 103)
    assert "keys/page.jpg" in str(told["left_out"])  # photos before files of other kinds
    text = Reader(Path("report.html").read_bytes()).text
    assert "Not used 103" in text and "And 91 more." in text


def test_the_command_without_a_profile(run) -> None:
    code, _, err = run("report")
    assert code == 4 and "litecli adapt ./my_objects" in err


def test_nothing_else_is_written_over(run, folder: Path, tmp_path: Path) -> None:
    run("adapt", folder)
    Path("thesis.html").write_text("<!doctype html><p>mine")
    Path("there").mkdir()
    for command in (("report", "-o"), ("classify", folder / "mug" / "IMG_0.jpg", "--report")):
        code, out, err = run(*command, "thesis.html")
        assert (code, out) == (2, "") and "thesis_litecli.html" in err
        assert run(*command, "there")[0] == 2
        code, out, err = run(*command, folder / "report.html")
        assert (code, out) == (2, "") and "among your photos" in err
    assert Path("thesis.html").read_text() == "<!doctype html><p>mine"
    assert not list(folder.glob("*.html"))


def test_a_page_is_written_whole_or_not_at_all(run, folder: Path, monkeypatch) -> None:
    run("adapt", folder)
    run("report")
    before = Path("report.html").read_bytes()
    run("adapt", folder, "--no-thumbnails")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage.os, "fsync", full)
    for command in (("report",), ("classify", folder / "mug", "--report", "report.html")):
        code, _, err = run(*command)
        assert code == 6 and "disk full" in err
    assert Path("report.html").read_bytes() == before
    assert [p.name for p in Path.cwd().iterdir() if p.name.endswith(".tmp")] == []


def test_classify_writes_its_answers_beside_the_nearest_photos(
    run, folder: Path, photo, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("adapt", folder)
    decode, decoded = images.open_photo, []
    inbox = Path("inbox")
    inbox.mkdir()
    for number, name in enumerate(("keys", "mug", "bowl")):
        (inbox / f"{number}.jpg").write_bytes(photo(name, 500 + number))
    (inbox / "broken.jpg").write_text("no photo")
    plain = run("classify", inbox, "--json")[1]
    monkeypatch.setattr(images, "open_photo", lambda *a, **k: decoded.append(a) or decode(*a, **k))
    code, out, err = run("classify", inbox, "--json", "--report", "answers.html")
    assert len(decoded) == 4  # each once, its small picture included
    assert code == 0 and out == plain and "Wrote 4 answers to answers.html" in err
    page = Path("answers.html").read_bytes()
    assert_alone(page)
    reader = Reader(page)
    answers = [json.loads(line) for line in out.splitlines()]
    for answer in answers:
        assert answer["path"] in reader.text
        if answer["error"]:
            assert answer["error"] in reader.text
        else:
            assert answer["nearest"] in reader.text
            assert (answer["label"] if answer["known"] else "unknown") in reader.text
    read = [answer for answer in answers if not answer["error"]]
    assert len(reader.images) == 2 * len(read) == 6
    own = library.load_profile().thumbnails
    assert sum(picture in set(map(data_uri, own.values())) for picture in reader.images) == 3
    assert "4 photos" in reader.text and "Not read 1" in reader.text


def data_uri(jpeg: bytes) -> str:
    import base64

    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()


def test_classify_all_unknown_and_without_thumbnails(run, folder: Path) -> None:
    run("adapt", folder, "--no-thumbnails")
    shot = folder / "mug" / "IMG_0.jpg"
    strict = ("--unknown-threshold", "-100", "--fail-on-unknown")
    code, _, _ = run("classify", shot, "--report", "a.html", *strict)
    text = Reader(Path("a.html").read_bytes()).text
    assert code == 7 and "Unknown 1" in text and "Named" not in text and "closest:" in text
    assert "own photos are not shown" in text
    assert run("classify", shot, "gone.jpg", "--report", "a.html")[0] == 3
    assert "Not read 1" in Reader(Path("a.html").read_bytes()).text


def test_classify_from_stdin(run, folder: Path, monkeypatch) -> None:
    run("adapt", folder)
    data = io.TextIOWrapper(io.BytesIO((folder / "mug" / "IMG_0.jpg").read_bytes()))
    monkeypatch.setattr(sys, "stdin", data)
    assert run("classify", "-", "--report", "a.html")[0] == 0
    reader = Reader(Path("a.html").read_bytes())
    assert "photo from stdin" in reader.text and len(reader.images) == 2


def test_neither_torch_nor_the_network_runtime_is_loaded(run, folder: Path) -> None:
    run("adapt", folder)
    code = (
        "import sys; from litecli.cli import main; code = main(['report', '-q']); "
        "loaded = {'torch', 'onnxruntime', 'matplotlib'} & set(sys.modules); "
        "sys.exit(code or (loaded and f'{loaded} were loaded') or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
