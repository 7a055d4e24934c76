"""Images that are both trained on and validated on."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from dseg.datasets.base import Dataset
from dseg.files import sha256
from dseg.training.fingerprint import read_ends


def find_overlap(train_set: Dataset, val_set: Dataset) -> list[Path]:
    """Return the validation images that are also training images: the same files, or copies.

    Of files of equal sizes both ends are read, and all of them if the ends are equal, too. A file
    that cannot be read does not count as a copy.
    """
    files: set[tuple[int, int]] = set()
    by_size: defaultdict[int, list[Path]] = defaultdict(list)
    for sample in train_set.samples:
        if (facts := _stat(sample.image)) is not None:
            files.add((facts.st_dev, facts.st_ino))
            by_size[facts.st_size].append(sample.image)
    copies = _Copies(by_size)
    shared = []
    for sample in val_set.samples:
        facts = _stat(sample.image)
        if facts is not None and (
            (facts.st_dev, facts.st_ino) in files or copies.has(sample.image, facts.st_size)
        ):
            shared.append(sample.image)
    return shared


class _Copies:
    """Files by their sizes, ends and contents; no more is read than distinguishes them."""

    def __init__(self, by_size: Mapping[int, list[Path]]):
        self._by_size = by_size
        self._by_ends: dict[int, dict[bytes, list[Path]]] = {}
        self._digests: dict[tuple[int, bytes], set[str]] = {}

    def has(self, path: Path, size: int) -> bool:
        """Return True if one of the files has the content of another file."""
        if not size or size not in self._by_size:
            return False
        if size not in self._by_ends:
            self._by_ends[size] = _group_by_ends(self._by_size[size])
        ends = read_ends(path)[1]
        alike = self._by_ends[size].get(ends)
        if alike is None:
            return False
        if (size, ends) not in self._digests:
            self._digests[size, ends] = {_digest(other) for other in alike} - {""}
        return _digest(path) in self._digests[size, ends]


def describe_overlap(train_set: Dataset, val_set: Dataset | None) -> str:
    """Return a warning if images are both trained on and validated on, else ""."""
    shared = find_overlap(train_set, val_set) if val_set else []
    if not val_set or not shared:
        return ""
    return (
        f"WARNING: {len(shared)} of the {len(val_set)} validation images "
        f"{'is' if len(shared) == 1 else 'are'} also trained on, the first: {shared[0]}. The score "
        "would be that of images seen in training. Use other images for one of the two (--split, "
        "--val-split), or --val-split none."
    )


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


def _group_by_ends(paths: list[Path]) -> dict[bytes, list[Path]]:
    groups: defaultdict[bytes, list[Path]] = defaultdict(list)
    for path in paths:
        groups[read_ends(path)[1]].append(path)
    return dict(groups)


def _digest(path: Path) -> str:
    try:
        return sha256(path)
    except OSError:
        return ""
