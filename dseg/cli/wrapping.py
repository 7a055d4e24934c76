"""Text in lines that fit a terminal, broken between words only."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from rich.cells import cell_len

INDENT = "  "  # of the second line and those after it
LEAST_COLUMNS = 20  # below which nothing is wrapped
# A command at the end of a text, which is broken so that a shell still reads it as one.
_COMMAND = re.compile(r"(?:^ *|: |\$ )(?P<command>(?:dseg|torchrun) [a-z-]+ .*)$")
_PROSE = re.compile(r"[.,;:)] |[.,;)]$")
_WORD = re.compile(r"\S+")
# an option with its value, which can be quoted as on Windows, too
_ARGUMENT = re.compile(r"(?:-[\w-]* (?!-))?(?:'[^']*'|\"[^\"]*\"|[^\s'\"])+|['\"]")
_CONTINUES = " ^" if os.name == "nt" else " \\"  # ends a line of a command that goes on below


def wrap(text: str, width: int, *, indent: str = INDENT) -> list[str]:
    """Return a line of text as lines of at most ``width`` columns.

    Lines are broken at spaces only; a word that is wider, such as a long path, stays where it is,
    and the terminal breaks it. Within a command at the end, broken lines end with a backslash (on
    Windows a caret), so that it can be copied.

    Args:
        text: one line; spaces at its start and between words are kept where no line ends.
        width: columns of the terminal.
        indent: spaces before all lines but the first, after those of the text itself.
    """
    if cell_len(text) <= width or width < LEAST_COLUMNS:
        return [text]
    start = re.match(r" *", text).group()  # type: ignore[union-attr]  # matches always
    command = _COMMAND.search(text)
    at = command.start("command") if command and not _PROSE.search(command["command"]) else None
    words = _split(text, at)
    lines, line, end = [], "", 0
    for place, word in words:
        in_command = at is not None and place > at
        longer = line + text[end:place] + word
        room = width - 2 * (at is not None and place >= at)
        fits_below = cell_len(start + indent + word) <= room
        if line.strip() and cell_len(longer) > room and fits_below:
            lines.append(line + _CONTINUES * in_command)
            line = start + indent + word
        else:
            line = longer
        end = place + len(word)
    return [*lines, line]


def _split(text: str, command: int | None) -> list[tuple[int, str]]:
    """Return the places and texts of words, and of arguments of a command that begins there."""
    at = len(text) if command is None else command
    return [
        *((word.start(), word[0]) for word in _WORD.finditer(text, 0, at)),
        *((word.start(), word[0]) for word in _ARGUMENT.finditer(text, at)),
    ]


def wrap_paragraphs(text: str, width: int) -> str:
    """Return paragraphs with lines that fit; in one that begins with ``\\b``, lines are kept.

    The result is marked such that click does not wrap it again.
    """
    done = []
    for paragraph in re.split(r"\n\s*\n", text.strip("\n")):
        if paragraph.strip().startswith("\b"):
            lines = paragraph.strip().lstrip("\b").strip("\n").splitlines()
            indents = [INDENT * 2] * len(lines)
        else:
            lines, indents = [" ".join(paragraph.split())], [""]
        wrapped = [
            part
            for line, indent in zip(lines, indents, strict=True)
            for part in wrap(line, width, indent=indent)
        ]
        done.append("\b\n" + "\n".join(wrapped))
    return "\n\n".join(done)


def wrap_facts(facts: Sequence[tuple[str, str]], width: int) -> list[str]:
    """Return facts as lines of at most ``width`` columns, names and texts aligned."""
    indent = max((len(name) for name, _ in facts), default=0) + 2
    lines = []
    for name, text in facts:
        first = name.ljust(indent)
        lines += wrap(f"{first}{text}", max(width, indent + 20), indent=" " * indent)
    return lines
