"""``dseg transfer-labels``: convert masks between colours, train ids and label ids."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dseg.cli.options.groups import DsegCommand, group
from dseg.cli.options.shared import accept_lossy_option, json_option, quiet_option, workers_option
from dseg.cli.options.types import FILE, FOLDER
from dseg.cli.stdio import emit_json
from dseg.errors import EXIT_FAILED_INPUTS, DsegError, counted, quote
from dseg.labels import LABEL_SPACES, find_label_space

if TYPE_CHECKING:
    from dseg.transfer import Coding, TransferJob, Transferred

CODINGS: tuple[Coding, ...] = ("label-ids", "train-ids", "color")
SHOWN = 20  # number of failed files to show; --json lists all of them


@click.command(
    "transfer-labels", cls=DsegCommand, short_help="Convert colour or train-id masks to label ids."
)
@click.argument("sources", nargs=-1, type=FILE, metavar="SOURCE...")
@group(
    "Input",
    click.option("--img-dir", "folders", type=FILE, multiple=True, hidden=True),
    click.option(
        "--from",
        "source",
        type=click.Choice(("auto", *CODINGS)),
        default="auto",
        show_default=True,
        help="Coding of the masks; auto decides by the file type and all values.",
    ),
    accept_lossy_option,
)
@group(
    "Results",
    click.option(
        "--out", "-o", type=FOLDER, metavar="DIR", help="Folder for the masks (default: see above)."
    ),
    click.option(
        "--to",
        "target",
        type=click.Choice(CODINGS),
        default="label-ids",
        show_default=True,
        help="Coding to write; color is a palette PNG of train ids.",
    ),
    click.option(
        "--unknown",
        type=click.IntRange(0, 255),
        metavar="ID",
        help="Label id for unknown colours and ids, which are an error by default.",
    ),
    click.option(
        "--label-space",
        "space_name",
        type=click.Choice(tuple(LABEL_SPACES)),
        default="cityscapes",
        show_default=True,
        help="Classes and colours.",
    ),
    click.option("--overwrite", is_flag=True, help="Replace existing outputs."),
    json_option("the lists of written and failed files"),
)
@group(
    "Speed",
    workers_option("Number of threads (default: one per core)."),
)
@group(
    "General",
    quiet_option,
)
def transfer_labels(
    sources: tuple[Path, ...],
    folders: tuple[Path, ...],
    out: Path | None,
    target: Coding,
    source: Any,
    unknown: int | None,
    space_name: str,
    accept_lossy: bool,
    overwrite: bool,
    workers: int | None,
    quiet: bool,
    json_file: Path | None,
) -> None:
    """Convert colour or train-id masks to label ids, which the official evaluator reads.

    SOURCE is a folder (its PNG files at any depth), a file or a glob pattern in quotes.
    Sub-folders and names are kept; only a prefix before <city>_<seq>_<frame> is cut off.
    Without --out, masks go to a folder beside SOURCE: label_ids, train_ids or color.

    \b
    Examples:
      dseg transfer-labels results/color            writes results/label_ids
      dseg transfer-labels 'gtFine/*/*/*_labelIds.png' --to train-ids --out train
      dseg transfer-labels 'gtFine/val/*/*_color.png' --out ids --unknown 0
    """
    from dseg.allocator import keep_freed_memory
    from dseg.cli.console import progress
    from dseg.transfer import find_jobs, transfer_files

    if not sources and not folders:
        raise click.UsageError("Missing argument 'SOURCE...'.")
    space = find_label_space(space_name)
    jobs = find_jobs([*sources, *folders], target, space, out=out, overwrite=overwrite)
    keep_freed_memory()
    with progress(f"to {target}", len(jobs), quiet=quiet) as advance:
        done = transfer_files(
            jobs,
            space,
            source,
            target,
            unknown=unknown,
            accept_lossy=accept_lossy,
            workers=workers,
            advance=advance,
        )
    if json_file is not None:
        emit_json(json_file, _report(jobs, done, target, space_name))
    _finish(jobs, done, target, space_name)


def _report(
    jobs: Sequence[TransferJob], done: Transferred, target: Coding, space_name: str
) -> dict[str, object]:
    """Return the JSON summary."""
    pairs = list(zip(jobs, done.faults, strict=True))
    return {
        "label_space": space_name,
        "to": target,
        "ids_read_as": done.ids_read_as,
        "written": [
            {"source": str(job.source), "output": str(job.output)}
            for job, fault in pairs
            if fault is None
        ],
        "failed": [
            {"source": str(job.source), "problem": fault.problem, "hint": fault.hint}
            for job, fault in pairs
            if fault is not None
        ],
    }


def _finish(
    jobs: Sequence[TransferJob], done: Transferred, target: Coding, space_name: str
) -> None:
    """Report what was written and the next command; raise if a file failed."""
    from dseg.cli.console import say

    written = [job.output for job, fault in zip(jobs, done.faults, strict=True) if fault is None]
    faults = [fault for fault in done.faults if fault is not None]
    if done.ids_read_as is not None:
        say(f"Files of one channel were read as {done.ids_read_as}.")
    if written:
        folder = _common_folder(written)
        place = folder or "folders on several drives"
        masks = f"{counted(len(written), 'mask')} of {target} in {place}."
        if (space_name, target) == ("cityscapes", "label-ids"):
            _report_odd_names(written)
            if folder and not faults:
                quoted = quote(folder)
                masks += f" Next: dseg eval --pred-dir {quoted} --gt-dir gtFine/val"
        say(masks)
    if len(faults) == 1 == len(jobs):
        raise DsegError(faults[0].problem, hint=faults[0].hint, exit_code=EXIT_FAILED_INPUTS)
    for fault in faults[:SHOWN]:
        say(f"Failed: {fault.problem}")
    if len(faults) > SHOWN:
        say(f"Failed: {len(faults) - SHOWN} more; --json lists them.")
    if faults:
        raise DsegError(
            f"{len(faults)} of {len(jobs)} files failed.",
            hint=faults[0].hint,
            exit_code=EXIT_FAILED_INPUTS,
        )


def _report_odd_names(outputs: Sequence[Path]) -> None:
    """Report label-id files that the official evaluator would not find."""
    from dseg.cli.console import say
    from dseg.transfer import is_official_name

    odd = [path.name for path in outputs if not is_official_name(path)]
    if odd:
        more = f" and {len(odd) - 1} more" if len(odd) > 1 else ""
        say(
            "Note: the official evaluator looks for <city>_<seq>_<frame>*.png "
            f"and will not find {odd[0]}{more}."
        )


def _common_folder(outputs: Sequence[Path]) -> str:
    """Return the common folder of all outputs, relative if they all are; "" without one."""
    folders = {path.parent for path in outputs}
    try:
        return os.path.commonpath(folders) or "."
    except ValueError:  # some are absolute
        with suppress(ValueError):
            return os.path.commonpath([folder.absolute() for folder in folders])
    return ""  # on several drives of Windows
