"""Recognise the folder layout of each data set, and describe other folders in messages."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path

from dseg.errors import DsegError

CLASS_FILES = ("classes.toml", "classes.json")
CAMVID_SPLITS = ("train", "val", "test")
SHOWN_AT_MOST = 5
LOOKED_AT_MOST = 200  # because the folder in question can be any folder, however large


def _is_cityscapes(root: Path) -> bool:
    return any((root / name).is_dir() for name in ("leftImg8bit", "gtFine", "gtCoarse"))


def _is_camvid(root: Path) -> bool:
    return any(
        ((root / split).is_dir() and (root / f"{split}annot").is_dir())
        or find_camvid_list(root, split)
        for split in CAMVID_SPLITS
    )


def find_camvid_list(root: Path, split: str) -> Path | None:
    """Return the list file of a split, or None."""
    names = (f"camvid_{split}_list.txt", f"{split}.txt")
    return next((root / name for name in names if (root / name).is_file()), None)


def find_voc_home(root: Path) -> Path | None:
    """Return the folder that contains ``JPEGImages``: root, VOC2012 or VOCdevkit/VOC2012."""
    homes = (root, root / "VOC2012", root / "VOCdevkit" / "VOC2012")
    return next((home for home in homes if (home / "JPEGImages").is_dir()), None)


def _is_mapillary(root: Path) -> bool:
    return any((root / split / "images").is_dir() for split in ("training", "validation"))


def has_class_file(root: Path) -> bool:
    """Return True if a folder describes itself, as dseg init makes it do."""
    return any((root / name).is_file() for name in CLASS_FILES)


SIGNS: dict[str, Callable[[Path], bool]] = {
    "folder": has_class_file,
    "cityscapes": _is_cityscapes,
    "camvid": _is_camvid,
    "voc": lambda root: find_voc_home(root) is not None,
    "mapillary": _is_mapillary,
}


def kind_of(name: str) -> str:
    """Return the name of a data set's layout; synthetic scenes use the layout of Cityscapes."""
    return "cityscapes" if name == "scenes" else name


def refuse_layout(name: str, root: Path, layout: str) -> None:
    """Raise a DsegError unless a folder has the layout of a data set.

    Args:
        name: Name of the data set as in ``--dataset``.
        root: Folder given by the user.
        layout: Description of the expected layout.

    Raises:
        DsegError: The layout differs; the message has the expected and the actual contents.
    """
    refuse_missing(name, root)
    if SIGNS[kind_of(name)](root):
        return
    found, hint = _describe_contents(name, root)
    raise DsegError(
        f"{root} is not a {name} data set: expected {layout}; found {found}.",
        hint=_hint(name, hint),
    )


def refuse_missing(name: str, root: Path) -> None:
    """Raise a DsegError unless the folder exists."""
    if not root.is_dir():
        what = "is a file, not a folder" if root.exists() else "does not exist"
        raise DsegError(f"{root} {what}.", hint=_hint(name, "check the spelling of --data-dir."))


def _hint(name: str, hint: str) -> str:
    if name == "folder":
        return f"{hint} For own images and masks: dseg init DIR"
    if name == "scenes":
        return f"{hint} Such a folder is drawn by: dseg scenes --out DIR -n 200"
    return hint


def _describe_contents(name: str, root: Path) -> tuple[str, str]:
    """Describe the contents of a folder that has another layout, and return a hint."""
    kind = kind_of(name)
    other = next((other for other, is_kind in SIGNS.items() if is_kind(root)), None)
    if other is not None:
        return f"the layout of {other}", f"try --dataset {other}."
    above = root.resolve().parent
    if SIGNS[kind](above):
        return "one of its subfolders", f"use the parent folder (--data-dir {above})."
    entries = sorted(islice((e for e in root.iterdir() if e.name[0] != "."), LOOKED_AT_MOST))
    below = next((entry for entry in entries if entry.is_dir() and SIGNS[kind](entry)), None)
    if below is not None:
        return f"it in the folder {below.name}", f"use that folder (--data-dir {below})."
    if not entries:
        return "an empty folder", "check --data-dir."
    shown = ", ".join(e.name + "/" * e.is_dir() for e in entries[:SHOWN_AT_MOST])
    more = ", ..." if len(entries) > SHOWN_AT_MOST else ""
    return f"{shown}{more}", "check --data-dir and --dataset."
