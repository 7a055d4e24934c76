"""``dseg demo``: the main commands on two bundled street scenes."""

from __future__ import annotations

from pathlib import Path

import click

from dseg.cli.console import say
from dseg.cli.options.groups import DsegCommand, group
from dseg.cli.options.types import FOLDER
from dseg.errors import quote


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
@click.pass_context
def demo(ctx: click.Context, out: Path) -> None:
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
        say("$ dseg " + " ".join(map(quote, words)))
        # not another process, in which a package dseg in the working directory would come first
        code = ctx.find_root().command.main([*map(str, words)], "dseg", standalone_mode=False)
        if code:
            raise click.exceptions.Exit(code)
    say("The masks over their images:")
    for overlay in sorted((out / "overlay").rglob("*.png")):
        click.echo(overlay)
