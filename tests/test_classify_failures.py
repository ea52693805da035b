"""`litecli classify`: what is no photo among others gets its own line and a reason that is true."""

import errno
import io
import json
import os
import sys
from pathlib import Path

import pytest

from .small_objects import learned

__all__ = ("learned",)  # a fixture

WEB = "https://example.org/cat.jpg"
REASONS = {
    "gone.jpg": "no such file",
    "empty": "no photos in it",
    WEB: "a web address; save it first: litecli does not download photos",
    "-": "means the image on stdin, and stands alone",
}


def stdin(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))


def lines(out: str) -> list[list[str]]:
    return [line.split("\t") for line in out.splitlines()]


def test_a_folder_without_photos_among_others_is_a_line_of_its_own(learned, put) -> None:
    put("empty/notes.txt")
    put("empty/deep/1.txt")
    inbox = lines(learned("classify", "inbox")[1])
    code, out, err = learned("classify", "inbox", "empty", "inbox/0.jpg")
    told = lines(out)
    assert code == 3 and told == [*inbox, ["empty", "", "", REASONS["empty"]], inbox[0]]
    assert err.splitlines() == [
        *("Skipped 1 file:", "  empty/notes.txt (not a photo)"),
        "Note: 1 sub-folder not searched (--recursive)",
        f"Error: 1 of {len(inbox) + 2} photos could not be used: empty (no photos in it).",
    ]
    code, out, _ = learned("classify", "empty", "inbox/0.jpg", "--json")
    assert code == 3 and [json.loads(line)["error"] for line in out.splitlines()] == [
        REASONS["empty"],
        None,
    ]


def test_folders_without_photos_alone_are_one_error(learned, put) -> None:
    put("empty/deep/1.txt")
    for more in ((), ("empty",), ("gone.jpg",)):
        code, out, err = learned("classify", *more, "empty")
        assert (code, out) == (3, "") and err.splitlines() == [
            "Error: There are no photos in empty.",
            "  Its sub-folders were not searched.",
            "  Try: litecli classify --recursive empty",
        ]


@pytest.fixture
def locked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that may be entered but not listed, even by the administrator."""
    Path("locked").mkdir()

    def refusing(real):
        def call(place: object = ".") -> object:
            if Path(str(place)).name == "locked":
                raise PermissionError(errno.EACCES, "Permission denied", str(place))
            return real(place)

        return call

    for name in ("listdir", "scandir"):
        monkeypatch.setattr(os, name, refusing(getattr(os, name)))


def test_a_folder_one_may_not_look_into_is_a_line_of_its_own(learned, locked) -> None:
    code, out, _ = learned("classify", "locked", "inbox/0.jpg")
    first, second = lines(out)
    assert first == ["locked", "", "", "cannot read ./locked: permission"]
    assert code == 3 and second[1]
    code, out, err = learned("classify", "locked")
    assert (code, out, err) == (3, "", "Error: cannot read ./locked: permission\n")


def test_no_file_in_a_folder_one_may_not_look_into(learned, locked) -> None:
    code, out, err = learned("classify", "locked/gone.jpg")
    assert (code, out, err) == (2, "", "Error: No file locked/gone.jpg.\n")


def test_wrong_paths_on_stdin_have_the_reasons_of_the_command_line(
    learned, put, photo, monkeypatch
) -> None:
    Path("empty").mkdir()
    put("more/a.jpg", photo("mug", 1))
    put("more/b.jpg", b"")
    stdin(monkeypatch, "\n".join([*REASONS, "more", "inbox/[01].jpg"]).encode())
    code, out, err = learned("classify", "--stdin-paths")
    told = lines(out)
    assert code == 3 and [[line[0], line[-1]] for line in told[:4]] == list(
        map(list, REASONS.items())
    )
    assert [line[0] for line in told[4:]] == [
        *("more/a.jpg", "more/b.jpg", "inbox/0.jpg", "inbox/1.jpg")
    ]
    assert err.startswith(
        "Error: 4 of 8 photos could not be used: gone.jpg (no such file), empty ("
    )
    for wrong, reason in REASONS.items():
        stdin(monkeypatch, wrong.encode())
        code, _, err = learned("classify", "--stdin-paths")
        assert (code, err) == (3, f"Error: {wrong}: {reason}.\n")


def test_a_list_without_paths_is_an_error(learned, monkeypatch) -> None:
    stdin(monkeypatch, b"\n")
    code, out, err = learned("classify", "--stdin-paths", "--csv", "out.csv")
    assert (code, out, err) == (3, "", "Error: No paths came on stdin.\n")
    assert not Path("out.csv").exists()


def test_a_file_called_as_stdin_is_a_photo_of_a_list(learned, put, photo, monkeypatch) -> None:
    put("-", photo("mug", 1))
    stdin(monkeypatch, b"-")
    code, out, err = learned("classify", "--stdin-paths")
    assert (code, err) == (0, "") and lines(out)[0][0] == "-"


@pytest.mark.parametrize("page", ["both.x", "./both.x", "link.x"])
def test_the_table_and_the_page_are_two_files(learned, page: str) -> None:
    Path("link.x").symlink_to("both.x")
    code, out, err = learned("classify", "inbox", "--csv", "both.x", "--report", page)
    assert (code, out) == (2, "") and " are the same file." in err
    assert not Path("both.x").exists()
