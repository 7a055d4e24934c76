"""How a training run is shown: a table and a bar on a terminal, plain lines, or nothing."""

from __future__ import annotations

import io
import math
import os
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tiny_data import make_camvid

from dseg.cli.console import two_part_bar
from dseg.cli.train.display import HEADER_EVERY, TrainingDisplay, training_display
from dseg.cli.train.wording import describe_left, show_speed
from dseg.cli.wrapping import wrap_facts
from dseg.training.callbacks import Start, Summary

pty = pytest.importorskip("pty", reason="needs Unix: a terminal")
FACTS = (("Network", "dabnet, 0.75 M parameters, random weights"), ("Results", "run/"))
LONG = Start(steps=30000, every=100, epochs=300.0)
CODES = "\x1b\\[[?0-9;]*[A-Za-z]"


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


def summarise(step: int, **more: Any) -> Summary:
    values = {"epoch": step / 100, "loss": 0.5123, "val_loss": 0.6234, "miou": 0.412}
    rest = {"better": True, "images_per_s": 14.23, "waiting": 0.034, "seconds": 61.25}
    return Summary(step=step, **(values | rest | more))


# Without a terminal


def test_plain_lines_explain_all_numbers(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    display = TrainingDisplay(LONG, clock=clock)
    clock.now += 25
    show_step(display, 200)
    display.summary(summarise(200))
    display.summary(summarise(200, better=False))
    line = (
        "epoch 2/300  train loss 0.512  val loss 0.623  mIoU 41.2 %{}  validated in 61.2 s  "
        "14.2 images/s  3 % waiting for data  left 1:02:05\n"
    )
    assert capsys.readouterr() == (
        "",
        "step 200/30000  epoch 8.7  loss 0.512  lr 9.8e-04  14.2 images/s  left 1:02:05\n"
        + line.format(" (best so far)")
        + line.format(""),
    )


def test_without_a_validation_there_are_no_scores(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Start(steps=1000, every=100, epochs=2.5, in_steps=True)
    display = TrainingDisplay(run, clock=clock)
    display.summary(summarise(100, miou=None, val_loss=math.nan, better=False, loss=math.nan))
    assert capsys.readouterr().err == (
        "step 100/1000  train loss -  14.2 images/s  3 % waiting for data  left 0:00:00\n"
    )


def test_a_nan_score_is_a_dash(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    display = TrainingDisplay(LONG, clock=clock)
    display.summary(summarise(100, miou=math.nan, better=False))
    assert "val loss 0.623  mIoU - %  validated" in capsys.readouterr().err


def test_step_lines_are_ten_seconds_apart_except_the_first_and_the_last(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    clock.now = 0.0
    display = TrainingDisplay(Start(steps=100), clock=clock)
    for step in range(1, 101):  # half a second each
        clock.now += 0.5
        display.step(step)
        show_step(display, step)
    shown = re.findall(r"step (\d+)/100  (\w+)", capsys.readouterr().err)
    assert [int(step) for step, _ in shown] == [1, 21, 41, 61, 81, 100]


def test_a_long_validation_has_lines_too(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    advance = TrainingDisplay(LONG, clock=clock).validating(9)
    for _ in range(9):
        clock.now += 3
        advance()
    assert capsys.readouterr().err == "validating: 4/9 images\nvalidating: 8/9 images\n"


@pytest.mark.parametrize(
    ("steps", "first", "step", "seconds", "left"),
    [
        (1000, 0, 100, 10, "0:01:30"),
        (1000, 900, 950, 100, "0:01:40"),  # the 900 steps of an earlier process took no time here
        (1000, 999, 1000, 7, "0:00:00"),
        (100_000, 0, 100, 100, "27:45:00"),
        (1_000_000, 0, 100, 100, "11 d 13 h"),
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
    display = TrainingDisplay(Start(steps=steps, first=first), clock=clock)
    clock.now += seconds
    show_step(display, step)
    assert capsys.readouterr().err.endswith(f"  left {left}\n")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0:00:00"), (3599.6, "1:00:00"), (359_999, "99:59:59")]
)
def test_a_duration_has_at_most_nine_characters(seconds: float, text: str) -> None:
    assert describe_left(seconds) == text
    assert len(describe_left(1e8)) <= 9


@pytest.mark.parametrize(
    ("speed", "text"), [(0.1234, "0.123"), (3.0, "3.00"), (14.23, "14.2"), (1234.5, "1234")]
)
def test_a_speed_has_three_digits(speed: float, text: str) -> None:
    assert show_speed(speed) == text


def test_a_quiet_run_shows_messages_only(capsys: pytest.CaptureFixture[str]) -> None:
    with training_display(Start(facts=FACTS, steps=10), quiet=True) as display:
        show_step(display, 1)
        display.validating(3)()
        display.summary(summarise(5))
        display.say_facts(FACTS)
        assert capsys.readouterr() == ("", "")
        display.say("WARNING: left out: a.png cannot be decoded.")
    assert capsys.readouterr() == ("", "WARNING: left out: a.png cannot be decoded.\n")


def test_off_a_terminal_the_facts_come_first(capsys: pytest.CaptureFixture[str]) -> None:
    with training_display(Start(facts=FACTS, steps=10)) as display:
        show_step(display, 10)
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == ["Network  dabnet, 0.75 M parameters, random weights", "Results  run/"]
    assert lines[2].startswith("step 10/10  epoch 8.7  loss 0.512")


def test_facts_are_wrapped_between_words_and_aligned() -> None:
    assert wrap_facts(FACTS, 36) == [
        "Network  dabnet, 0.75 M parameters,",
        "         random weights",
        "Results  run/",
    ]


# On a terminal


def lines_at(
    width: int, *, message: str = "", rows: int = 1, start: Start = LONG, miou: float | None = 0.412
) -> list[str]:
    """Return the lines that a terminal of that width shows before the end of a run."""
    out = io.StringIO()
    clock = Clock()
    console = Console(file=out, force_terminal=True, width=width, color_system=None)
    with two_part_bar(console) as bar:
        display = TrainingDisplay(start, bar=bar, clock=clock)
        clock.now += 2
        for row in range(rows):
            display.summary(summarise(100, better=row == 0, miou=miou))
        display.step(131)
        show_step(display, 131)
        if message:
            display.say(message)
        bar._bar.refresh()
        text = out.getvalue()
    plain = re.sub(CODES, "", text)
    return [line.split("\r")[-1] for line in plain.split("\n")]


BARS = {
    60: "epoch 2/300 BAR step 31/100  loss 0.512  0:07:36 left",
    80: "epoch 2/300 BAR 14.2 images/s  step 31/100  loss 0.512  0:07:36 left",
    100: "epoch 2/300 BAR lr 9.8e-04  14.2 images/s  step 31/100  loss 0.512  0:07:36 left",
}
TABLES = {
    60: ["epoch   train     val   mIoU   img/s   wait      left",
         "    1   0.512   0.623  41.2*    14.2    3 %   0:09:58"],
    80: ["epoch  train loss  val loss  mIoU %   images/s  data wait  time left",
         "    1       0.512     0.623   41.2*       14.2        3 %    0:09:58"],
    100: ["epoch  train loss  val loss  mIoU %   images/s  data wait  time left",
          "    1       0.512     0.623   41.2*       14.2        3 %    0:09:58"],
}  # fmt: skip


@pytest.mark.parametrize("width", BARS)
def test_a_table_with_a_bar_below_it_fits_the_terminal(width: int) -> None:
    best, header, row, bar = lines_at(width)
    assert best == "* best so far, saved as best.safetensors"
    assert [line.split() for line in (header, row)] == [line.split() for line in TABLES[width]]
    assert len(header.rstrip()) - len(row.rstrip()) in (0, 1)  # aligned right
    assert all(len(line) <= width for line in (header, row, bar))
    assert re.sub("[\u2501\u2578\u257a]+ +", "BAR ", bar).strip() == BARS[width]
    before, after = BARS[width].split("BAR ")
    assert width - len(before) - len(after) > 10  # columns of the bar


def test_without_a_validation_split_the_table_has_no_columns_for_it() -> None:
    run = Start(steps=30000, every=100, in_steps=True, validated=False)
    header, row, _ = lines_at(80, start=run, miou=None)
    assert header.split() == ["step", "train", "loss", "images/s", "data", "wait", "time", "left"]
    assert row.split() == ["100", "0.512", "14.2", "3", "%", "0:09:58"]


def test_the_header_is_repeated() -> None:
    shown = lines_at(80, rows=HEADER_EVERY + 1)
    headers = [index for index, line in enumerate(shown) if line.startswith("epoch  train loss")]
    assert headers == [1, HEADER_EVERY + 2]


def test_messages_are_above_the_bar_whole_and_without_terminal_codes() -> None:
    *_, message, bar = lines_at(60, message="\x1b[2J[red]" + "name/" * 20)
    assert message == "\\x1b[2J[red]" + "name/" * 20
    assert bar.startswith("epoch 2/300 ")


def test_long_messages_are_wrapped_between_words() -> None:
    *_, first, second, _ = lines_at(60, message="word " * 13 + "end")
    assert (first, second) == (("word " * 12).strip(), "  word end")


def test_the_bar_moves_with_every_step_and_image() -> None:
    moves = []

    class Bar:
        width = 80

        def move(self, done: int, total: int) -> None:
            moves.append((done, total))

        def write(self, before: str, after: list[str]) -> None: ...

    display = TrainingDisplay(Start(steps=7, first=2, every=3, epochs=7.0), bar=Bar())
    for step in (3, 4, 5):
        display.step(step)
    display.validating(2)()
    display.step(7)
    assert moves == [(2, 3), (3, 3), (1, 3), (2, 3), (0, 2), (1, 2), (1, 1)]


# Ctrl-C, in a process on a terminal


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return what a terminal of 60 columns shows of a run that is stopped by Ctrl-C."""
    folder = tmp_path_factory.mktemp("terminal")
    make_camvid(folder / "camvid")
    words = ("--model", "DABNet", "--dataset", "camvid", "--data-dir", "camvid", "--out", "run")
    small = ("--batch-size", "2", "--set", "crop=32x48", "--set", "steps=100000", "--device", "cpu")
    quick = (
        "--recipe",
        "dabnet_cityscapes",
        "-j",
        "0",
        "--validate-every",
        "0",
        "--log-every",
        "1",
    )
    root = str(Path(__file__).parent.parent)
    env = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "60", "TERM": "xterm"}
    env["PYTHONPATH"] = os.pathsep.join([root, *filter(None, [env.get("PYTHONPATH", "")])])
    parent, child = pty.openpty()
    command = [sys.executable, "-m", "dseg", "train", *words, *small, *quick]
    process = subprocess.Popen(command, stdout=child, stderr=child, cwd=folder, env=env)
    os.close(child)
    shown, sent, deadline = b"", False, time.monotonic() + 100
    while time.monotonic() < deadline:
        if not select.select([parent], [], [], 1.0)[0]:
            continue
        try:
            shown += os.read(parent, 65536)
        except OSError:  # the process has ended
            break
        if not sent and re.search(rb"loss \d", shown):
            process.send_signal(signal.SIGINT)
            sent = True
    process.kill()
    assert process.wait() == 130, shown
    return shown.decode()


def test_ctrl_c_is_acknowledged_on_a_line_of_its_own(interrupted: str) -> None:
    acknowledged = "\r\x1b[2KStopping after this step; Ctrl-C again quits at once.\r\n"
    assert interrupted.count(acknowledged) == 1
    text = re.sub(CODES, "", interrupted).replace("\r\n", "\n")
    lines = text.replace(" \\\n  ", " ").split("\n")
    assert re.fullmatch(
        r"\r?Stopped after step \d+\. Continue: dseg train --resume --out run", lines[-2]
    )
    assert any(line.split("\r")[-1].startswith("Network  dabnet, 0.75 M par") for line in lines)
    assert "Traceback" not in interrupted
