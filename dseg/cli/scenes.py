"""``dseg scenes``: draw a data set of street scenes."""

from __future__ import annotations

from pathlib import Path

import click

from dseg.cli.console import progress, say
from dseg.cli.options.groups import DsegCommand, group
from dseg.cli.options.shared import quiet_option, workers_option
from dseg.cli.options.types import FOLDER, ImageSize
from dseg.errors import counted, quote

FIRST_VAL = 500_000  # number of the first validation scene


@click.command(
    "scenes", cls=DsegCommand, short_help="Draw a data set of street scenes with exact labels."
)
@group(
    "Data",
    click.option(
        "-n",
        "--count",
        type=click.IntRange(1, FIRST_VAL),
        metavar="N",
        required=True,
        help="Number of training scenes.",
    ),
    click.option(
        "--val",
        type=click.IntRange(0, FIRST_VAL),
        metavar="N",
        help="Number of validation scenes (default: a fifth of -n).",
    ),
    click.option(
        "--size",
        type=ImageSize(),
        default="512x1024",
        show_default=True,
        help="Height and width, 64 to 2048 each.",
    ),
    click.option(
        "--seed",
        type=click.IntRange(min=0),
        default=0,
        show_default=True,
        metavar="S",
        help="Seed; other seeds give other scenes.",
    ),
)
@group(
    "Results",
    click.option(
        "--out", "-o", type=FOLDER, metavar="DIR", required=True, help="Folder for the scenes."
    ),
)
@group(
    "Speed",
    workers_option("Number of processes (default: one per core); the scenes do not depend on it."),
)
@group(
    "General",
    quiet_option,
)
def scenes(
    out: Path,
    count: int,
    val: int | None,
    size: tuple[int, int],
    seed: int,
    workers: int | None,
    quiet: bool,
) -> None:
    """Draw street scenes with exact labels, in Cityscapes' layout.

    All 19 classes occur. Images go to leftImg8bit/train and leftImg8bit/val,
    label ids, instance ids and colours to gtFine. The same seed and size give
    the same scenes; existing scenes are not drawn again.

    \b
    Example:
      dseg scenes --out streets -n 200
      dseg train --dataset scenes --data-dir streets --model DABNet --out runs/dabnet
    """
    from dseg.synth import write_scenes

    val = max(1, count // 5) if val is None else val
    drawn = 0
    with progress("drawing", count + val, quiet=quiet) as advance:
        for split, start, number in (("train", 0, count), ("val", FIRST_VAL, val)):
            if number:
                drawn += write_scenes(
                    out, number, split=split, size=size, seed=seed, start=start,
                    workers=workers, advance=advance,
                )  # fmt: skip
    there = count + val - drawn
    before = f" ({there} of them already existed)" if there else ""
    folder = quote(out)
    say(
        f"{counted(count, 'training scene')} and {counted(val, 'validation scene')} in "
        f"{out}{before}. "
        f"Next: dseg train --dataset scenes --data-dir {folder} --model DABNet --out run"
        f"{'' if val else ' --val-split none'}"
    )
