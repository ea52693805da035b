"""litecli.cli.output: the form of what is written, on a terminal and off it."""

import json

import pytest

from litecli.cli.texts import text_width

from .small_streams import Pipe, Terminal, make, written


def test_results_go_to_stdout_and_talk_to_stderr() -> None:
    out = make()
    out.result("keys")
    out.say("reading")
    out.problem("Error: no")
    assert written(out.stdout) == "keys\n"
    assert written(out.stderr) == "reading\nError: no\n"


def test_quiet_drops_talk_and_keeps_results_and_errors() -> None:
    out = make()
    out.quiet = True
    out.result("keys")
    out.say("reading")
    out.progress("Photos")(1, 1)
    out.problem("Error: no")
    assert written(out.stdout) == "keys\n"
    assert written(out.stderr) == "Error: no\n"


def test_json_replaces_the_words_on_stdout() -> None:
    out = make()
    out.json = True
    out.result("keys")
    out.record({"label": "Schlüssel"})
    assert [json.loads(line) for line in written(out.stdout).splitlines()] == [
        {"label": "Schlüssel"}
    ]
    assert "Schlüssel" in written(out.stdout)


@pytest.mark.parametrize("text", ["[keys]", "a[/]b", "[bold red]x[/]", "100%", "{0}"])
def test_user_text_is_printed_as_it_is(text: str) -> None:
    out = make(Terminal())
    out.result(text)
    out.table(("object",), [(text,)])
    assert written(out.stdout).splitlines()[0] == text
    assert written(out.stdout).splitlines()[-1].strip() == text


def test_an_ascii_console_gets_ascii_marks_and_no_crash() -> None:
    out = make(Pipe("ascii"))
    out.result("94.6 ± 0.6 … ×")
    out.result("café 鍵")
    out.result("bad\udcff name")
    assert written(out.stdout).splitlines() == [
        "94.6 +- 0.6 ... x",
        r"caf\xe9 \u9375",
        r"bad\udcff name",
    ]


def test_a_file_name_that_is_no_utf8_is_written_on_a_utf8_console_too() -> None:
    out = make(Pipe("utf-8"))
    out.result("bad\udcff name")
    assert written(out.stdout) == "bad\\udcff name\n"


@pytest.mark.parametrize(
    ("stream", "environ", "coloured"),
    [
        (Terminal, {"TERM": "xterm"}, True),
        (Terminal, {"TERM": "xterm", "NO_COLOR": "1"}, False),
        (Terminal, {"TERM": "dumb"}, False),
        (Pipe, {"TERM": "xterm"}, False),
    ],
)
def test_colour_only_on_a_terminal_that_wants_it(stream, environ, coloured) -> None:
    assert ("\x1b" in make(stream(), **environ).styled("keys", "bold")) is coloured


def test_table_columns_line_up_with_wide_characters() -> None:
    out = make()
    out.table(("object", "photos"), [("鍵", "9"), ("e\u0301", "12")], right="photos")
    assert written(out.stdout).splitlines() == [
        "  object  photos",
        "  鍵           9",
        "  e\u0301           12",
    ]
    assert text_width("鍵") == 2 and text_width("e\u0301") == 1


def test_a_narrow_terminal_gets_one_column(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    out = make(Terminal())
    out.table(("object", "photos", "notes"), [("keys", "9", "x"), ("mug", "8", "")])
    assert written(out.stdout).splitlines() == [
        *("object: keys", "photos: 9", "notes: x"),
        *("object: mug", "photos: 8"),
    ]


def test_on_a_terminal_the_last_column_goes_on_below_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "42")
    rows = [("keys", "9", "1 photo looks more like the bowl: keys/1.jpg"), ("mug", "8", "")]
    out = make()
    out.table(("object", "photos", "notes"), rows, right="photos")
    out.paragraph("Of other things nearly all will be unknown.")
    assert written(out.stdout).splitlines()[1:] == [
        "  keys         9  1 photo looks more like the bowl: keys/1.jpg",
        "  mug          8",
        "Of other things nearly all will be unknown.",
    ]
    out = make(Terminal())
    out.table(("object", "photos", "notes"), rows, right="photos")
    out.paragraph("Of other things nearly all will be unknown.")
    lines = written(out.stdout).splitlines()
    assert lines == [
        "  object  photos  notes",
        "  keys         9  1 photo looks more like",
        "                  the bowl: keys/1.jpg",
        "  mug          8",
        "Of other things nearly all will be",
        "unknown.",
    ]


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "utf-16", "utf-8", "UTF8"])
def test_json_is_json_in_every_encoding(encoding: str) -> None:
    names = [
        "Schl\u00fcssel \u2026 \u9375 \U0001f511",
        "bad\udcff name",
        "a\u2028b\u2029c\x85d",
        "caf\u00e9",
    ]
    for name in names:
        out = make(Pipe(encoding))
        out.record({"label": name})
        text = written(out.stdout)
        assert json.loads(text) == {"label": name} and len(text.splitlines()) == 1
        assert text.isascii() or "8" in encoding


ODD = "a\nb\x1b[31mc\u202ed\u2028e\x85f"
TAME = r"a\nb\x1b[31mc\u202ed\u2028e\x85f"


def test_control_characters_of_a_name_reach_no_terminal() -> None:
    out = make(Terminal(), Terminal(), TERM="xterm")
    out.say(f"Note: {ODD}")
    out.paragraph(f"Note: {ODD}")
    out.problem(f"Error: x\n  {ODD[2:]}")
    out.table(("object", "notes"), [(ODD, ODD)])
    out.result(out.styled(f"Learned {ODD[2:]}", "green"))
    for text in (written(out.stdout), written(out.stderr)):
        assert TAME[3:] in text.replace("\x1b[31m", r"\x1b[31m")
        assert not set("\u202e\u2028\x85") & set(text)
    assert "\x1b" not in written(out.stderr) and f"Note: {TAME}\n" in written(out.stderr)
    assert f"  {TAME}  {TAME}\n" in written(out.stdout)
    assert written(out.stdout).endswith("\x1b[0m\n")
