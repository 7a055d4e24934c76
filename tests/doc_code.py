"""The code of documentation: blocks of Markdown pages, and cells of notebooks."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent.parent / "docs"
FILE = re.compile(r"# file: (\S+)\n")


def blocks_of(page: str, language: str) -> list[str]:
    """Return the code blocks of a page in one language."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def files_of(page: str) -> dict[str, str]:
    """Return the blocks that are files, by their paths; files of one path are joined."""
    found: dict[str, str] = {}
    for block in [*blocks_of(page, "python"), *blocks_of(page, "toml")]:
        if named := FILE.match(block):
            found[named[1]] = found.get(named[1], "") + block
    return found


def read_notebook(name: str) -> dict[str, Any]:
    """Return a notebook."""
    notebook: dict[str, Any] = json.loads((DOCS / name).read_text(encoding="utf-8"))
    return notebook


def cells_of(notebook: dict[str, Any]) -> list[str]:
    """Return the code of the cells."""
    return ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code"]


def execute(blocks: list[str], name: str) -> dict[str, Any]:
    """Execute blocks one after another in one namespace, as a notebook does, and return it."""
    names: dict[str, Any] = {"__name__": name}
    for index, block in enumerate(blocks):
        exec(compile(block, f"{name}, block {index + 1}", "exec"), names)
    return names
