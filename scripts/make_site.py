"""Build the documentation site from docs/, the commands' help and the docstrings."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import click
from site_api import add_reference
from site_commands import command_page
from site_pages import EXTRA, ROOT, Stage

from dseg.cli import main as dseg_command

NAVIGATION = {  # captions, and pages with their short titles
    "Start": {
        "install": "Installation",
        "infer": "Images and videos",
        "own-data": "Own data",
        "training": "Training",
        "python": "Python",
        "notebook": "Notebook",
    },
    "Reference": {"commands": "Commands", "api": "Python API", "recipes": "Recipes"},
    "Networks": {
        "networks": "Networks",
        "weights": "Weights",
        "checkpoints": "Authors' files",
        "protocols": "Protocols and scores",
        "speed": "Speed",
        "zoo-cpu": "Speed of all networks",
        "runtimes": "Runtimes and export",
    },
    "More": {
        "coming-from": "Coming from other toolkits",
        "contributing": "Contributing",
        "gpu-jobs": "Jobs for a GPU",
        "changes": "Changes",
        "licences": "Licences",
    },
}


GUIDES = {  # the page that introduces a command, if it is not the one on protocols
    "infer": "infer",
    "init": "own-data",
    "plan": "own-data",
    "check-data": "own-data",
    "train": "training",
    "distill": "training",
    "recipes": "recipes",
    "cache": "training",
    "scenes": "training",
    "models": "networks",
    "bench": "networks",
    "download": "weights",
    "inspect": "weights",
    "demo": "install",
    "export": "runtimes",
}


def stage(folder: Path) -> None:
    """Write everything that Sphinx reads into a folder."""
    pages = Stage(folder)
    pages.add_all()
    pages.check()
    trees = [tree(titles, caption) for caption, titles in NAVIGATION.items()]
    pages.write("index.md", "\n".join([pages.read("index.md"), *trees]))
    add_commands(pages)
    add_reference(pages)
    for notebook in (ROOT / "docs").glob("*.ipynb"):
        (folder / EXTRA / "_downloads").mkdir(parents=True, exist_ok=True)
        shutil.copyfile(notebook, folder / EXTRA / "_downloads" / notebook.name)


def add_commands(pages: Stage) -> None:
    """Add a page for each command, and link the table of commands to them."""
    table = pages.read("commands.md")
    for name in dseg_command.commands:
        pages.write(f"commands/{name}.md", command_page(dseg_command, name, guide(name)))
        table = table.replace(f"| `dseg {name}` |", f"| [`dseg {name}`](commands/{name}.md) |")
    names = {f"commands/{name}": f"dseg {name}" for name in dseg_command.commands}
    pages.write("commands.md", f"{table}\n{tree(names)}")


def guide(name: str) -> str:
    """Return a link to the page that introduces a command."""
    page = GUIDES.get(name, "protocols")
    titles = {page: title for pages in NAVIGATION.values() for page, title in pages.items()}
    return f"Guide: [{titles[page]}](../{page}.md)"


def tree(titles: dict[str, str], caption: str = "") -> str:
    """Return a hidden table of contents, which makes the navigation."""
    lines = "\n".join(f"{title} <{page}>" for page, title in titles.items())
    option = f":caption: {caption}\n" if caption else ""
    return f"```{{toctree}}\n:hidden:\n{option}\n" + f"{lines}\n```\n"


def build(out: Path | None) -> None:
    """Build the site, with warnings as errors, and put it into a folder, if one is given."""
    from sphinx.cmd.build import build_main

    with tempfile.TemporaryDirectory(prefix="dseg-site-") as temporary:
        source, built = Path(temporary) / "pages", Path(temporary) / "html"
        stage(source)
        options = ["-b", "html", "-W", "--keep-going", "-q", "-E", "-j", "auto"]
        folders = ["-c", str(ROOT / "scripts" / "website"), "-d", f"{temporary}/doctrees"]
        settings = ["-D", f"html_extra_path={source / EXTRA}"]
        if build_main([*options, *folders, *settings, str(source), str(built)]):
            sys.exit("The site was not built, because of the warnings above.")
        if out is not None:
            if out.exists() and any(out.iterdir()) and not (out / "objects.inv").exists():
                sys.exit(f"{out} is not a built site: name another folder.")
            shutil.rmtree(out, ignore_errors=True)
            shutil.move(built, out)


@click.command(help=__doc__)
@click.option("--out", default=ROOT / "dseg-site", type=click.Path(path_type=Path))
@click.option(
    "--check", is_flag=True, help="Keep nothing; exit 1 if a link or reference is broken."
)
def main(out: Path, check: bool) -> None:
    build(None if check else out)
    if not check:
        click.echo(f"Look at {out / 'index.html'}")


if __name__ == "__main__":
    main()
