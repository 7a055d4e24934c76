"""The options that name a data set, and its kind where they leave it out."""

from __future__ import annotations

from pathlib import Path

import click

from dseg.cli.options.groups import group
from dseg.cli.options.types import FILE, FOLDER, Option
from dseg.errors import DsegError, quote


def dataset_group(*splits: Option) -> Option:
    """Return the options that name a data set, with those that name its splits."""
    return group(
        "Data",
        click.option(
            "--dataset",
            metavar="NAME",
            help="cityscapes, camvid, voc, mapillary, folder or scenes (default: folder, if the "
            "folder has a class file).",
        ),
        click.option(
            "--data-dir", type=FOLDER, required=True, metavar="DIR", help="Folder of the data set."
        ),
        *splits,
        click.option(
            "--classes", type=FILE, metavar="FILE", help="Class file of a 'folder' data set."
        ),
        click.option("--label-space", metavar="NAME", help="Map the masks onto other classes."),
    )


def name_dataset(given: str | None, folder: Path, class_file: Path | str | None) -> str:
    """Return ``--dataset``, or folder if there is none and the classes are described.

    Raises:
        DsegError: no data set is named, and the folder has no class file.
    """
    if given is not None:
        return given
    from dseg.datasets.layouts import SIGNS, has_class_file, refuse_missing

    if class_file or has_class_file(folder):
        return "folder"
    refuse_missing("folder", folder)
    alike = next((name for name, sign in SIGNS.items() if sign(folder)), None)
    looks = f", for example --dataset {alike}, which it looks like" if alike else ""
    raise DsegError(
        f"--dataset is missing, and {folder} has no class file.",
        hint=f"name the data set{looks}; for own images and masks: dseg init",
    )


def data_options(
    name: str, folder: object, class_file: object = "", label_space: str = "", **splits: str
) -> str:
    """Return the words of a command line that name a data set, without those that are defaults.

    Args:
        name: kind of the data set.
        folder: its folder.
        class_file: class file outside the folder.
        label_space: classes onto which the masks are mapped.
        splits: ``split`` and ``val_split``; "" for the default of the command.
    """
    given = {
        "--dataset": "" if name == "folder" else name,
        "--data-dir": folder,
        "--classes": class_file or "",
        **{f"--{option.replace('_', '-')}": split for option, split in splits.items()},
        "--label-space": label_space,
    }
    return " ".join(f"{option} {quote(value)}" for option, value in given.items() if value)
