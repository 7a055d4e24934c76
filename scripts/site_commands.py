"""The reference of the command line: one page for each command, from its click object."""

from __future__ import annotations

import re
from inspect import cleandoc
from typing import Any

import click

UNGROUPED = "Options"


def command_page(group: click.Group, name: str) -> str:
    """Return the page of a command: usage, help, examples and options in their groups."""
    command = group.commands[name]
    parent = click.Context(group, info_name="dseg", **group.context_settings)
    context = click.Context(command, parent, info_name=name)
    title = context.command_path
    usage = " ".join([title, *command.collect_usage_pieces(context)])
    parts = [f"# {title}", f"```text\n{usage}\n```", f"```{{program}} {title}\n```"]
    parts.append(help_text(command))
    for heading, options in option_groups(command, context):
        parts += [f"## {heading}", *(option_text(option, context) for option in options)]
    return "\n\n".join([*parts, ""])


def help_text(command: click.Command) -> str:
    """Return the help of a command as Markdown; passages that click keeps as they are, as code."""
    parts = []
    for passage in cleandoc(command.help or "").split("\n\n"):
        lines = passage.split("\n")
        if lines[0] != "\b":
            parts.append(plain(" ".join(lines)))
            continue
        kept = lines[1:]
        if re.fullmatch(r"Examples?:", kept[0]):
            parts.append("## Examples")
            kept = kept[1:]
        indent = min(len(line) - len(line.lstrip()) for line in kept if line.strip())
        code = "\n".join(line[indent:] for line in kept)
        parts.append(f"```sh\n{code}\n```")
    return "\n\n".join(parts)


def option_groups(
    command: click.Command, context: click.Context
) -> list[tuple[str, list[click.Option]]]:
    """Return the visible options of a command by their groups, in the order of its help."""
    visible = [
        option
        for option in command.get_params(context)
        if isinstance(option, click.Option) and not option.hidden
    ]
    groups: dict[str, list[click.Option]] = {}
    for option in visible:
        groups.setdefault(group_of(option, command), []).append(option)
    return list(groups.items())


def group_of(option: click.Option, command: click.Command) -> str:
    """Return the title of an option's group."""
    group: Any = getattr(option, "group", None) or getattr(option, "panel", None)
    title = getattr(group, "title", None) or getattr(group, "name", None) or group
    return str(title) if title else UNGROUPED


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
