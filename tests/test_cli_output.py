"""litecli.cli.output: the form of what is written, on a terminal and off it."""

import io
import json

import pytest

from litecli.cli.output import Output
from litecli.cli.texts import (
    counted,
    duration,
    escaped,
    percent,
    shortened,
    shortened_path,
    size,
    text_width,
    wrapped,
)


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    encoding = "utf-8"  # type: ignore[assignment]

    def isatty(self) -> bool:
        return True


class Pipe(io.StringIO):
    """A stream with an encoding, read by a program."""

    def __init__(self, encoding: str = "utf-8") -> None:
        super().__init__()
        self._encoding = encoding

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding


def make(stdout: io.StringIO | None = None, stderr: io.StringIO | None = None, **environ: str):
    return Output(stdout or Pipe(), stderr or Pipe(), environ)


def written(stream: object) -> str:
    assert isinstance(stream, io.StringIO)
    return stream.getvalue()


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


def test_off_a_terminal_progress_is_a_line_per_tenth() -> None:
    out = make()
    show = out.progress("Photos")
    for done in range(1, 201):
        show(done, 200)
    lines = written(out.stderr).splitlines()
    assert [line.split()[1] for line in lines] == [f"{20 * k}/200" for k in range(1, 11)]
    assert "\r" not in written(out.stderr) and "\x1b" not in written(out.stderr)


def test_slow_progress_is_a_line_per_half_minute_with_the_time_left() -> None:
    now = [0.0]
    out = Output(Pipe(), Pipe(), {}, clock=lambda: now[0])
    show = out.progress("Tasks")
    for done in range(1, 6):
        now[0] += 20.0
        show(done, 1000)
    assert written(out.stderr).splitlines() == [
        "Tasks 2/1000, 5 h 33 min left",
        "Tasks 4/1000, 5 h 32 min left",
    ]


def test_ctrl_c_right_after_a_progress_line_leaves_nothing_of_it() -> None:
    class Stopping(Terminal):
        """A terminal at which Ctrl-C is typed as soon as something appears."""

        def flush(self) -> None:
            if self.getvalue() == "Photos 1/9":
                raise KeyboardInterrupt

    out = make(Pipe(), Stopping())
    with pytest.raises(KeyboardInterrupt):
        out.progress("Photos")(1, 9)
    out.problem("Stopped.")
    assert written(out.stderr).endswith("\r\x1b[KStopped.\n")


def test_on_a_terminal_progress_redraws_one_line_and_makes_room() -> None:
    out = make(Terminal(), Terminal(), TERM="xterm")
    show = out.progress("Photos")
    show(1, 2)
    show(2, 2)
    out.result("keys")
    assert written(out.stderr) == "Photos 1/2\r\x1b[KPhotos 2/2\r\x1b[K"
    assert written(out.stdout) == "keys\n"


def test_the_time_left_of_a_resumed_run_counts_only_its_own_steps() -> None:
    now = [0.0]
    out = Output(Pipe(), Pipe(), {}, clock=lambda: now[0])
    show = out.progress("Steps", first=80)
    now[0] = 100.0
    show(90, 100, ", loss 1.5")
    assert written(out.stderr) == "Steps 90/100, 2 min left, loss 1.5\n"


def test_the_time_left_is_that_of_the_present_stage() -> None:
    now = [0.0]
    out = Output(Pipe(), Pipe(), {}, clock=lambda: now[0])
    show = out.progress("Steps")
    for done in range(1, 1061):
        now[0] += 1.0 if done <= 1000 else 10.0
        show(done, 1100)
    assert written(out.stderr).splitlines()[-1] == "Steps 1059/1100, 7 min left"


def test_a_dumb_terminal_is_not_animated() -> None:
    out = make(stderr=Terminal(), TERM="dumb")
    out.progress("Photos")(1, 1)
    assert written(out.stderr) == "Photos 1/1\n"


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


def test_emoji_of_several_parts_and_letters_stay_as_they_are() -> None:
    for name in ("👩\u200d👧", "🏴\U000e0067\U000e0062\U000e007f", "می\u200cخواهم", "鍵 é"):
        assert escaped(name) == name


def test_numbers_as_a_person_says_them() -> None:
    assert counted(1, "photo") == "1 photo" and counted(1200, "photo") == "1,200 photos"
    assert percent(0.9999) == "99 %" and percent(1.0) == "100 %" and percent(0.414) == "41 %"
    assert duration(3.24) == "3.2 s" and duration(75) == "75 s" and duration(7800) == "2 h 10 min"
    assert duration(600) == "10 min" and duration(0.022) == "22 ms"
    assert size(412_300) == "412 kB" and size(3_200_000) == "3.2 MB" and size(7) == "1 kB"
