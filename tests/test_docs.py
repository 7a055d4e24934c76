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
sys.path.insert(0, str(ROOT / "scripts"))

from make_site import NAVIGATION  # noqa: E402
from site_commands import command_page  # noqa: E402
from site_pages import Stage, find_pages  # noqa: E402

README = (ROOT / "README.md").read_text(encoding="utf-8")
LAYOUT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("## Project layout")[1]


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


def test_what_the_readme_links_to_exists() -> None:
    """All other pages are on the site, whose build refuses broken links."""
    text = re.sub(r"```.*?```", "", README, flags=re.DOTALL)
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    assert len(links) > 10
    assert [
        link for link in links if "://" not in link and not (ROOT / link.split("#")[0]).exists()
    ] == []


def test_a_link_to_a_missing_file_is_refused(tmp_path: Path) -> None:
    stage = Stage(tmp_path / "site")
    text = "[a](infer.md#videos)\n\n```sh\n[b](no.md)\n```\n[c](no.md) [d](../LICENSE)\n"
    assert stage.relinked("docs/page.md", text) == text.replace("../LICENSE", "files/LICENSE")
    assert stage.lost == ["docs/page.md:6: no.md"]
    assert (tmp_path / "site/files/LICENSE").is_file()


def test_links_lead_to_the_places_of_pages_on_the_site(tmp_path: Path) -> None:
    stage = Stage(tmp_path / "site")
    text = '[w](README.md) [i](../docs/infer.md#videos) <img src="../README.md">'
    expected = '[w](checkpoints.md) [i](infer.md#videos) <img src="index.md">'
    assert stage.relinked("weights/README.md", text) == expected
    assert stage.lost == []


def test_the_page_of_a_command_has_its_help() -> None:
    @click.command()
    @click.option("-k", "--kind", type=click.Choice(["a", "b"]), default="a", show_default=True)
    @click.option("--fast/--slow", help="With *stars*.")
    @click.option("--secret", hidden=True)
    def example(**_: str) -> None:
        """Do it <now>.

        \b
        Examples:
          dseg example -k a
        """

    group = click.Group(
        commands=[example], context_settings={"help_option_names": ["-h", "--help"]}
    )
    assert command_page(group, "example", "Guide.") == EXAMPLE.lstrip()


EXAMPLE = r"""
# dseg example

```text
dseg example [OPTIONS]
```

```{program} dseg example
```

Do it \<now\>.

Guide.

## Examples

```sh
dseg example -k a
```

## Options

````{option} -k [a|b], --kind [a|b]
\[default: a\]
````

````{option} --fast, --slow
With \*stars\*.
````

````{option} -h, --help
Show this message and exit.
````

"""


@pytest.mark.parametrize("name", main.commands)
def test_the_page_of_a_command_has_every_option_once(name: str) -> None:
    page = command_page(main, name, "")
    options = [
        p for p in main.commands[name].params if isinstance(p, click.Option) and not p.hidden
    ]
    assert page.count("{option}") == len(options) + 1  # --help
    for option in options:
        assert len(re.findall(rf"^````{{option}}.*{option.opts[-1]}\b", page, re.MULTILINE)) >= 1


def test_every_page_is_in_the_navigation() -> None:
    pages = {name.removesuffix(".md") for name in find_pages().values()}
    listed = [page for titles in NAVIGATION.values() for page in titles]
    assert sorted(listed) == sorted(pages - {"index"})
