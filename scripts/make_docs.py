"""Write the generated tables of README.md, docs/ and weights/, from the code."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from collections.abc import Callable
from functools import partial
from inspect import cleandoc
from pathlib import Path
from typing import Any

import click
from site_api import names

from dseg.bench.text import name_variant
from dseg.cli import main as dseg_command
from dseg.datasets.known import KNOWN
from dseg.downloads import file_of
from dseg.recipes import RECIPES, Recipe
from dseg.registry import MODELS, ModelSpec

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
WEIGHTS = ROOT / "weights" / "README.md"
DOCS = ROOT / "docs"
OWN_DATA = DOCS / "own-data.md"
RECOMMENDED = {
    "dabnet": "to begin with",
    "espnet": "the smallest",
    "efficientvit_b0": "small, fast and accurate",
    "pidnet_s": "more accurate, still fast",
    "ddrnet_23_slim": "nearly the same, faster",
    "efficientvit_b1": "accurate for its speed",
    "denseaspp161": "accurate",
    "efficientvit_l1": "the most accurate of these",
    "unet_r34": "own data with thin structures",
}
SPEEDS = ROOT / "weights" / "zoo-cpu.md"
TODAY = ROOT / "weights" / "today-cpu.json"


def networks(*, cityscapes: bool) -> str:
    """Return the table of networks for Cityscapes' classes, or of all others, from the registry."""
    chosen = {
        name: spec
        for name, spec in MODELS.items()
        if (spec.label_space == "cityscapes") == cityscapes
    }
    classes = ("", "") if cityscapes else (" classes |", " --- |")
    lines = [
        f"| `--model` |{classes[0]} authors' mIoU (%) | parameters (M) | GMACs | paper |",
        f"| --- |{classes[1]} --- | --: | --: | --- |",
    ]
    for name, spec in chosen.items():
        kind = "" if cityscapes else f" {spec.num_classes} ({spec.label_space}) |"
        score = spec.published.removeprefix("Cityscapes ") if cityscapes else spec.published
        cost = f"{spec.params / 1e6:.2f} | {spec.macs / 1e9:.1f}"
        lines.append(f"| `{name}` |{kind} {score} | {cost} | {spec.title}, {spec.paper} |")
    return "\n".join(lines)


def our_scores() -> str:
    """Return the list of scores that we measured, from the registry."""
    return "\n".join(
        f"- `{name}`: {spec.measured}" for name, spec in MODELS.items() if spec.measured
    )


def recommended() -> str:
    """Return the table of networks to start with: score, and speed from the zoo's file."""
    found = json.loads(TODAY.read_text(encoding="utf-8"))["networks"]
    lines = ["| `--model` | for | Cityscapes mIoU (%) | parameters (M) | CPU ms | weights |"]
    lines.append("| --- | --- | --: | --: | --: | --- |")
    for name, purpose in RECOMMENDED.items():
        times = [e["labels"]["median_ms"] for e in found if e["name"] == name and e["labels"]]
        spec = MODELS[name]
        file = file_of(name)
        how = "none published: train it" if file is None else "you download the file"
        weights = "downloads by itself" if file is not None and file.url else how
        split = "" if " val " in spec.published else " (test)"
        score = "none" if spec.score is None else f"{spec.score}{split}"
        cells = f"{score} | {spec.params / 1e6:.1f} | {min(times):.0f} | {weights}"
        lines.append(f"| `{name}` | {purpose} | {cells} |")
    return "\n".join(lines)


def commands() -> str:
    """Return the table of commands, from their help and in its order."""
    lines = ["| for | command | what it does |", "| --- | --- | --- |"]
    for section in dseg_command.list_sections(click.Context(dseg_command)):
        for index, (name, command) in enumerate(section.commands.items()):
            title = "" if index else section.title.lower()
            text = command.get_short_help_str(limit=100)
            lines.append(f"| {title} | `dseg {name}` | {text} |")
    return "\n".join(lines)


def files() -> str:
    """Return the table of published checkpoints, from the registry."""
    lines = [
        "| network | file | where | licence | authors' mIoU (%) | authors' code compared by |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| `{name}` | {f'`{spec.weights}`' if spec.weights else 'not known'} | {linked(spec)} "
        f"| {spec.licence or 'none stated'} | {spec.published} | {tested_by(spec)} |"
        for name, spec in MODELS.items()
        if spec.weights or spec.link
    ]
    return "\n".join(lines)


