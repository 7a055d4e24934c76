"""How a training run is shown: plain lines, a live line on a terminal, or nothing."""

from __future__ import annotations

import io
import re
import sys
from typing import Any

import pytest
from rich.console import Console

from dseg.cli.console import TrainingDisplay, _training_bar, training_display


class Clock:
    """A clock that the test sets."""

    now = 5000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def show_step(display: TrainingDisplay, step: int, **more: Any) -> None:
    row = {"epoch": 8.68, "loss": 0.5123, "lr": 9.8e-4, "images_per_s": 14.23}
    display.train(step, **(row | more))


def test_a_plain_line_has_all_numbers(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    display = TrainingDisplay(30000, 0, clock=clock)
    display.validated(100, miou=0.412, best=0.43, seconds=61.25)
    clock.now += 25
    show_step(display, 200)
    assert capsys.readouterr() == (
        "",
        "step 100/30000  validated in 61.2 s:  mIoU 41.2 (best 43.0)\n"
        "step 200/30000  epoch 8.7  loss 0.512  lr 9.8e-04  14.2 images/s"
        "  mIoU 41.2 (best 43.0)  left 1:02:05\n",
    )


def test_before_the_first_validation_no_score_is_shown(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    show_step(TrainingDisplay(10, 0, clock=clock), 5)
    assert capsys.readouterr().err == (
        "step 5/10  epoch 8.7  loss 0.512  lr 9.8e-04  14.2 images/s  left 0:00:00\n"
    )


def test_a_nan_score_is_a_dash(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    display = TrainingDisplay(10, 0, clock=clock)
    display.validated(5, miou=float("nan"), best=float("-inf"), seconds=1.0)
    assert capsys.readouterr().err == "step 5/10  validated in 1.0 s:  mIoU - (best -)\n"


def test_lines_are_ten_seconds_apart_except_the_first_the_last_and_validations(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    clock.now = 0.0
    display = TrainingDisplay(100, 0, clock=clock)
    for step in range(1, 101):  # half a second each
        clock.now += 0.5
        show_step(display, step)
        if step == 60:
            display.validated(step, miou=0.5, best=0.5, seconds=1.0)
    shown = re.findall(r"step (\d+)/100  (\w+)", capsys.readouterr().err)
    assert shown == [
        *[("1", "epoch"), ("21", "epoch"), ("41", "epoch"), ("60", "validated")],
        *[("61", "epoch"), ("81", "epoch"), ("100", "epoch")],
    ]


@pytest.mark.parametrize(
    ("steps", "first", "step", "seconds", "left"),
    [
        (1000, 0, 100, 10, "0:01:30"),
        (1000, 900, 950, 100, "0:01:40"),  # the 900 steps of an earlier process took no time here
        (1000, 999, 1000, 7, "0:00:00"),
        (100_000, 0, 100, 100, "1 day, 3:45:00"),
    ],
)
def test_the_time_left_comes_from_the_speed_of_this_process(
    clock: Clock,
    capsys: pytest.CaptureFixture[str],
    steps: int,
    first: int,
    step: int,
    seconds: float,
    left: str,
) -> None:
    display = TrainingDisplay(steps, first, clock=clock)
    clock.now += seconds
    show_step(display, step)
    assert capsys.readouterr().err.endswith(f"  left {left}\n")


def test_a_quiet_run_shows_messages_only(capsys: pytest.CaptureFixture[str]) -> None:
    with training_display(10, 0, quiet=True) as display:
        show_step(display, 1)
        display.validated(5, miou=0.5, best=0.5, seconds=1.0)
        show_step(display, 10)
        assert capsys.readouterr() == ("", "")
        display.say("WARNING: left out: a.png cannot be decoded.")
    assert capsys.readouterr() == ("", "WARNING: left out: a.png cannot be decoded.\n")


def test_off_a_terminal_a_run_is_shown_in_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with training_display(10, 0) as display:
        show_step(display, 10)
    assert capsys.readouterr().err.startswith("step 10/10  epoch 8.7  loss 0.512")


def live_lines(width: int, *, message: str = "") -> list[str]:
    """Return the lines that a terminal of that width shows at the end."""
    out = io.StringIO()
    clock = Clock()
    console = Console(file=out, force_terminal=True, width=width, color_system=None)
    with _training_bar(console) as bar:
        display = TrainingDisplay(30000, 100, bar=bar, clock=clock)
        display.validated(100, miou=0.412, best=0.43, seconds=3)
        clock.now += 2
        show_step(display, 200)
        if message:
            display.say(message)
    plain = re.sub("\x1b\\[[?0-9;]*[A-Za-z]", "", out.getvalue())
    return [line.split("\r")[-1] for line in plain.split("\n")]


def test_a_terminal_shows_one_live_line_below_messages() -> None:
    first, second, live, end = live_lines(140, message="WARNING: left out: [red]a.png")
    assert first == "step 100/30000  validated in 3.0 s:  mIoU 41.2 (best 43.0)"
    assert second == "WARNING: left out: [red]a.png"
    assert live.strip("\u2501\u2578\u257a ") == (
        "200/30000  left 0:09:56  epoch 8.7  loss 0.512  mIoU 41.2 (best 43.0)"
        "  lr 9.8e-04  14.2 images/s"
    )
    assert end == ""


def test_a_narrow_terminal_keeps_the_time_left_and_one_line() -> None:
    *_, live, end = live_lines(40)
    assert live == "200/30000  left 0:09:56  epoch 8.7  los\u2026"
    assert end == ""


def test_messages_are_not_cut_and_contain_no_terminal_codes() -> None:
    *_, message, _, _ = live_lines(40, message="\x1b[2J " + "name/" * 20)
    assert message == "\\x1b[2J " + "name/" * 20


def test_on_a_terminal_the_live_line_continues_from_the_steps_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stderr = io.StringIO()
    monkeypatch.setattr(stderr, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", stderr)
    with training_display(500, 120) as display:
        assert "120/500" in stderr.getvalue()
        show_step(display, 130)
    assert "130/500" in stderr.getvalue()
