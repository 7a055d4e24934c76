"""How each data set's folder is recognised, and what is said of one that is of another kind."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path

from dseg.errors import DsegError

CLASS_FILES = ("classes.toml", "classes.json")
CAMVID_SPLITS = ("train", "val", "test")
SHOWN_AT_MOST = 5
LOOKED_AT_MOST = 200  # entries of a folder that may be anybody's


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
    """Return the folder that holds ``JPEGImages``: the root, or VOC2012 one or two levels below."""
    homes = (root, root / "VOC2012", root / "VOCdevkit" / "VOC2012")
    return next((home for home in homes if (home / "JPEGImages").is_dir()), None)


def _is_mapillary(root: Path) -> bool:
    return any((root / split / "images").is_dir() for split in ("training", "validation"))


def _is_folder(root: Path) -> bool:
    return any((root / name).is_file() for name in CLASS_FILES)


SIGNS: dict[str, Callable[[Path], bool]] = {
    "folder": _is_folder,
    "cityscapes": _is_cityscapes,
    "camvid": _is_camvid,
    "voc": lambda root: find_voc_home(root) is not None,
    "mapillary": _is_mapillary,
}


def kind_of(name: str) -> str:
    """Return the layout of a data set; drawn scenes have that of Cityscapes."""
    return "cityscapes" if name == "scenes" else name


def refuse_layout(name: str, root: Path, layout: str) -> None:
    """Raise a DsegError unless a folder has the layout of a data set.

    Args:
        name: as ``--dataset`` spells it.
        root: the folder that the user named.
        layout: in words.

    Raises:
        DsegError: says what was expected, what was found, and what to try.
    """
    refuse_missing(name, root)
    if SIGNS[kind_of(name)](root):
        return
    found, hint = _say_found(name, root)
    raise DsegError(
        f"{root} is no {name} data set: expected {layout}; found {found}.", hint=_hint(name, hint)
    )


def refuse_missing(name: str, root: Path) -> None:
    """Raise a DsegError unless the folder exists."""
    if not root.is_dir():
        what = "is a file, not a folder" if root.exists() else "does not exist"
        raise DsegError(f"{root} {what}.", hint=_hint(name, "check the spelling of --data-dir."))


def _hint(name: str, hint: str) -> str:
    if name == "scenes":
        return f"{hint} dseg scenes --out DIR -n 200 makes such a folder."
    return hint


def _say_found(name: str, root: Path) -> tuple[str, str]:
    """Return what a folder of the wrong kind holds, and a hint."""
    kind = kind_of(name)
    other = next((other for other, is_kind in SIGNS.items() if is_kind(root)), None)
    if other is not None:
        return f"the layout of {other}", f"try --dataset {other}."
    above = root.resolve().parent
    if SIGNS[kind](above):
        return "a part of it", f"name the folder above: --data-dir {above}"
    entries = sorted(islice((e for e in root.iterdir() if e.name[0] != "."), LOOKED_AT_MOST))
    below = next((entry for entry in entries if entry.is_dir() and SIGNS[kind](entry)), None)
    if below is not None:
        return f"it in the folder {below.name}", f"name that: --data-dir {below}"
    if not entries:
        return "an empty folder", "check --data-dir."
    shown = ", ".join(e.name + "/" * e.is_dir() for e in entries[:SHOWN_AT_MOST])
    more = ", ..." if len(entries) > SHOWN_AT_MOST else ""
    return f"{shown}{more}", "check --data-dir and --dataset."
