"""Sort the image files of a folder into groups: one folder for each split, of one kind."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from random import Random

from dseg.datasets.listing import WHOLE, normal_name
from dseg.files import walk_files
from dseg.images import IMAGE_SUFFIXES, MANIFEST

LOOKED_AT_MOST = 500_000  # files
SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
PHOTO_WORDS = (
    *("image", "img", "rgb", "photo", "picture", "jpegimages", "input", "frame", "leftimg8bit"),
    *("left", "original", "raw"),
)
MASK_WORDS = (
    *("mask", "label", "annot", "gt", "groundtruth", "truth", "segmentation", "seg", "target"),
    *("semantic", "anno"),
)
SPLIT_IN_NAME = re.compile(rf"({'|'.join(sorted(SPLIT_WORDS, key=len, reverse=True))})", re.I)


@dataclass
class Group:
    """Files that belong together.

    Attributes:
        pattern: folder relative to the root, with ``{split}`` in place of the split's name;
            "." for the root.
        suffix: extension of the files in lower case.
        folders: folder of each split.
        files: files of each split, by their path below its folder without the extension.
    """

    pattern: str
    suffix: str
    folders: dict[str, str] = field(default_factory=dict)
    files: dict[str, dict[str, Path]] = field(default_factory=dict)

    @property
    def count(self) -> int:
        return sum(map(len, self.files.values()))

    def names(self) -> set[tuple[str, str]]:
        """Return the split and name of all files."""
        return {(split, name) for split, named in self.files.items() for name in named}

    def sample(self, most: int) -> list[Path]:
        """Return up to ``most`` files, the same ones each time."""
        paths = [path for named in self.files.values() for path in named.values()]
        return Random(0).sample(sorted(paths), min(most, len(paths)))


def find_groups(root: Path, *, apart: bool = False) -> list[Group]:
    """Return the groups of image files below a folder, those with the most files first.

    Results of dseg are left out.

    Args:
        root: the folder.
        apart: whether folders whose names say nothing are groups of their own; otherwise they are
            parts of the names of files.
    """
    groups: dict[tuple[str, str], Group] = {}
    paths = list(islice(walk_files(root), LOOKED_AT_MOST))
    runs = {path.parent for path in paths if path.name == MANIFEST}
    for path in paths:
        suffix = path.suffix.lower()
        if suffix not in IMAGE_SUFFIXES or not runs.isdisjoint(path.parents):
            continue
        below = path.relative_to(root)
        pattern, split, depth = _find_pattern(below.parent.parts, apart=apart)
        group = groups.setdefault((pattern, suffix), Group(pattern, suffix))
        group.folders.setdefault(split, "/".join(below.parts[:depth]) or ".")
        stars = [
            part for part, of in zip(below.parts, pattern.split("/"), strict=False) if of == "*"
        ]
        name = normal_name("/".join((*stars, *below.parts[depth:-1], path.stem)))
        group.files.setdefault(split, {})[name] = path
    return sorted(groups.values(), key=lambda group: (-group.count, group.pattern, group.suffix))


def _find_pattern(parts: tuple[str, ...], *, apart: bool) -> tuple[str, str, int]:
    """Return the pattern of a folder, its split, and how many parts the pattern has.

    The pattern ends at the last part that names a split or a kind of files; folders below it,
    such as those of cities, belong to the names of the files. Other folders before it are ``*``.
    """
    named = list(parts)
    split, depth = WHOLE, 0
    for at, part in enumerate(parts):
        found = _split_of(part) if split == WHOLE else None
        if found:
            split, named[at] = found
        elif not kind_of_name(part):
            named[at] = part if apart else "*"
            continue
        depth = at + 1
    if not depth and apart:
        depth = min(1, len(parts))
    return "/".join(named[:depth]) or ".", split, depth


def _split_of(part: str) -> tuple[str, str] | None:
    """Return the split that a folder's name contains, and the name with a placeholder for it."""
    for found in SPLIT_IN_NAME.finditer(part):
        before, after = part[: found.start()], part[found.end() :]
        apart = all(
            not rest or not rest.isalpha() or kind_of_name(rest) for rest in (before, after)
        )
        if apart and not before[-1:].isalpha():
            return SPLIT_WORDS[found[0].lower()], f"{before}{{split}}{after}"
    return None


def kind_of_name(name: str) -> str:
    """Return "mask" or "photo" if a name contains such a word, else ""."""
    words = re.split(r"[^a-z0-9]+", name.lower())
    for kind, known in (("mask", MASK_WORDS), ("photo", PHOTO_WORDS)):
        if any(word.startswith(start) for word in words for start in known):
            return kind
    return ""


def split_pattern(group: Group, root: Path) -> str | dict[str, str]:
    """Return the folder field of a class file: a pattern, or a folder for each split.

    A pattern is no use if it also matches folders of other files, as ``{split}`` in a folder with
    ``train`` and ``trainannot``.
    """
    if set(group.folders) == {WHOLE} or "*" in group.pattern:
        return group.pattern
    usual = {split: group.pattern.replace("{split}", split) for split in group.folders}
    before, _, after = group.pattern.partition("{split}")
    matching = {path.relative_to(root).as_posix() for path in root.glob(f"{before}*{after}")}
    if usual == group.folders and matching <= set(usual.values()):
        return group.pattern
    return dict(group.folders)


def name_splits(groups: Iterable[Group]) -> list[str]:
    """Return the splits of groups, train first."""
    found = {split for group in groups for split in group.files}
    order = ("train", "val", "test", WHOLE)
    return sorted(found, key=lambda split: order.index(split) if split in order else len(order))
