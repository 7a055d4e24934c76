"""Messages and progress bars; rich is imported here and in tables.py only."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Column

from dseg.cli.wrapping import INDENT, wrap
from dseg.errors import Detail
from dseg.parallel import Advance

if TYPE_CHECKING:
    from dseg.downloads import Display

PLAIN_EVERY_S = 10.0
PLAIN_WIDTH = 100  # columns of text off a terminal
LEAST_BAR = 10  # columns of a bar that has words on both sides
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
        TimeRemainingColumn(),
        TextColumn("left"),
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


def download_display(*, quiet: bool = False) -> Display:
    """Return functions that show a download on stderr: messages, and a bar or plain lines.

    Args:
        quiet: show messages only.
    """
    from dseg.downloads import Display

    return Display(note=say) if quiet else Display(note=say, progress=_show_bytes)


@contextmanager
def _show_bytes(what: str, done: int, total: int) -> Iterator[Callable[[int], None]]:
    """Show the bytes of a file; the yielded function is called with the number of new ones."""
    if not sys.stderr.isatty():
        yield _plain_bytes(what, done, total)
        return
    columns = (
        *(TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn()),
        *(TransferSpeedColumn(), TimeRemainingColumn()),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(plain(what), total=total or None, completed=done)
        yield lambda count: bar.update(task, advance=count)


def _plain_bytes(what: str, done: int, total: int) -> Callable[[int], None]:
    last = time.perf_counter()
    of = f" of {total / 1e6:.1f}" if total else ""

    def advance(count: int) -> None:
        nonlocal done, last
        done += count
        if time.perf_counter() - last >= PLAIN_EVERY_S:
            last = time.perf_counter()
            say(f"{what}: {done / 1e6:.1f}{of} MB")

    return advance


class TwoPartBar:
    """One live line on a terminal: words, a bar that fills what is left, and more words.

    Args:
        bar: rich's display, with a task whose fields are ``before`` and ``after``.
    """

    def __init__(self, bar: Progress):
        self._bar = bar
        self._task = bar.add_task("", total=None, before="", after="")

    @property
    def width(self) -> int:
        """Width of the terminal in columns."""
        return self._bar.console.width

    def move(self, done: int, total: int) -> None:
        """Move the bar."""
        self._bar.update(self._task, completed=done, total=total)

    def write(self, before: str, after: Sequence[str]) -> None:
        """Write the words; of those after the bar, the first that leave it ``LEAST_BAR`` columns.

        Args:
            before: words before the bar.
            after: words after the bar, the most important first; they are shown in reverse order.
        """
        room = self.width - len(before) - LEAST_BAR - 2
        shown: list[str] = []
        for words in after:
            if len("  ".join([words, *shown])) > room:
                break
            shown.insert(0, words)
        self._bar.update(self._task, before=before, after="  ".join(shown))

    def say(self, text: str) -> None:
        """Print a line above the bar; a long one is wrapped between words."""
        for line in wrap(text, self.width):
            self._bar.console.print(line.rstrip(), markup=False, highlight=False, soft_wrap=True)


@contextmanager
def two_part_bar(console: Console | None = None) -> Iterator[TwoPartBar]:
    """Show a bar on stderr while the body runs, and remove it at the end."""
    columns = (
        TextColumn("{task.fields[before]}", markup=False),
        BarColumn(bar_width=None, table_column=Column(ratio=1)),
        TextColumn("{task.fields[after]}", justify="right", markup=False),
    )
    shown = console or Console(stderr=True)
    with Progress(*columns, console=shown, expand=True, transient=True) as bar:
        yield TwoPartBar(bar)


def say(line: str, *, always: bool = False) -> None:
    """Print a message on stderr; stdout carries results only. Details are left out.

    At a terminal it is wrapped between words; elsewhere it is one line.

    Args:
        always: print it within ``hushed`` too, as it concerns a fault.
    """
    if (always or not _hushed) and not isinstance(line, Detail):
        click.echo(fit(plain(line), err=True), err=True)


def show(line: str, *, indent: str = INDENT) -> None:
    """Print a line of a result on stdout; at a terminal it is wrapped between words."""
    click.echo(fit(plain(line), indent=indent))


def error_width() -> int:
    """Return the columns of the terminal of stderr, 0 if it is not a terminal."""
    return Console(stderr=True).width if sys.stderr.isatty() else 0


def fit(text: str, *, err: bool = False, indent: str = INDENT) -> str:
    """Return a line as lines that fit the terminal of stdout or stderr; elsewhere unchanged."""
    if not (sys.stderr if err else sys.stdout).isatty():
        return text
    return "\n".join(wrap(text, Console(stderr=err).width, indent=indent))


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


def say_at_once(line: str) -> None:
    """Print a message on stderr from the handler of a signal, in place of a live line.

    It is written past Python's buffers and rich's lock, which the interrupted code may hold.
    """
    with suppress(OSError):
        text, clear = plain(line), ""
        if os.isatty(2):
            text, clear = "\n".join(wrap(text, os.get_terminal_size(2).columns)), "\r\x1b[2K"
        os.write(2, f"{clear}{text}\n".encode(errors="replace"))


def plain(value: object) -> str:
    """Return text in which no file content can start a new line or control the terminal.

    Line breaks, control characters, direction marks and the like are escaped.
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(value))
