"""Progress bars and tables: the only file that imports rich."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column, Table

from dseg.parallel import Advance

PLAIN_EVERY_S = 10.0
_hushed = False  # by -q


@contextmanager
def progress(what: str, total: int, *, quiet: bool = False) -> Iterator[Advance]:
    """Show progress on stderr: a bar on a terminal, otherwise a plain line every ten seconds.

    Args:
        what: what is done, or the name of what is worked on.
        total: number of images, 0 if unknown.
        quiet: show nothing.

    Yields:
        A function to call once for each of the ``total`` images.
    """
    if quiet:
        yield lambda: None
    elif sys.stderr.isatty():
        with _bar(plain(what), total) as advance:
            yield advance
    else:
        yield _plain_lines(what, total)


@contextmanager
def _bar(what: str, total: int) -> Iterator[Advance]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    start = time.perf_counter()
    done = 0
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total or None, rate="")

        def advance() -> None:
            nonlocal done
            done += 1
            rate = describe_rate(done, time.perf_counter() - start)
            bar.update(task, advance=1, rate=rate)

        yield advance


def _plain_lines(what: str, total: int) -> Advance:
    start = last = time.perf_counter()
    done = 0

    def advance() -> None:
        nonlocal done, last
        done += 1
        now = time.perf_counter()
        if now - last >= PLAIN_EVERY_S and not 0 < total <= done:
            last = now
            rate = describe_rate(done, now - start)
            left = f", {(total - done) * (now - start) / done:.0f} s left" if total else ""
            say(f"{what}: {done}{f'/{total}' if total else ''}, {rate}{left}")

    return advance


class TrainingDisplay:
    """Progress of a run on stderr: a live line on a terminal, otherwise a plain line at times.

    Args:
        steps: number of steps of the whole run.
        first: steps done before this process started, which do not count for the speed.
        bar: the live line; None for plain lines.
        quiet: show messages only.
        clock: returns seconds; for tests.
    """

    def __init__(
        self,
        steps: int,
        first: int,
        *,
        bar: Progress | None = None,
        quiet: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._steps, self._first, self._bar, self._quiet = steps, first, bar, quiet
        self._clock, self._begun, self._shown = clock, clock(), -math.inf
        self._scores = ""
        self._task = None if bar is None else bar.add_task("", total=steps, completed=first)

    def train(
        self, step: int, *, epoch: float, loss: float, lr: float, images_per_s: float
    ) -> None:
        """Show a row of metrics."""
        now = self._clock()
        seconds = (now - self._begun) / max(step - self._first, 1) * (self._steps - step)
        left = f"left {timedelta(seconds=round(seconds))}"
        losses = f"epoch {epoch:.1f}  loss {loss:.3f}"
        rates = f"lr {lr:.1e}  {images_per_s:.1f} images/s"
        if self._bar is not None and self._task is not None:
            # a narrow terminal cuts off the end
            text = f"{left}  {losses}{self._scores}  {rates}"
            self._bar.update(self._task, completed=step, description=text)
        elif not self._quiet and (now - self._shown >= PLAIN_EVERY_S or step == self._steps):
            self._shown = now
            say(f"step {step}/{self._steps}  {losses}  {rates}{self._scores}  {left}")

    def validated(self, step: int, *, miou: float, best: float, seconds: float) -> None:
        """Show a validation."""
        self._scores = f"  mIoU {_percent(miou)} (best {_percent(best)})"
        if not self._quiet:
            self.say(f"step {step}/{self._steps}  validated in {seconds:.1f} s:{self._scores}")

    def say(self, text: str) -> None:
        """Show a line, above the live one if there is one."""
        if self._bar is None:
            say(text)
        else:
            self._bar.console.print(plain(text), markup=False, highlight=False, soft_wrap=True)


@contextmanager
def training_display(steps: int, first: int, *, quiet: bool = False) -> Iterator[TrainingDisplay]:
    """Show the progress of a run of ``steps`` steps, ``first`` of which are already done."""
    if quiet or not sys.stderr.isatty():
        yield TrainingDisplay(steps, first, quiet=quiet)
        return
    with _training_bar(Console(stderr=True)) as bar:
        yield TrainingDisplay(steps, first, bar=bar)


def _training_bar(console: Console) -> Progress:
    """Make a progress line whose bar fills the width that the numbers leave."""
    bar = BarColumn(bar_width=None, table_column=Column(ratio=1))
    numbers = "{task.completed}/{task.total}  {task.description}"
    return Progress(bar, TextColumn(numbers, justify="right"), console=console, expand=True)


def _percent(score: float) -> str:
    """Return a score from 0 to 1 in percent, a dash for NaN."""
    return f"{100 * score:.1f}" if math.isfinite(score) else "-"


def say(line: str, *, always: bool = False) -> None:
    """Print a message on stderr; stdout carries results only.

    Args:
        always: print it within ``hushed`` too, as it concerns a fault.
    """
    if always or not _hushed:
        click.echo(plain(line), err=True)


@contextmanager
def hushed(quiet: bool) -> Iterator[None]:
    """Within the body, print nothing but messages on faults, if ``quiet``."""
    global _hushed
    before, _hushed = _hushed, quiet or _hushed
    try:
        yield
    finally:
        _hushed = before


def describe_rate(done: int, seconds: float, what: str = "image") -> str:
    """Return a speed in words: images per second, or seconds per image if these are more."""
    if done == 0 or seconds <= 0:
        return ""
    if done >= seconds:
        return f"{done / seconds:.3g} {what}s/s"
    return f"{seconds / done:.3g} s/{what}"


def plain(value: object) -> str:
    """Return text in which no file content can start a new line or control the terminal.

    Line breaks, control characters, direction marks and the like are escaped.
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(value))


def show_table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, footer: str = ""
) -> None:
    """Print a table on stdout; the first column is text, the others are aligned right.

    Outside a terminal it is as wide as its contents, so that nothing is cut off.
    """
    console = Console(width=None if sys.stdout.isatty() else 400, markup=False)
    table = Table(title=plain(title) or None, title_justify="left", caption=plain(footer) or None)
    for index, column in enumerate(columns):
        table.add_column(plain(column), justify="right" if index else "left", no_wrap=index == 0)
    for row in rows:
        table.add_row(*map(plain, row))
    console.print(table)
