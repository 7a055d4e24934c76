"""Write the generated tables of README.md, docs/ and weights/, from the code."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from dseg.bench.text import name_variant
from dseg.cli import main as dseg_command
from dseg.datasets.known import KNOWN
from dseg.downloads import file_of
from dseg.registry import MODELS, ModelSpec

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
WEIGHTS = ROOT / "weights" / "README.md"
DOCS = ROOT / "docs"
OWN_DATA = DOCS / "own-data.md"
RECOMMENDED = {
    "dabnet": "to begin with: its weights come by themselves",
    "espnet": "small, for weak machines; its weights come by themselves",
    "bisenetv2": "fast",
    "swiftnet_r18": "fast",
    "icnet": "large images",
    "pspnet_r50": "the usual baseline",
    "denseaspp161": "accurate",
    "gald_r101": "the most accurate of these",
}
SPEEDS = ROOT / "weights" / "zoo-cpu.md"


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


def recommended() -> str:
    """Return the table of networks to start with: score, and speed from the zoo's file."""
    found = json.loads(SPEEDS.with_suffix(".json").read_text(encoding="utf-8"))["networks"]
    lines = ["| `--model` | for | Cityscapes mIoU (%) | parameters (M) | ms | weights |"]
    lines.append("| --- | --- | --: | --: | --: | --- |")
    for name, purpose in RECOMMENDED.items():
        times = [e["labels"]["median_ms"] for e in found if e["name"] == name and e["labels"]]
        spec = MODELS[name]
        file = file_of(name)
        weights = "none published" if file is None else "download" if file.url else "by hand"
        cells = f"{spec.score} | {spec.params / 1e6:.1f} | {min(times):.0f} | {weights}"
        lines.append(f"| `{name}` | {purpose} | {cells} |")
    return "\n".join(lines)


def commands() -> str:
    """Return the table of commands, from their help."""
    lines = ["| for | command | what it does |", "| --- | --- | --- |"]
    for section in dseg_command.list_sections(click.Context(dseg_command)):
        for name, command in section.commands.items():
            short = command.get_short_help_str(limit=100)
            lines.append(f"| {section.title.lower()} | `dseg {name}` | {short} |")
    return "\n".join(lines)


def files() -> str:
    """Return the table of published checkpoints, from the registry."""
    lines = [
        "| network | file | where | licence | authors' mIoU (%) | authors' code compared by |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| `{name}` | {f'`{spec.weights}`' if spec.weights else 'name not known'} | {spec.link} "
        f"| {spec.licence or 'none stated'} | {spec.published} | {tested_by(spec)} |"
        for name, spec in MODELS.items()
        if spec.weights or spec.link
    ]
    return "\n".join(lines)


def tested_by(spec: ModelSpec) -> str:
    """Return how a network is tested against its authors' code."""
    if spec.real_files:
        return "masks of a trained file"
    relatives = (other for other in MODELS.values() if other.target == spec.target)
    return "tensors" if any(other.goldens for other in relatives) else "nothing"


def speeds() -> str:
    """Return the table of milliseconds to labels, from the JSON file of ``dseg bench``."""
    found = json.loads(SPEEDS.with_suffix(".json").read_text(encoding="utf-8"))["networks"]
    networks: dict[str, dict[tuple[str, str], dict[str, Any]]] = {}
    for entry in found:
        networks.setdefault(entry["name"], {})[entry["runtime"], entry["dtype"]] = entry
    variants = list(dict.fromkeys((entry["runtime"], entry["dtype"]) for entry in found))
    titles = " | ".join(name_variant(*variant) for variant in variants)
    lines = [
        f"| network | parameters (M) | GMACs | {titles} |",
        f"| --- | --: | --: |{' --: |' * len(variants)}",
    ]
    for name, entries in networks.items():
        first = entries[variants[0]]
        times = " | ".join(
            f"{entries[key]['labels']['median_ms']:.0f}" if entries[key]["labels"] else "-"
            for key in variants
        )
        cost = f"{first['params'] / 1e6:.1f} | {first['gmacs']:.1f}"
        lines.append(f"| `{name}` | {cost} | {times} |")
    return "\n".join(lines)


def known() -> str:
    """Return the table of ready-made class files."""
    lines = ["| `--table`, `--classes` | data and terms | where the values are from |"]
    lines.append("| --- | --- | --- |")
    for name, data in KNOWN.items():
        remark = f" {data.remark}" if data.remark else ""
        lines.append(f"| `{name}` | {data.title}; {data.terms} | {data.source}.{remark} |")
    return "\n".join(lines)


PARTS: dict[Path, dict[str, Callable[[], str]]] = {
    README: {"recommended": recommended},
    DOCS / "networks.md": {"networks": networks},
    DOCS / "commands.md": {"commands": commands},
    WEIGHTS: {"files": files},
    OWN_DATA: {"known": known},
    SPEEDS: {"speeds": speeds},
}


def rendered(path: Path) -> str:
    """Return a file's text with every generated part replaced."""
    text = path.read_text(encoding="utf-8")
    for name, make in PARTS[path].items():
        start, end = f"<!-- {name}: made by make docs -->", f"<!-- end of {name} -->"
        before, found, rest = text.partition(start)
        _, closed, after = rest.partition(end)
        if not (found and closed):
            raise click.ClickException(f"{path.name} lacks the marks {start} {end}.")
        text = f"{before}{start}\n\n{make()}\n\n{end}{after}"
    return text


@click.command(help=__doc__)
@click.option("--check", is_flag=True, help="Write nothing; exit 1 if a table is out of date.")
def main(check: bool) -> None:
    for path in PARTS:
        current = rendered(path)
        if check and current != path.read_text(encoding="utf-8"):
            sys.exit(f"{path.relative_to(ROOT)} is out of date: run make docs")
        if not check:
            path.write_text(current, encoding="utf-8")


if __name__ == "__main__":
    main()
