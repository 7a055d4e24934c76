"""The kind of a data set that the command line leaves out."""

from __future__ import annotations

from pathlib import Path

from dseg.errors import DsegError, quote


def has_class_file(folder: Path) -> bool:
    """Return True if a folder describes itself, as dseg init makes it do."""
    from dseg.datasets.layouts import has_class_file as has

    return has(folder)


def name_dataset(given: str | None, folder: Path, class_file: Path | str | None) -> str:
    """Return ``--dataset``, or folder if there is none and the classes are described.

    Raises:
        DsegError: no data set is named, and the folder has no class file.
    """
    if given is not None:
        return given
    if class_file or has_class_file(folder):
        return "folder"
    from dseg.datasets.layouts import SIGNS, refuse_missing

    refuse_missing("folder", folder)
    alike = next((name for name, sign in SIGNS.items() if sign(folder)), None)
    looks = f", for example --dataset {alike}, which it looks like" if alike else ""
    raise DsegError(
        f"The kind of the data set in {folder} is not named.",
        hint=f"name it with --dataset{looks}; for own images and masks: dseg init",
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
