"""Write the generated parts of README.md: the table of networks and the table of commands."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from dseg.cli import main as dseg_command
from dseg.registry import MODELS

README = Path(__file__).resolve().parent.parent / "README.md"


def networks() -> str:
    """Return the table of networks, from the registry."""
    lines = [
        "| `--model` | paper | parameters | GMACs | classes | authors' mIoU (%) | ours (%) |",
        "| --- | --- | --: | --: | --- | --- | --- |",
    ]
    lines += [
        f"| `{name}` | {spec.title}, {spec.paper} | {spec.params:,} | {spec.macs / 1e9:.1f} "
        f"| {spec.num_classes} ({spec.label_space}) | {spec.published} | {spec.measured} |"
        for name, spec in MODELS.items()
    ]
    return "\n".join(lines)


def commands() -> str:
    """Return the table of commands, from their help."""
    lines = ["| command | what it does |", "| --- | --- |"]
    for name, command in sorted(dseg_command.commands.items()):
        lines.append(f"| `dseg {name}` | {command.get_short_help_str(limit=100)} |")
    return "\n".join(lines)


PARTS = {"networks": networks, "commands": commands}


def rendered(text: str) -> str:
    """Return the README with each part between its two marks made anew."""
    for name, make in PARTS.items():
        start, end = f"<!-- {name}: made by make docs -->", f"<!-- end of {name} -->"
        before, found, rest = text.partition(start)
        _, closed, after = rest.partition(end)
        if not (found and closed):
            raise click.ClickException(f"README.md lacks the marks {start} {end}.")
        text = f"{before}{start}\n\n{make()}\n\n{end}{after}"
    return text


@click.command(help=__doc__)
@click.option("--check", is_flag=True, help="Only tell whether they are current; exit 1 if not.")
def main(check: bool) -> None:
    text = README.read_text(encoding="utf-8")
    current = rendered(text)
    if check and current != text:
        sys.exit("README.md is not current: make docs")
    if not check:
        README.write_text(current, encoding="utf-8")


if __name__ == "__main__":
    main()
