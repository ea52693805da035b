"""litecli.cli.texts: lines, labels, paths and numbers as they are shown."""

import pytest

from litecli.cli.texts import (
    counted,
    duration,
    escaped,
    percent,
    shortened,
    shortened_path,
    size,
    wrapped,
)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", [""]),
        ("twelve chars", ["twelve chars"]),
        ("twelve chars.", ["twelve", "chars."]),
        ("two  spaces and", ["two  spaces", "and"]),
        ("a " + "x" * 25, ["a", "x" * 12, "x" * 12, "x"]),
        ("鍵" * 7 + " b", ["鍵" * 6, "鍵 b"]),
    ],
)
def test_lines_end_between_words(text: str, lines: list[str]) -> None:
    assert wrapped(text, 12) == lines


def test_control_characters_stay_inside_one_field() -> None:
    assert escaped("a\tb\nc\x1b[31m") == "a\\tb\\nc\\x1b[31m"
    assert shortened("k" * 100) == "k" * 39 + "…"


@pytest.mark.parametrize(
    ("path", "width", "told"),
    [
        ("keys/IMG_1.jpg", 60, "keys/IMG_1.jpg"),
        ("/home/me/photos/of_summer/keys/IMG_1.jpg", 24, "/home/me/phot…/IMG_1.jpg"),
        ("C:\\Users\\me\\Pictures\\IMG_1.jpg", 20, "C:\\Users\\…\\IMG_1.jpg"),
        ("a/IMG_20260101_120000_a_very_long_name.jpg", 20, "a/IMG_202…g_name.jpg"),
        ("x" * 70 + ".jpg", 20, "x" * 9 + "…" + "xxxxxx.jpg"),
        ("/" + "x" * 70, 20, "/" + "x" * 8 + "…" + "x" * 10),
        ("a\nb/1.jpg", 60, "a\\nb/1.jpg"),
    ],
)
def test_a_path_is_cut_in_its_middle(path: str, width: int, told: str) -> None:
    assert shortened_path(path, width) == told and len(told) <= width


def test_emoji_of_several_parts_and_letters_stay_as_they_are() -> None:
    for name in ("👩\u200d👧", "🏴\U000e0067\U000e0062\U000e007f", "می\u200cخواهم", "鍵 é"):
        assert escaped(name) == name


def test_numbers_as_a_person_says_them() -> None:
    assert counted(1, "photo") == "1 photo" and counted(1200, "photo") == "1,200 photos"
    assert percent(0.9999) == "99 %" and percent(1.0) == "100 %" and percent(0.414) == "41 %"
    assert duration(3.24) == "3.2 s" and duration(75) == "75 s" and duration(7800) == "2 h 10 min"
    assert duration(600) == "10 min" and duration(0.022) == "22 ms"
    assert size(412_300) == "412 kB" and size(3_200_000) == "3.2 MB" and size(7) == "1 kB"
