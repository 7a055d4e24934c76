"""What mask files hold: ids or colours, and how often."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dseg.errors import DsegError
from dseg.images import has_equal_channels, read_mask_file
from dseg.labels import Color

FEW = 64  # values or colours that a mask of classes holds at most
FRACTION = 0.3  # of masks in a group that can be masks: images and masks may be in one folder
LOSSY = (".jpg", ".jpeg")


@dataclass
class Values:
    """Counts over mask files.

    Attributes:
        kind: ``ids`` or ``colours``.
        pixels: number of pixels of each id, or of each colour packed as ``0xRRGGBB``.
        masks: number of masks that hold it.
        palette: colours of palette files by id.
        size: (height, width).
    """

    kind: str
    pixels: Counter[int] = field(default_factory=Counter)
    masks: Counter[int] = field(default_factory=Counter)
    palette: dict[int, Color] = field(default_factory=dict)
    size: tuple[int, int] = (0, 0)

    def add(self, other: Values) -> None:
        self.pixels.update(other.pixels)
        self.masks.update(other.masks)
        self.palette.update(other.palette)


def unpack(packed: int) -> Color:
    """Return the colour of ``0xRRGGBB``."""
    return packed >> 16, packed >> 8 & 255, packed & 255


def count_values(path: Path) -> Values:
    """Count the values of one mask.

    Raises:
        DsegError: the file cannot be read as a mask.
    """
    mask = read_mask_file(path, accept_lossy=True)
    values, kind = mask.values, "ids"
    if values.ndim == 3 and has_equal_channels(values):
        values = values[..., 0]
    if values.ndim == 3:
        kind = "colours"
        values = values.astype(np.uint32) @ np.array([65536, 256, 1], np.uint32)
    numbers, counts = np.unique(values, return_counts=True)
    pairs = zip(numbers.tolist(), counts.tolist(), strict=True)
    found = Values(kind, Counter(dict(pairs)), Counter(numbers.tolist()), size=values.shape[:2])
    if mask.palette is not None:
        for value in numbers.tolist():
            red, green, blue = mask.palette[value].tolist()
            found.palette[value] = red, green, blue
    return found


def looks_like_masks(paths: list[Path]) -> bool:
    """Return True if a third of some files hold few different values without lossy compression."""
    few = 0
    for path in paths:
        if path.suffix.lower() in LOSSY:
            continue
        try:
            few += len(count_values(path).pixels) <= FEW
        except DsegError:
            continue
    return few >= max(1, FRACTION * len(paths))
