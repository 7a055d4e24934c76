"""The reference of the command line: one page for each command, from its click object."""

from __future__ import annotations

import re
from inspect import cleandoc
from textwrap import dedent

import click
import cloup


def command_page(group: click.Group, name: str, guide: str) -> str:
    """Return the page of a command: usage, help, examples and options in their groups.

    Args:
        group: the command that has it.
        name: its name.
        guide: Markdown that leads to the page which introduces it.
    """
    command = group.commands[name]
    parent = click.Context(group, info_name="dseg", **group.context_settings)
    context = click.Context(command, parent, info_name=name)
    title = context.command_path
    usage = " ".join([title, *command.collect_usage_pieces(context)])
    parts = [f"# {title}", f"```text\n{usage}\n```", f"```{{program}} {title}\n```"]
    parts.append(help_text(command, guide))
    for heading, options in option_groups(command, context):
        parts += [f"## {heading}", *(option_text(option, context) for option in options)]
    return "\n\n".join([*parts, ""])


def help_text(command: click.Command, guide: str) -> str:
    """Return the help of a command and its guide as Markdown, then the examples.

    Passages that click keeps as they are, with their line ends, become code.
    """
    parts, examples = [], []
    for passage in cleandoc(command.help or "").split("\n\n"):
        lines = passage.split("\n")
        if lines[0] != "\b":
            parts.append(plain(" ".join(lines)))
        elif re.fullmatch(r"Examples?:", lines[1]):
            examples += ["## Examples", code(lines[2:])]
        else:
            parts.append(code(lines[1:]))
    return "\n\n".join([*parts, guide, *examples])


def code(lines: list[str]) -> str:
    """Return lines as a block of commands, without their common indentation."""
    return "```sh\n" + dedent("\n".join(lines)) + "\n```"


def option_groups(
    command: click.Command, context: click.Context
) -> list[tuple[str, list[click.Option]]]:
    """Return the visible options of a command by their groups, in the order of its help."""
    if isinstance(command, cloup.Command):
        groups = [*command.option_groups, command.get_default_option_group(context)]
        found = [(group.title, list(group.options)) for group in groups]
    else:
        options = [p for p in command.get_params(context) if isinstance(p, click.Option)]
        found = [("Options", options)]
    visible = [(title, [o for o in options if not o.hidden]) for title, options in found]
    return [(title, options) for title, options in visible if options]


def option_text(option: click.Option, context: click.Context) -> str:
    """Return an option with its help and default as a directive that other pages can refer to."""
    names = [*option.opts, *option.secondary_opts]
    value = "" if option.is_flag or option.count else f" {option.make_metavar(context)}"
    record = option.get_help_record(context)
    text = re.sub(r"\s{2,}(?=\[)", " ", record[1] if record else "")
    signature = ", ".join(f"{name}{value}" for name in names)
    return f"````{{option}} {signature}\n{plain(text)}\n````"


def plain(text: str) -> str:
    """Return text with the signs escaped that Markdown would read as markup."""
    return re.sub(r"([\\`*_<>\[\]{}|#$])", r"\\\1", text)
