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
def test_every_network_is_in_the_readme(name: str) -> None:
    assert f"| `{name}` |" in README


def test_the_project_layout_names_every_folder() -> None:
    folders = {
        path.name for path in (ROOT / "dseg").iterdir() if path.is_dir() and path.name[0] != "_"
    }
    layout = README.split("## Project layout")[1].split("## Licences")[0]
    assert [name for name in sorted(folders) if f"{name}/" not in layout] == []


def test_the_project_layout_is_in_the_order_of_imports() -> None:
    layout = README.split("## Project layout")[1].split("## Licences")[0]
    lines = re.findall(r"^  ((?:[a-z]+(?:/|\.py) )+)", layout, re.MULTILINE)
    names = [name.rstrip("/").removesuffix(".py") for line in lines for name in line.split()]
    levels = [LEVELS[name] for name in names if name in LEVELS]
    assert levels == sorted(levels)
    assert set(names) == LEVELS.keys() | {"samples", "weights"}


def test_files_that_the_readme_shows_exist() -> None:
    shown = [part.split(")")[0] for part in README.split("](")[1:]]
    assert shown
    assert [name for name in shown if not (ROOT / name).is_file()] == []
