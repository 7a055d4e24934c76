"""``dseg cache``: decode a data set once, for ``dseg train --cache disk``."""

from __future__ import annotations

from pathlib import Path

import click

from dseg.cli.console import progress, say
from dseg.cli.options.shared import quiet_option, workers_option
from dseg.cli.options.types import FILE, FOLDER
from dseg.errors import EXIT_FAILED_INPUTS, quote


@click.command("cache", short_help="Decode a data set once, for dseg train --cache disk.")
@click.option(
    "--dataset",
    required=True,
    metavar="NAME",
    help="cityscapes, camvid, voc, mapillary, folder or scenes.",
)
@click.option(
    "--data-dir", type=FOLDER, required=True, metavar="DIR", help="Folder of the data set."
)
@click.option(
    "--split", default="train", show_default=True, help="Split to decode; join two with '+'."
)
@click.option(
    "--out", "-o", type=FOLDER, required=True, metavar="DIR", help="Folder for the cache file."
)
@click.option("--classes", type=FILE, metavar="FILE", help="Class file of a 'folder' data set.")
@click.option("--label-space", metavar="NAME", help="Map the masks onto other classes.")
@workers_option("Number of threads (default: one per core); the file does not depend on it.")
@quiet_option
@click.pass_context
def cache(
    ctx: click.Context,
    /,
    dataset: str,
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

    \b
    Exit codes: 0 all decoded; 1 some images cannot be read (the first is named), or
    the disk is full; 2 the folder has another layout.
    """
    from dseg.data.cache.file import CacheFile
    from dseg.data.cache.shared import Builder
    from dseg.datasets import load_dataset
    from dseg.labels import find_label_space
    from dseg.parallel import count_cores

    space = find_label_space(label_space) if label_space else None
    found = load_dataset(dataset, data_dir, split, space=space, class_file=classes)
    builder = Builder(
        found,
        threads=workers or count_cores(),
        progress=lambda what, total: progress(what, total, quiet=quiet),
    )
    path = builder.find_or_write(out)
    faults = CacheFile(path, builder.key).faults
    if not quiet:
        say(
            f"{len(found) - len(faults)} images in {path}, {path.stat().st_size:,} bytes. "
            f"Next: dseg train --cache disk --cache-dir {quote(out)}"
        )
    if faults:
        first = next(iter(faults.values()))
        say(f"Error: {len(faults)} images cannot be read, the first: {first.problem}")
        say(f"Hint: {first.hint}")
        ctx.exit(EXIT_FAILED_INPUTS)
