"""The pages of the site: Markdown files of the repository, with links that fit the site."""

from __future__ import annotations

import json
import posixpath
import re
import shutil
from functools import partial
from pathlib import Path, PurePosixPath

import click

ROOT = Path(__file__).resolve().parent.parent
OUTSIDE = {  # pages that are not in docs/: their names on the site
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changes.md",
    "weights/README.md": "checkpoints.md",
    "weights/zoo-cpu.md": "zoo-cpu.md",
    "scripts/gpu/README.md": "gpu-jobs.md",
}
EXTRA = "extra"  # folder of files that Sphinx copies as they are
LINK = re.compile(r"(\]\()([^)\s]+)(\))|(\bsrc=\")([^\"]+)(\")")
FENCE = re.compile(r"^\s*(`{3,}|~{3,})")


def find_pages() -> dict[str, str]:
    """Return the pages of the site: path in the repository to path on the site."""
    pages = {f"docs/{path.name}": path.name for path in sorted((ROOT / "docs").glob("*.md"))}
    books = {
        f"docs/{path.name}": f"{path.stem}.md" for path in sorted((ROOT / "docs").glob("*.ipynb"))
    }
    return {**OUTSIDE, **pages, **books}


class Stage:
    """Copies pages into a folder that Sphinx reads.

    Args:
        folder: the folder, which is made.

    Attributes:
        lost: links to files that do not exist, as ``page:line: link``.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.lost: list[str] = []
        self._pages = find_pages()
        folder.mkdir(parents=True)

    def add_all(self) -> None:
        """Write all pages but the README, whose place the landing page takes."""
        for source, name in self._pages.items():
            if source != "README.md":
                text = (ROOT / source).read_text(encoding="utf-8")
                text = from_notebook(text, source) if source.endswith(".ipynb") else text
                self.write(name, self.relinked(source, text))

    def write(self, name: str, text: str) -> None:
        """Write one page of the site."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def read(self, name: str) -> str:
        """Return a page of the site that has been written."""
        return (self.folder / name).read_text(encoding="utf-8")

    def relinked(self, source: str, text: str) -> str:
        """Return a page with its links to files of the repository changed to those of the site."""
        lines, fence = text.split("\n"), ""
        for index, line in enumerate(lines):
            mark = FENCE.match(line)
            if mark and not fence:
                fence = mark[1]
            elif mark and line.strip() == fence:
                fence = ""
            elif not fence:
                lines[index] = LINK.sub(partial(self._link, f"{source}:{index + 1}", source), line)
        return "\n".join(lines)

    def _link(self, place: str, source: str, found: re.Match[str]) -> str:
        before, link, after = (part for part in found.groups() if part is not None)
        file, mark, anchor = link.partition("#")
        if not file or "://" in file or file.startswith("mailto:"):
            return found[0]
        target = posixpath.normpath(PurePosixPath(source).parent / file)
        if target in self._pages:
            name = self._pages[target]
        elif (ROOT / target).is_file():
            name = self._copied(target)
        else:
            self.lost.append(f"{place}: {link}")
            return found[0]
        return f"{before}{name}{mark}{anchor}{after}"

    def _copied(self, target: str) -> str:
        """Copy a file that pages show or offer, and return its path on the site."""
        name = f"files/{target}"
        for folder in (self.folder, self.folder / EXTRA):  # for Markdown, and for HTML within it
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / target, folder / name)
        return name

    def check(self) -> None:
        """Refuse links to files that do not exist."""
        if self.lost:
            raise click.ClickException("links to missing files:\n" + "\n".join(self.lost))


def from_notebook(text: str, source: str) -> str:
    """Return a notebook as Markdown, with a link to the notebook below its heading."""
    parts = []
    for cell in json.loads(text)["cells"]:
        body = "".join(cell["source"])
        parts.append(body if cell["cell_type"] == "markdown" else f"```python\n{body}\n```")
    heading, _, rest = "\n\n".join(parts).partition("\n")
    name = PurePosixPath(source).name
    link = f'<a download href="_downloads/{name}">{name}</a>'
    return f"{heading}\n\nThis page is also a notebook to run: {link}.\n{rest}\n"
