"""``dseg init``: look at a folder of images and masks, and write its class file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dseg.cli.console import plain, progress, say
from dseg.cli.options.groups import DsegCommand, group
from dseg.cli.options.shared import json_option, quiet_option
from dseg.cli.options.types import FILE, FOLDER
from dseg.cli.stdio import emit_json
from dseg.cli.survey_text import at_terminal, list_tables, say_finished, show_survey
from dseg.errors import DsegError, counted, quote

if TYPE_CHECKING:
    from dseg.datasets import Dataset
    from dseg.survey import Survey

CLASS_FILE = "classes.toml"


@click.command("init", cls=DsegCommand, short_help="Describe own images and masks for training.")
@click.argument("folder", type=FOLDER, required=False)
@group(
    "Data",
    click.option(
        "--names",
        metavar="A,B,...",
        help="Names of the classes, in the order of the values that are listed; equal names join "
        "values, - ignores one. Or the name of a label space, such as cityscapes.",
    ),
    click.option(
        "--labels",
        type=FILE,
        metavar="FILE",
        help="Table of labels (CSV, TSV, labelmap.txt) with names and ids or colours.",
    ),
    click.option(
        "--table",
        metavar="NAME",
        help="Ready-made class file of a public data set, such as idd; --table list shows them.",
    ),
)
@group(
    "Results",
    click.option(
        "-o", "--out", type=FILE, metavar="FILE", help="Class file to write (default: in FOLDER)."
    ),
    click.option("--overwrite", is_flag=True, help="Replace an existing class file."),
    json_option("what was found"),
)
@group(
    "General",
    quiet_option,
)
def init(**given: Any) -> None:
    """Find the images and masks in FOLDER and write classes.toml, for training.

    Finds the folders, the splits, how names of images and masks correspond, and what the masks
    hold: ids, 0 and 255, or colours. Names are asked for at a terminal, else given by --names or
    by a table of labels. Also draws some images beside their masks, to check them by eye. Polygons
    of LabelMe (JSON), COCO and CVAT become masks first.

    \b
    Examples:
      dseg init roads
      dseg init roads --names background,crack
      dseg init idd --table idd
      dseg train --data-dir roads --out run
    """
    if given["table"] == "list":
        list_tables()
        return
    named = [f"--{key}" for key in ("names", "labels", "table") if given[key]]
    if len(named) > 1:
        raise DsegError(f"{' and '.join(named)} both name the classes.", hint="give one of them.")
    folder: Path | None = given["folder"]
    if folder is None:
        raise click.UsageError("Missing argument 'FOLDER'.", click.get_current_context())
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        raise DsegError(f"{folder} {what}.", hint="name the folder of images and masks.")
    target: Path = given["out"] or folder / CLASS_FILE
    if target.suffix.lower() != ".toml":
        raise DsegError(f"{target} is not named .toml.", hint="write a TOML file: --out FILE.toml")
    other = folder / "classes.json"
    if given["out"] is None and other.exists() and not given["overwrite"]:
        target = other
    if target.exists() and not given["overwrite"]:
        raise DsegError(
            f"{target} already exists.",
            hint="edit it, replace it by --overwrite, or write another file by --out.",
        )
    table = given["table"] or ("" if given["names"] or given["labels"] else _recognise(folder))
    if table:
        report = _init_known(folder, target, table, quiet=given["quiet"])
    else:
        report = _init(folder, target, given)
    if given["json_file"] is not None:
        emit_json(given["json_file"], report)


def _init(folder: Path, target: Path, given: dict[str, Any]) -> dict[str, Any]:
    """Write the class file of a folder of unknown layout; return what was found."""
    from dataclasses import replace

    from dseg.survey import look_at, make_remarks
    from dseg.survey.naming import check_names, list_values, make_fields, refuse_large

    quiet = given["quiet"]
    _draw_annotations(folder, quiet=quiet)
    survey = look_at(folder, lambda what, total: progress(what, total, quiet=quiet))
    if given["labels"] is not None:
        survey = replace(survey, label_file=given["labels"])
    to_stdout = str(given["json_file"]) == "-"
    if not quiet and not to_stdout:
        show_survey(survey)
    refuse_large(survey)
    for remark in make_remarks(survey):
        say(remark)
    names = check_names(given["names"]) if given["names"] else None
    text = None
    if names is None and survey.label_file is not None:
        text = _read(survey.label_file)
        say(f"The names are those of {survey.label_file}.")
    elif names is None:
        names = _ask(survey)
    fields = make_fields(survey, names, label_text=text)
    _write(target, fields)
    sheet = _finish(folder, target, quiet=quiet)
    kind = survey.values.kind
    return {
        "folder": str(folder),
        "class_file": str(target),
        "contact_sheet": sheet,
        "splits": survey.splits,
        "masks_hold": kind,
        "masks_read": survey.masks_read,
        "values": [
            {"value": value.text(kind), "fraction": value.fraction, "masks": value.masks}
            for value in list_values(survey)
        ],
        "images_without_mask": survey.unpaired_images,
        "masks_without_image": survey.unpaired_masks,
        "classes": [row["name"] for row in fields["class"]],
    }


def _draw_annotations(folder: Path, *, quiet: bool) -> None:
    """Write masks of the polygons in the folder, if it holds some and no masks."""
    from dseg.survey.annotations import MASKS, TABLE, find_annotations, write_masks

    kind = "" if (folder / MASKS).exists() else find_annotations(folder)
    if kind:
        count, left_out = write_masks(
            folder, kind, lambda what, total: progress(what, total, quiet=quiet)
        )
        masks = counted(count, "mask")
        say(f"Drawn from the annotations: {masks} in {folder / MASKS}, {folder / TABLE}.")
        for shape, number in sorted(left_out.items()):
            say(
                f"WARNING: {counted(number, 'shape')} of the type {shape} left out; polygons, "
                "rectangles and circles are drawn."
            )


def _init_known(folder: Path, target: Path, table: str, *, quiet: bool) -> dict[str, Any]:
    """Write the ready-made class file of a public data set."""
    from dseg.datasets import find_dataset, find_splits
    from dseg.datasets.known import find_known_data
    from dseg.survey.known import describe_fit, refuse_empty

    name, known = find_known_data(table)
    splits = find_splits("folder", folder, class_file=Path(name))
    datasets = [
        find_dataset("folder", folder, split, class_file=Path(name)).dataset for split in splits
    ]
    refuse_empty(datasets, name, folder)
    counts = {dataset.split: len(dataset) for dataset in datasets}
    _write(target, known.fields(name), remarks=[f"{known.title}.", f"Source: {known.source}."])
    if not quiet:
        say(f"{known.title}; images: {', '.join(f'{s} {n}' for s, n in counts.items())}.")
        for line in (f"Ids: {known.source}. Terms: {known.terms}.", known.remark):
            if line:
                say(line)
    say(describe_fit(datasets))
    sheet = _finish(folder, target, quiet=quiet)
    return {
        "folder": str(folder), "class_file": str(target), "contact_sheet": sheet,
        "table": name, "splits": counts,
    }  # fmt: skip


def _recognise(folder: Path) -> str:
    """Return the ready-made class file for the layout of a folder, or "".

    Raises:
        DsegError: it is a data set that needs no class file.
    """
    from dseg.datasets import DATASETS
    from dseg.survey.known import find_known

    known = find_known(folder)
    if known not in DATASETS:
        return known
    raise DsegError(
        f"{folder} has the layout of the data set {known}, which needs no class file.",
        hint=f"train with --dataset {known} --data-dir {quote(folder)}; to describe "
        "other masks in it, name their classes by --names.",
    )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DsegError(f"{path} does not exist.", hint="check the path of --labels.") from None
    except IsADirectoryError:
        raise DsegError(f"{path} is a folder.", hint="name the file of --labels.") from None
    except (OSError, UnicodeDecodeError):
        raise DsegError(
            f"{path} cannot be read as text.",
            hint="save the table of --labels as CSV in UTF-8 (not as a spreadsheet).",
        ) from None


def _ask(survey: Survey) -> list[str]:
    """Ask for the name of each value at a terminal; return the default names otherwise."""
    from dseg.survey.naming import default_names, list_values

    names = default_names(list_values(survey))
    if not at_terminal():
        say(f"No --names are given: the classes are called {', '.join(names[:4])}"
            f"{', ...' if len(names) > 4 else '.'}")  # fmt: skip
        return names
    sheet = _preview(survey, names)
    say(f"Look at {sheet}: the values are drawn in the colours of its legend.")
    say("Name each value (Enter takes the name in brackets, - ignores the value):")
    kind = survey.values.kind
    asked = [value for value in list_values(survey) if not value.ignored]
    return [
        click.prompt(f"  {value.text(kind)} ({value.fraction:.1%})", default=name, err=True)
        for value, name in zip(asked, names, strict=True)
    ]


def _preview(survey: Survey, names: list[str]) -> Path:
    """Draw the contact sheet with preliminary names, which say the values; return its path."""
    from tempfile import TemporaryDirectory

    from dseg.survey.naming import list_values, make_fields

    kind = survey.values.kind
    asked = [value for value in list_values(survey) if not value.ignored]
    titles = [f"{name}: {value.text(kind)}" for name, value in zip(names, asked, strict=True)]
    with TemporaryDirectory(prefix="dseg-", ignore_cleanup_errors=True) as folder:
        target = Path(folder) / CLASS_FILE
        _write(target, make_fields(survey, titles))
        _finish(survey.root, target, quiet=True)
    return _sheet_of(survey.root)


def _sheet_of(folder: Path) -> Path:
    """Return the path of the contact sheet; a file of the user is kept."""
    from dseg.images import sheet_path

    return sheet_path(Path(f"{folder.resolve().name or 'data'}-overview.png"))


def _write(target: Path, fields: dict[str, Any], remarks: list[str] | None = None) -> None:
    from dseg.datasets.classfile import check_class_text
    from dseg.files import written_whole
    from dseg.survey import make_class_text

    text = make_class_text(fields, remarks or ())
    check_class_text(target, text)  # an existing file is not replaced by one that cannot be read
    with written_whole(target) as part:
        part.write_text(text, encoding="utf-8", newline="\n")


def _finish(folder: Path, target: Path, *, quiet: bool) -> str | None:
    """Read the new class file, draw the contact sheet, and say what comes next."""
    from dseg.datasets import find_dataset, find_splits
    from dseg.survey import make_sheet

    datasets: list[Dataset] = []
    for split in find_splits("folder", folder, class_file=target):
        try:
            datasets.append(find_dataset("folder", folder, split, class_file=target).dataset)
        except DsegError:
            if not datasets:  # a single image leaves none for val
                raise
    drawn, sheet = make_sheet(datasets, _sheet_of(folder))
    if not quiet:
        say_finished(folder, target, datasets, sheet, drawn)
    return str(plain(sheet)) if drawn else None
