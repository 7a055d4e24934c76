"""Progress bars and tables: the only file that imports rich."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

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
from rich.table import Table

PLAIN_EVERY_S = 10.0

Advance = Callable[[], None]


@contextmanager
def progress(what: str, total: int, *, quiet: bool = False) -> Iterator[Advance]:
    """Show progress on stderr: a bar on a terminal, otherwise a plain line every ten seconds.

    Yields:
        A function to call once for each of the ``total`` images.
    """
    if quiet:
        yield lambda: None
    elif sys.stderr.isatty():
        with _bar(what, total) as advance:
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
        task = bar.add_task(what, total=total, rate="")

        def advance() -> None:
            nonlocal done
            done += 1
            rate = done / (time.perf_counter() - start)
            bar.update(task, advance=1, rate=f"{rate:.3g} images/s")

        yield advance


def _plain_lines(what: str, total: int) -> Advance:
    start = last = time.perf_counter()
    done = 0

    def advance() -> None:
        nonlocal done, last
        done += 1
        now = time.perf_counter()
        if now - last >= PLAIN_EVERY_S and done < total:
            last = now
            rate = done / (now - start)
            left = (total - done) / rate
            say(f"{what}: {done}/{total}, {rate:.3g} images/s, {left:.0f} s left")

    return advance


def say(line: str) -> None:
    """Print a line for the person, on stderr: stdout is for what was asked.

    What a file's name may hold besides text, line breaks and terminal codes, is shown escaped.
    """
    plain = (c if c.isprintable() else ascii(c)[1:-1] for c in line)
    click.echo("".join(plain), err=True)


def show_table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, footer: str = ""
) -> None:
    """Print a table on stdout; the first column is text, the others are aligned right.

    Off a terminal it is as wide as its contents, so that nothing is cut.
    """
    console = Console(width=None if sys.stdout.isatty() else 400)
    table = Table(title=title or None, title_justify="left", caption=footer or None)
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left", no_wrap=index == 0)
    for row in rows:
        table.add_row(*row)
    console.print(table)
