"""Commands whose options are shown in named groups, at the terminal's width."""

from __future__ import annotations

import os
from typing import Any, cast, get_args

import click
import cloup

from dseg.cli.options.types import Command, Option
from dseg.cli.wrapping import wrap_paragraphs
from dseg.config.fields import Group

MOST_COLUMNS = 101  # of the terminal, of which one stays free
GENERAL: Group = "General"  # the last group, which also has --help
ORDER: tuple[Group, ...] = get_args(Group)


def group(title: Group, *options: Option) -> Option:
    """Return a decorator that adds options to a named group of a ``DsegCommand``.

    Options may be added to a group in several places; they are shown in the order of addition.
    """

    def add(command: Command) -> Command:
        for option in reversed(options):
            cloup.option_group(title, option)(command)
        return command

    return add


class WordFormatter(cloup.HelpFormatter):
    """Writes help with lines broken between words only."""

    def write_text(self, text: str, style: Any = None) -> None:
        """Write paragraphs."""
        wrapped = wrap_paragraphs(text, self.width - self.current_indent)
        super().write_text(wrapped, *([] if style is None else [style]))

    def write_dl(self, rows: Any, *args: Any, **kwargs: Any) -> None:
        """Write names and their descriptions, in two columns or one below the other."""
        super().write_dl([(name, _wrapping(text)) for name, text in rows], *args, **kwargs)


def _wrapping(text: Any) -> Any:
    """Return a description as a function of the width that it has."""

    def wrapped(width: int) -> str:
        words = " ".join(str(text(width) if callable(text) else text).split())
        return wrap_paragraphs(words, width) if len(words) > width else words

    return wrapped


class DsegContext(cloup.Context):
    """A context that formats help for this terminal."""

    formatter_class = WordFormatter

    def make_formatter(self) -> cloup.HelpFormatter:
        """Return a formatter; colours are only for a terminal, and obey NO_COLOR."""
        theme = cloup.HelpTheme()
        if not os.environ.get("NO_COLOR"):
            theme = cloup.HelpTheme(
                heading=cloup.Style(bold=True), col1=cloup.Style(fg=cloup.Color.cyan)
            )
        return WordFormatter(width=self.terminal_width, max_width=MOST_COLUMNS - 1, theme=theme)


class DsegCommand(cloup.Command):
    """A command that shows its options in groups, in the order of ``Group``."""

    context_class = DsegContext

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        options: dict[str, list[click.Option]] = {title: [] for title in ORDER}
        for part in self.option_groups:
            options[part.title] += part.options
        self._general = options.pop(GENERAL)
        self.option_groups = [_make_group(title, own) for title, own in options.items() if own]

    def get_default_option_group(
        self, ctx: click.Context, is_the_only_visible_option_group: bool = False
    ) -> cloup.OptionGroup:
        """Return the last group, with --help."""
        return _make_group(GENERAL, [*self._general, *self.get_ungrouped_options(ctx)])


def _make_group(title: str, options: list[click.Option]) -> cloup.OptionGroup:
    made = cloup.OptionGroup(title)
    made.options = options
    for option in options:
        cast(Any, option).group = made
    return made
