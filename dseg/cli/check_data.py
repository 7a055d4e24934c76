"""``dseg check-data``: statistics of a data set's masks, and their faults."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dseg.cli.console import progress, say, show
from dseg.cli.options.groups import DsegCommand, group
from dseg.cli.options.own_data import dataset_group, name_dataset
from dseg.cli.options.shared import json_option, quiet_option, workers_option
from dseg.cli.stdio import emit_json
from dseg.cli.tables import show_table
from dseg.errors import EXIT_FAILED_INPUTS, counted

if TYPE_CHECKING:
    from dseg.datasets.checks import DataReport, Fault

SIZES_AT_MOST = 3


@click.command(
    "check-data", cls=DsegCommand, short_help="Find faults in a data set before training."
)
@dataset_group(
    click.option(
        "--split",
        "splits",
        multiple=True,
        metavar="SPLIT",
        help="Split; may be repeated (default: all).",
    ),
)
@group(
    "Results",
    click.option(
        "--weights",
        type=click.Choice(["median", "log"]),
        help="Also compute class weights for a loss.",
    ),
    json_option("the report"),
)
@group(
    "Speed",
    click.option(
        "--decode-images",
        is_flag=True,
        help="Decode images instead of reading only their headers: finds truncated files.",
    ),
    workers_option("Number of threads (default: one per core); the result does not depend on it."),
)
@group(
    "General",
    quiet_option,
)
@click.pass_context
def check_data(ctx: click.Context, /, **given: Any) -> None:
    """Read all masks of a data set; report classes, sizes, values and faults.

    Finds images without mask and masks without image, unequal sizes, unreadable
    files, unknown values, colours in place of ids, masks of 0 and 255, mixed-up
    label ids and train ids, and classes that never occur, with a hint for each.

    \b
    Example:
      dseg check-data --dataset camvid --data-dir camvid
      dseg check-data --data-dir roads --weights median

    Exit codes: 0 no faults (warnings are possible); 1 faults; 2 the folder has
    another layout, or the class file is wrong.
    """
    given["dataset"] = name_dataset(given["dataset"], given["data_dir"], given["classes"])
    to_stdout = str(given["json_file"]) == "-"
    reports = []
    for report in _check(**given):
        reports.append(report)
        if not to_stdout:
            _show(report, given["weights"])
    if given["json_file"] is not None:
        emit_json(given["json_file"], _make_json(reports, **given))
    faulty = not all(report.clean for report in reports)
    if not given["quiet"]:
        masks = sum(report.pairs for report in reports)
        result = "faults found" if faulty else "no faults"
        say(f"{counted(masks, 'mask')} read: {result}.")
    if faulty:
        ctx.exit(EXIT_FAILED_INPUTS)


def _check(
    *,
    dataset: str,
    data_dir: Path,
    splits: tuple[str, ...],
    classes: Path | None,
    label_space: str | None,
    decode_images: bool,
    workers: int | None,
    quiet: bool,
    **_: Any,
) -> Iterator[DataReport]:
    """Yield the report of each split."""
    from dseg.datasets import find_dataset, find_splits
    from dseg.datasets.checks import check_dataset
    from dseg.labels import find_label_space

    space = find_label_space(label_space) if label_space else None
    wanted = list(dict.fromkeys(splits) or find_splits(dataset, data_dir, class_file=classes))
    for split in wanted:
        found = find_dataset(dataset, data_dir, split, space=space, class_file=classes)
        if found.dataset.note and split == wanted[0] and not quiet:
            say(found.dataset.note)
        with progress(f"{split}: masks read", len(found.dataset), quiet=quiet) as advance:
            report = check_dataset(
                found.dataset,
                unlabelled=found.unlabelled,
                orphans=found.orphans,
                decode_images=decode_images,
                workers=workers,
                advance=advance,
            )
        yield report


def _show(report: DataReport, weights: str | None) -> None:
    show_table("", (f"{report.name} {report.split}", ""), _make_facts(report))
    if report.labelled:
        columns = (
            "class",
            "pixels",
            "fraction (%)",
            "masks",
            *([f"{weights} weight"] * bool(weights)),
        )
        show_table("", columns, _make_rows(report, weights))
    for fault in report.faults:
        for line in _describe_fault(fault):
            show(line)


def _make_facts(report: DataReport) -> list[tuple[str, str]]:
    from dseg.datasets.class_fields import format_ranges

    sizes = [
        f"{width}x{height} ({count})" if height else f"others ({count})"
        for (height, width), count in report.sizes.most_common(SIZES_AT_MOST)
    ]
    if len(report.sizes) > SIZES_AT_MOST:
        sizes.append(f"{len(report.sizes) - SIZES_AT_MOST} more")
    ignored = report.pixels - report.labelled - report.wrong
    facts = {
        "images with a mask": f"{report.pairs:,}",
        "images without mask": f"{report.unlabelled + report.bare:,}",
        "masks without image": f"{report.orphans:,}",
        "sizes (width x height)": ", ".join(sizes),
        "masks stored as": ", ".join(f"{kind} ({n})" for kind, n in report.kinds.most_common()),
        "values of masks": format_ranges([v for v, pixels in enumerate(report.values) if pixels]),
        "ignored pixels": f"{ignored / report.pixels:.2%}" if report.pixels else "",
        "wrong pixels": f"{report.wrong / report.pixels:.2%}" if report.wrong else "",
    }
    return [(what, value) for what, value in facts.items() if value]


def _make_rows(report: DataReport, weights: str | None) -> list[tuple[str, ...]]:
    rows = zip(report.space.names, report.class_pixels, report.images_with, strict=True)
    shown = [
        (name, f"{pixels:,}", f"{100 * pixels / report.labelled:.3f}", f"{images:,}")
        for name, pixels, images in rows
    ]
    if weights is None:
        return list(shown)
    return [
        (*row, f"{weight:.5f}") for row, weight in zip(shown, _weigh(report, weights), strict=True)
    ]


def _weigh(report: DataReport, kind: str) -> tuple[float, ...]:
    from dseg.datasets.checks import class_weights

    return class_weights(report, "median" if kind == "median" else "log")


def _describe_fault(fault: Fault) -> list[str]:
    files = f" ({fault.count} files, this is the first)" if fault.count > 1 else ""
    return [f"{fault.level.upper()} {fault.kind}{files}: {fault.problem}", f"  Hint: {fault.hint}"]


def _make_json(
    reports: list[DataReport], *, dataset: str, data_dir: Path, weights: str | None, **_: Any
) -> dict[str, Any]:
    splits = {report.split: report.as_json() for report in reports}
    if weights is not None:
        for report in reports:
            counted = list(_weigh(report, weights)) if report.labelled else None
            splits[report.split][f"{weights}_weights"] = counted
    return {
        "dataset": dataset,
        "data_dir": str(data_dir),
        "label_space": reports[0].space.name,
        "clean": all(report.clean for report in reports),
        "splits": splits,
    }
