"""``dseg demo``: the main commands on two bundled street scenes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click

from dseg.cli.console import say
from dseg.cli.options.groups import DsegCommand, group
from dseg.cli.options.types import FOLDER


@click.command(cls=DsegCommand, short_help="Segment and score two bundled street scenes.")
@group(
    "Results",
    click.option(
        *("-o", "--out"),
        type=FOLDER,
        default=Path("dseg-demo"),
        show_default=True,
        metavar="DIR",
        help="Folder for the results.",
    ),
)
def demo(out: Path) -> None:
    """Segment two bundled scenes, convert the masks, and print the official score.

    Prints each command before it runs it. Needs no network and no files of yours.

    \b
    Example:
      dseg demo
    """
    from importlib.resources import files

    samples = Path(str(files("dseg"))) / "samples"
    ids = out / "transferred"
    for words in (
        ("infer", "--img-dir", samples / "leftImg8bit", "--out", out, "--overwrite"),
        ("transfer-labels", out / "color", "--out", ids, "--overwrite"),
        ("eval", "--pred-dir", ids, "--gt-dir", samples / "gtFine" / "demo"),
    ):
        say("$ dseg " + " ".join(map(str, words)))
        done = subprocess.run([sys.executable, "-m", "dseg", *map(str, words)], check=False)
        if done.returncode:
            raise click.exceptions.Exit(done.returncode)
    say("The masks over their images:")
    for overlay in sorted((out / "overlay").rglob("*.png")):
        click.echo(overlay)
