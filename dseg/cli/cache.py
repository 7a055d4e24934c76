"""``dseg cache``: decode a data set once, for ``dseg train --cache disk``."""

from __future__ import annotations

from pathlib import Path

import click

from dseg.cli.console import progress, say
from dseg.cli.options.groups import DsegCommand, group
from dseg.cli.options.own_data import dataset_group, name_dataset
from dseg.cli.options.shared import quiet_option, workers_option
from dseg.cli.options.types import FOLDER
from dseg.errors import EXIT_FAILED_INPUTS, counted, quote


@click.command(
    "cache", cls=DsegCommand, short_help="Decode a data set once, for dseg train --cache disk."
)
@dataset_group(
    click.option(
        "--split",
        metavar="NAME",
        default="train",
        show_default=True,
        help="Split to decode; join two with '+'.",
    ),
)
@group(
    "Results",
    click.option(
        "--out", "-o", type=FOLDER, required=True, metavar="DIR", help="Folder for the cache file."
    ),
)
@group(
    "Speed",
    workers_option("Number of threads (default: one per core); the file does not depend on it."),
)
@group(
    "General",
    quiet_option,
)
@click.pass_context
def cache(
    ctx: click.Context,
    /,
    dataset: str | None,
    data_dir: Path,
    split: str,
    out: Path,
    classes: Path | None,
    label_space: str | None,
    workers: int | None,
    quiet: bool,
) -> None:
    """Decode all images and masks of a split into one file, as dseg train --cache disk does.

    The file has four bytes per pixel: 25 GB for Cityscapes' training split. An existing
    file is checked, and replaced if it is damaged or images have changed since.

    \b
    Example:
      dseg cache --dataset cityscapes --data-dir cityscapes --split train --out caches
      dseg train --cache disk --cache-dir caches --dataset cityscapes ...

    Exit codes: 0 all decoded; 1 some images cannot be read (the first is named), or
    the disk is full; 2 the folder has another layout.
    """
    from dseg.data.cache.file import CacheFile
    from dseg.data.cache.shared import Builder
    from dseg.datasets import load_dataset
    from dseg.labels import find_label_space
    from dseg.parallel import count_cores

    space = find_label_space(label_space) if label_space else None
    dataset = name_dataset(dataset, data_dir, classes)
    found = load_dataset(dataset, data_dir, split, space=space, class_file=classes)
    builder = Builder(
        found,
        threads=workers or count_cores(),
        progress=lambda what, total: progress(what, total, quiet=quiet),
    )
    path = builder.find_or_write(out)
    faults = CacheFile(path, builder.key).faults
    if not quiet:
        images = counted(len(found) - len(faults), "image")
        say(
            f"{images} in {path}, {path.stat().st_size:,} bytes. "
            f"Next: dseg train --cache disk --cache-dir {quote(out)}"
        )
    if faults:
        first = next(iter(faults.values()))
        say(f"Error: {counted(len(faults), 'image')} cannot be read, the first: {first.problem}")
        say(f"Hint: {first.hint}")
        ctx.exit(EXIT_FAILED_INPUTS)
