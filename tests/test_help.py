"""Help and messages at any width: groups, sections, lines broken between words only."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import click
import cloup
import pytest
from cli_runs import run

from dseg.cli import console, main
from dseg.cli.options.groups import ORDER, DsegCommand
from dseg.cli.options.types import Fraction, Number, Scales
from dseg.cli.wrapping import wrap

WIDTHS = 59, 79, 99  # one column of a terminal stays free
EXAMPLE = re.compile(r" *(dseg|torchrun) ")
ROOT = Path(__file__).parent.parent


def help_of(name: str, width: int) -> str:
    command: click.Command = main.commands[name] if name else main
    with command.context_class(command, info_name=name, terminal_width=width) as ctx:
        return click.unstyle(command.get_help(ctx))


def words_of(text: str) -> list[str]:
    """Return the words of a text without the backslashes that continue a line."""
    return [word for word in text.split() if word != "\\"]


@pytest.mark.parametrize("name", ["", *main.commands])
def test_help_fits_the_terminal_and_breaks_no_word(name: str) -> None:
    whole = words_of(help_of(name, 10_000))
    for width in WIDTHS:
        text = help_of(name, width)
        assert words_of(text) == whole
        for line in text.splitlines():
            assert len(line) <= width or len(line.split()) == 1, line


@pytest.mark.parametrize("name", main.commands)
def test_every_visible_option_is_in_a_named_group(name: str) -> None:
    command = main.commands[name]
    assert isinstance(command, DsegCommand)
    assert command.ungrouped_options == []
    titles = re.findall(r"^(\S.*):$", help_of(name, 99), re.MULTILINE)
    assert titles == sorted(titles, key=ORDER.index)
    assert titles[-1] == "General"


def test_no_group_is_without_options() -> None:
    used = {
        option.group.title  # type: ignore[attr-defined]
        for command in main.commands.values()
        for option in command.params
        if isinstance(option, click.Option)
    }
    assert used == set(ORDER)


def test_commands_are_in_the_sections_of_the_readme() -> None:
    assert isinstance(main, cloup.Group)
    with main.context_class(main) as ctx:
        sections = {s.title.lower(): list(s.commands) for s in main.list_sections(ctx)}
    text = (ROOT / "README.md").read_text(encoding="utf-8").split("\n## Commands\n")[1]
    rows = re.findall(r"^\| ([a-z ]+) \| (`.*`) \|$", text, re.MULTILINE)
    shown = {title: re.findall(r"`([a-z-]+)`", names) for title, names in rows}
    assert shown == sections


def test_descriptions_go_below_the_options_in_a_narrow_terminal() -> None:
    assert "  --side-by-side\n     Place the image to the left of its overlay.\n" in help_of(
        "infer", 59
    )
    assert re.search(r"  --side-by-side +Place the image", help_of("infer", 79))


def test_an_example_for_own_photos_is_first() -> None:
    lines = [line.strip() for line in help_of("infer", 79).splitlines()]
    assert lines[lines.index("Examples:") + 1] == "dseg infer --model dabnet photos"


def test_colours_are_only_for_terminals() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dseg", "models", "--help"], capture_output=True, cwd=ROOT
    )
    assert done.stdout.startswith(b"Usage: ") and b"\x1b" not in done.stdout


def test_no_color_is_obeyed(monkeypatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    with main.context_class(main) as ctx:
        assert "\x1b" not in main.get_help(ctx)
    monkeypatch.delenv("NO_COLOR")
    with main.context_class(main) as ctx:
        assert "\x1b" in main.get_help(ctx)


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_no_option_takes_numbers_that_are_not_finite(value: str) -> None:
    tried = []
    for name, command in main.commands.items():
        for option in command.params:
            assert type(option.type) is not click.types.FloatParamType, (name, option.name)
            if isinstance(option.type, click.FloatRange | Fraction | Scales):
                assert isinstance(option.type, Number | Fraction | Scales), (name, option.name)
                tried.append(option.name)
                with pytest.raises(click.BadParameter):
                    option.type.convert(value, option, None)
    assert len(tried) > 15


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("Short.", ["Short."]),
        (
            "Error: there are more words here than a line can hold.",
            ["Error: there are more words", "  here than a line can hold."],
        ),
        (
            "Error: /a/path/that/is/longer/than/the/line/file.png is lost.",
            ["Error: /a/path/that/is/longer/than/the/line/file.png", "  is lost."],
        ),
        (
            "Written. Next: dseg eval --pred-dir 'my results' --gt-dir gtFine",
            ["Written. Next: dseg eval \\", "  --pred-dir 'my results' \\", "  --gt-dir gtFine"],
        ),
        (
            "Hint: see dseg train --help, or dseg plan --help for help.",
            ["Hint: see dseg train --help,", "  or dseg plan --help for", "  help."],
        ),
    ],
)
def test_messages_are_broken_between_words(text: str, lines: list[str]) -> None:
    assert wrap(text, 28) == lines


def test_messages_wrap_at_a_terminal_and_are_one_line_elsewhere(monkeypatch) -> None:
    words = ("infer", "a-folder-with-a-long-name-that-is-not-there")
    problem = "Error: a-folder-with-a-long-name-that-is-not-there does not exist."
    assert run(*words).stderr.splitlines()[0] == problem
    usage = run("infer", "x", "--opacity", "3").stderr
    assert usage.endswith(
        "Error: Invalid value for '--opacity': 3.0 is not in the range 0<=x<=1.\n"
    )
    monkeypatch.setattr(console, "fit", lambda text, **_: "\n".join(wrap(text, 50)))
    monkeypatch.setattr("dseg.cli.fit", console.fit)
    assert run(*words).stderr.splitlines()[:2] == [
        "Error: a-folder-with-a-long-name-that-is-not-there",
        "  does not exist.",
    ]
    usage = run("infer", "x", "--opacity", "3").stderr
    assert usage.endswith(
        "Error: Invalid value for '--opacity': 3.0 is not\n  in the range 0<=x<=1.\n"
    )


def test_paths_quoted_as_on_windows_are_not_broken() -> None:
    text = 'Next: dseg train --data-dir "C:\\My Documents\\all roads" --out run'
    assert wrap(text, 44) == [
        "Next: dseg train \\",
        '  --data-dir "C:\\My Documents\\all roads" \\',
        "  --out run",
    ]
