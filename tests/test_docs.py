"""The generated parts of the README are up to date, and every command has help."""

from __future__ import annotations

import re
import subprocess
import sys
from inspect import cleandoc
from pathlib import Path

import click
import pytest
from test_layers import LEVELS

from dseg import MODELS
from dseg.cli import main

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
LAYOUT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("## Project layout")[1]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "weights").glob("*.md")]
)


def test_generated_parts_of_the_readme_are_current() -> None:
    script = ROOT / "scripts" / "make_docs.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", main.commands)
def test_every_command_has_help_with_an_example(name: str) -> None:
    command = main.commands[name]
    assert re.search(rf"Examples?:\n  dseg {name}", cleandoc(command.help or ""))
    assert command.get_short_help_str()


@pytest.mark.parametrize("name", main.commands)
def test_every_visible_option_has_help(name: str) -> None:
    options = [p for p in main.commands[name].params if isinstance(p, click.Option)]
    assert [option.name for option in options if not option.hidden and not option.help] == []


@pytest.mark.parametrize("name", MODELS)
def test_every_network_is_in_the_documentation(name: str) -> None:
    assert f"| `{name}` |" in (ROOT / "docs/networks.md").read_text(encoding="utf-8")


def test_the_project_layout_names_every_folder() -> None:
    folders = {
        path.name for path in (ROOT / "dseg").iterdir() if path.is_dir() and path.name[0] != "_"
    }
    assert [name for name in sorted(folders) if f"{name}/" not in LAYOUT] == []


def test_the_project_layout_is_in_the_order_of_imports() -> None:
    lines = re.findall(r"^  ((?:[a-z]+(?:/|\.py) )+)", LAYOUT, re.MULTILINE)
    names = [name.rstrip("/").removesuffix(".py") for line in lines for name in line.split()]
    levels = [LEVELS[name] for name in names if name in LEVELS]
    assert levels == sorted(levels)
    assert set(names) == LEVELS.keys() | {"samples", "weights"}


def test_the_readme_is_one_page() -> None:
    assert len(README.splitlines()) <= 200


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_page_links_to_exists(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    lost = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        file, _, anchor = link.partition("#")
        if "://" in file:
            continue
        target = page.parent / file if file else page
        heads = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.M) if anchor else []
        names = [re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads]
        if not target.exists() or (anchor and anchor not in names):
            lost.append(link)
    assert lost == []
