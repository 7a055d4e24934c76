"""Images that are both trained on and validated on."""

from __future__ import annotations

import filecmp
import os
from collections import defaultdict
from pathlib import Path

from dseg.datasets.base import Dataset
from dseg.training.fingerprint import read_ends


def find_overlap(train_set: Dataset, val_set: Dataset) -> list[Path]:
    """Return the validation images that are also training images: the same files, or copies.

    Of files of equal sizes both ends are read, and all of them if the ends are equal, too. A file
    that cannot be read is no copy of another.
    """
    files = {os.path.realpath(sample.image) for sample in train_set.samples}
    by_size: defaultdict[int, list[Path]] = defaultdict(list)
    for sample in train_set.samples:
        by_size[_size(sample.image)].append(sample.image)
    ends: dict[int, dict[bytes, list[Path]]] = {}
    shared = []
    for image in (sample.image for sample in val_set.samples):
        size = _size(image)
        if os.path.realpath(image) in files:
            shared.append(image)
        elif size > 0 and size in by_size:
            if size not in ends:
                ends[size] = _group_by_ends(by_size[size])
            if any(_are_equal(image, other) for other in ends[size].get(read_ends(image)[1], ())):
                shared.append(image)
    return shared


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


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _group_by_ends(paths: list[Path]) -> dict[bytes, list[Path]]:
    groups: defaultdict[bytes, list[Path]] = defaultdict(list)
    for path in paths:
        groups[read_ends(path)[1]].append(path)
    return dict(groups)


def _are_equal(one: Path, other: Path) -> bool:
    try:
        return filecmp.cmp(one, other, shallow=False)
    except OSError:
        return False
