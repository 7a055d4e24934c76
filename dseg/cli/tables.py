"""Tables that fit the terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from dseg.cli.console import plain
from dseg.cli.wrapping import wrap

UNLIMITED = 400  # columns of a table off a terminal
GAP = 2  # columns between those of a table


def show_table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, footer: str = ""
) -> None:
    """Print a table on stdout; the first column is text, the others are aligned right.

    On a terminal, texts are wrapped between words, and numbers are never cut: if there is no room,
    the last columns are left out, which a line below says. Elsewhere the table is as wide as its
    contents.
    """
    cells = [[plain(cell) for cell in row] for row in rows]
    titles = [plain(column) for column in columns]
    room = table_room()
    shown = count_fitting(titles, cells, room)
    if shown < len(titles):
        left_out = f"No room for: {', '.join(titles[shown:])} (a wider terminal, or --json)."
        footer = f"{footer} {left_out}".strip()
    table = Table(box=box.SIMPLE_HEAD)
    table.padding, table.pad_edge, table.show_edge = (0, GAP - 1, 0, 0), False, False
    widths = share_width(titles[:shown], cells, room)
    for index, (column, width) in enumerate(zip(titles, widths, strict=False)):
        table.add_column(column, justify="right" if index else "left", width=width)
    for row in cells:
        table.add_row(*row[:shown])
    console = Console(width=room, markup=False, highlight=False)
    if title:
        console.print("\n".join(_wrap(title, room)), soft_wrap=True)
    console.print(table)
    if footer:
        console.print("\n".join(_wrap(footer, room)), style="italic", soft_wrap=True)


def _wrap(text: str, room: int) -> list[str]:
    return [plain(text)] if room == UNLIMITED else wrap(plain(text), room, indent="")


def table_room() -> int:
    """Return the columns that a table can have."""
    return Console().width if sys.stdout.isatty() else UNLIMITED


def count_fitting(titles: Sequence[str], rows: Sequence[Sequence[str]], room: int) -> int:
    """Return how many columns fit if each is as wide as its longest word; at least one."""
    used = 0
    for index, least in enumerate(_widths(titles, rows, words=True)):
        used += least + GAP * (index > 0)
        if used > room and index:
            return index
    return len(titles)


def share_width(titles: Sequence[str], rows: Sequence[Sequence[str]], room: int) -> list[int]:
    """Return the widths of columns: of their contents, the widest reduced until all fit."""
    least = _widths(titles, rows, words=True)
    widths = _widths(titles, rows, words=False)
    while sum(widths) + GAP * (len(widths) - 1) > room:
        spare = [wide if wide > low else 0 for wide, low in zip(widths, least, strict=True)]
        if not any(spare):
            break
        widths[spare.index(max(spare))] -= 1
    return widths


def _widths(titles: Sequence[str], rows: Sequence[Sequence[str]], *, words: bool) -> list[int]:
    """Return the width of each column, or of its longest word."""

    def measure(text: str) -> int:
        return max(map(cell_len, text.split()), default=0) if words else cell_len(text)

    return [
        max(measure(text) for text in (title, *(row[index] for row in rows)))
        for index, title in enumerate(titles)
    ]
