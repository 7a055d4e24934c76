"""Images that are both trained on and validated on."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from pathlib import Path

from dseg.datasets.base import Dataset, Sample


def find_overlap(train_set: Dataset, val_set: Dataset) -> list[Path]:
    """Return the validation images that are also training images: the same files, or copies.

    Only files of equal sizes are read. A file that cannot be read is no copy of another.
    """
    files = {os.path.realpath(sample.image) for sample in train_set.samples}
    sizes: defaultdict[int, list[Path]] = defaultdict(list)
    for sample in train_set.samples:
        sizes[_size(sample)].append(sample.image)
    digests: dict[int, set[bytes]] = {}
    shared = []
    for sample in val_set.samples:
        size = _size(sample)
        if os.path.realpath(sample.image) in files:
            shared.append(sample.image)
        elif size > 0 and size in sizes:
            if size not in digests:
                digests[size] = {_digest(path) for path in sizes[size]} - {b""}
            if _digest(sample.image) in digests[size]:
                shared.append(sample.image)
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


def _size(sample: Sample) -> int:
    try:
        return sample.image.stat().st_size
    except OSError:
        return -1


def _digest(path: Path) -> bytes:
    try:
        return hashlib.blake2b(path.read_bytes(), digest_size=16).digest()
    except OSError:
        return b""
