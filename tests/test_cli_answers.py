"""litecli.cli.answers: one answer as words, tabs, CSV and JSON."""

import io

from litecli.cli.answers import Style, answer_json, csv_row, lines_for_people, tsv
from litecli.cli.output import Output
from litecli.personal.predictions import Prediction


def in_words(answer: Prediction, style: Style) -> list[str]:
    return list(lines_for_people(Output(io.StringIO(), io.StringIO(), {}), answer, style))


SCORES = {"bowl": 0.02, "keys": 0.97, "mug": 0.01}
SURE = Prediction("a.jpg", "keys", True, 0.97, SCORES, "keys/IMG_3.jpg")
STRANGE = Prediction("b.jpg", "mug", False, 0.41, {"bowl": 0.3, "keys": 0.29, "mug": 0.41}, "mug/1")
BROKEN = Prediction("c.jpg", None, False, 0.0, {}, None, "file is cut off")


def test_words_for_people() -> None:
    assert in_words(SURE, Style(3)) == ["keys   sure (97 %)"]
    assert in_words(STRANGE, Style(4, top=2)) == [
        "unknown   not one of your 4 objects (closest: mug, 41 %)"
    ]
    assert in_words(STRANGE, Style(4, top=3)) == [
        "unknown   not one of your 4 objects (closest: mug, 41 %; bowl, 30 %)"
    ]
    assert in_words(SURE, Style(3, top=2, explain=True, many=True)) == [
        "a.jpg   keys   sure (97 %)",
        "  or bowl (2 %)",
        "  most like your photo keys/IMG_3.jpg",
    ]
    assert in_words(Prediction("a", "x", False, 1.0, {"x": 1.0}, None), Style(1)) == [
        "unknown   not your x"
    ]
    assert in_words(Prediction("a", "x", True, 1.0, {"x": 1.0}, None), Style(1)) == [
        "x   looks like yours"
    ]
    assert in_words(BROKEN, Style(3, many=True)) == ["c.jpg   file is cut off"]


def test_tabs_for_programs() -> None:
    assert list(tsv(SURE, Style(3))) == ["a.jpg\tkeys\t0.9700"]
    assert list(tsv(STRANGE, Style(3))) == ["b.jpg\tunknown\t0.4100"]
    assert list(tsv(BROKEN, Style(3))) == ["c.jpg\t\t\tfile is cut off"]
    assert list(tsv(SURE, Style(3, top=2, explain=True))) == [
        "a.jpg\tkeys\t0.9700\tbowl\t0.0200\tkeys/IMG_3.jpg"
    ]
    assert list(tsv(STRANGE, Style(3, top=2))) == ["b.jpg\tunknown\t0.4100\tmug\t0.4100"]
    assert list(tsv(STRANGE, Style(3, top=3))) == [
        "b.jpg\tunknown\t0.4100\tmug\t0.4100\tbowl\t0.3000"
    ]
    odd = Prediction("a\tb\n.jpg", "k\tx", True, 1.0, {"k\tx": 1.0}, None)
    assert list(tsv(odd, Style(1))) == ["a\\tb\\n.jpg\tk\\tx\t1.0000"]


def test_a_photo_that_cannot_be_read_has_no_novelty() -> None:
    assert answer_json(BROKEN)["novelty"] is None
    assert answer_json(SURE)["novelty"] == SURE.novelty


def test_csv_keeps_the_best_object_of_an_unknown_photo() -> None:
    assert csv_row(STRANGE) == ["b.jpg", "mug", "false", "0.4100", "bowl", "0.3000", ""]
    assert csv_row(SURE) == ["a.jpg", "keys", "true", "0.9700", "bowl", "0.0200", ""]
    assert csv_row(BROKEN) == ["c.jpg", "", "", "", "", "", "file is cut off"]
    assert csv_row(Prediction("a", "x", True, 1.0, {"x": 1.0}, None))[4:6] == ["", ""]
