"""litecli.cli.output: how far a command has come, on a terminal and off it."""

import pytest

from litecli.cli.output import Output

from .small_streams import Pipe, Terminal, make, written


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