def linked(spec: ModelSpec) -> str:
    """Return the address of a network's checkpoint as a link of the server's name."""
    return f"[{spec.link.partition('/')[0]}](https://{spec.link})" if spec.link else ""


def tested_by(spec: ModelSpec) -> str:
    """Return how a network is tested against its authors' code."""
    if spec.real_files:
        return "masks of a trained file"
    relatives = (other for other in MODELS.values() if other.target == spec.target)
    return "tensors" if any(other.goldens for other in relatives) else "nothing"


def speeds(file: Path) -> str:
    """Return the table of milliseconds to labels, from a JSON file of ``dseg bench``."""
    found = json.loads(file.read_text(encoding="utf-8"))["networks"]
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


def recipes() -> str:
    """Return the table of recipes."""
    lines = ["| `--recipe` | epochs | batch | crop | optimizer | learning rate | loss |"]
    lines.append("| --- | --: | --: | --- | --- | --: | --- |")
    for name, recipe in RECIPES.items():
        crop = "x".join(str(side) for side in recipe.crop)
        cost = f"{recipe.epochs:g} | {recipe.batch} | {crop}"
        lines.append(f"| `{name}` | {cost} | {recipe.optimizer} | {recipe.lr:g} | {recipe.loss} |")
    return "\n".join(lines)


def recipe_sources() -> str:
    """Return the list of publications and releases that the recipes follow."""
    return "\n".join(f"- `{name}`: {recipe.source}" for name, recipe in RECIPES.items())


def fields() -> str:
    """Return the table of a recipe's fields, from the docstring and the defaults."""
    described = cleandoc(Recipe.__doc__ or "").split("Attributes:\n")[1]
    meanings = re.findall(r"^    (\w+): (.*(?:\n     .*)*)", described, re.MULTILINE)
    lines = ["| field | default | meaning |", "| --- | --- | --- |"]
    for field in dataclasses.fields(Recipe):
        if field.name != "source":
            text = " ".join(dict(meanings)[field.name].replace("``", "`").split())
            lines.append(f"| `{field.name}` | {shown(field.default)} | {text} |")
    return "\n".join(lines)


def shown(value: Any) -> str:
    """Return a default as ``--set`` takes it; empty for none."""
    if isinstance(value, bool):
        return "`true`" if value else "`false`"
    if isinstance(value, tuple):
        return f"`{','.join(f'{item:g}' for item in value)}`" if value else ""
    return f"`{value:g}`" if isinstance(value, (int, float)) else f"`{value}`"


def opening() -> str:
    """Return what stands above the first section of the README: the claim and the picture."""
    text = README.read_text(encoding="utf-8").partition("\n## ")[0]
    return from_docs(text.partition("\n")[2].strip())


def first_commands() -> str:
    """Return the first block of commands of the README."""
    found = re.search(r"^```sh\n.*?^```", README.read_text(encoding="utf-8"), re.M | re.S)
    if found is None:
        raise click.ClickException("README.md has no block of commands.")
    return found[0]


def comparison() -> str:
    """Return the README's table of toolkits with what stands below it."""
    _, heading, text = README.read_text(encoding="utf-8").partition("\n## What it has")
    if not heading:
        raise click.ClickException("README.md has no section that compares toolkits.")
    return from_docs(text.partition("\n")[2].partition("\n## ")[0].strip())


def from_docs(text: str) -> str:
    """Return text of the README with its links as they are in docs/."""
    link = re.compile(r"(\]\(|src=\")(?!\w+://|#)([^)\s\"]+)")
    return link.sub(
        lambda m: m[1] + (m[2].removeprefix("docs/") if m[2].startswith("docs/") else f"../{m[2]}"),
        text,
    )


PARTS: dict[Path, dict[str, Callable[[], str]]] = {
    README: {"recommended": recommended},
    DOCS / "networks.md": {
        "networks": partial(networks, cityscapes=True),
        "other networks": partial(networks, cityscapes=False),
        "our scores": our_scores,
    },
    DOCS / "index.md": {
        "opening": opening,
        "first commands": first_commands,
        "recommended": recommended,
    },
    DOCS / "coming-from.md": {"comparison": comparison},
    DOCS / "recipes.md": {"recipes": recipes, "sources": recipe_sources, "fields": fields},
    DOCS / "api.md": {"names": names},
    DOCS / "commands.md": {"commands": commands},
    WEIGHTS: {"files": files},
    OWN_DATA: {"known": known},
    SPEEDS: {
        "today": partial(speeds, TODAY),
        "speeds": partial(speeds, SPEEDS.with_suffix(".json")),
    },
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
