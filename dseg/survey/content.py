"""What mask files hold: ids or colours, and how often."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from dseg.errors import DsegError
from dseg.images import has_equal_channels, read_mask_file
from dseg.labels import Color

FEW = 64  # values or colours that a mask of classes holds at most
FRACTION = 0.3  # of masks in a group that can be masks: images and masks may be in one folder
MAIN, MAIN_FRACTION = 32, 0.95  # colours that cover this fraction of the pixels of masks
RARE = 2e-4  # fraction of the pixels of a colour that can be due to smoothed edges
NEAR = 15  # distance of values from 0 and 255 that lossy compression causes
ENDS_FRACTION = 0.8  # of the pixels that are exactly 0 or 255
LOSSY = (".jpg", ".jpeg")


@dataclass
class Values:
    """Counts over mask files.

    Attributes:
        kind: ``ids`` or ``colours``.
        pixels: number of pixels of each id, or of each colour packed as ``0xRRGGBB``.
        masks: number of masks that hold it.
        palette: colours of palette files by id, of the first file that holds it.
        colored: of ids, number of pixels of each colour of the palettes, or grey; and
        colored_masks: number of masks that hold it.
        clashing: files whose palette gives an id another colour than a file before.
        first: first mask that holds each id or colour.
        joined: values that mean the same as one of ``pixels``, by it.
        left_out: number of rare colours that are not in ``pixels``, and their pixels.
        size: (height, width).
    """

    kind: str
    pixels: Counter[int] = field(default_factory=Counter)
    masks: Counter[int] = field(default_factory=Counter)
    palette: dict[int, Color] = field(default_factory=dict)
    colored: Counter[int] = field(default_factory=Counter)
    colored_masks: Counter[int] = field(default_factory=Counter)
    clashing: list[Path] = field(default_factory=list)
    first: dict[int, Path] = field(default_factory=dict)
    joined: dict[int, range] = field(default_factory=dict)
    left_out: tuple[int, int] = (0, 0)
    size: tuple[int, int] = (0, 0)

    def add(self, other: Values, path: Path) -> None:
        """Add the counts of a file."""
        self.pixels.update(other.pixels)
        self.masks.update(other.masks)
        self.colored.update(other.colored)
        self.colored_masks.update(other.colored_masks)
        if any(self.palette.get(value, color) != color for value, color in other.palette.items()):
            self.clashing.append(path)
        self.palette = other.palette | self.palette
        for value in other.pixels:
            self.first.setdefault(value, path)


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
    if kind == "ids" and values.dtype == np.uint8:
        for value, pixels in found.pixels.items():
            red, green, blue = found.palette.get(value, (value,) * 3)
            found.colored[red << 16 | green << 8 | blue] += pixels
        found.colored_masks = Counter(found.colored.keys())
    return found


def looks_like_masks(paths: list[Path]) -> bool:
    """Return True if a third of some files hold few different values, but for a few pixels.

    Files with lossy compression are masks only if nearly all of their pixels are 0 and 255.
    """
    few = 0
    for path in paths:
        try:
            values = count_values(path)
        except DsegError:
            continue
        lossy = path.suffix.lower() in LOSSY
        few += (not lossy and is_few(values)) or is_nearly_binary(values)
    return few >= max(1, FRACTION * len(paths))


def is_few(values: Values) -> bool:
    """Return True for at most 64 values, or colours of which 32 cover nearly all pixels."""
    if len(values.pixels) <= FEW or values.kind == "ids":
        return len(values.pixels) <= FEW
    most = sum(pixels for _, pixels in values.pixels.most_common(MAIN))
    return most >= MAIN_FRACTION * sum(values.pixels.values())


def is_nearly_binary(values: Values) -> bool:
    """Return True for 0 and 255 and values near both, by lossy compression or smoothing."""
    if values.kind != "ids" or max(values.pixels) > 255:
        return False
    near_0 = any(1 <= value <= NEAR for value in values.pixels)
    near_255 = any(255 - NEAR <= value < 255 for value in values.pixels)
    ends = values.pixels[0] + values.pixels[255]
    return near_0 and near_255 and ends >= ENDS_FRACTION * sum(values.pixels.values())


def settle(values: Values) -> Values:
    """Join values near 0 and 255, and leave out colours that only occur at smoothed edges."""
    if is_nearly_binary(values):
        return _join_binary(values)
    total = sum(values.pixels.values())
    rare = {value for value, pixels in values.pixels.items() if pixels < RARE * total}
    main = len(values.pixels) - len(rare)
    lost = sum(values.pixels[value] for value in rare)
    if values.kind == "ids" or not 0 < main <= FEW or len(rare) <= max(8, main):
        return values
    if lost > (1 - MAIN_FRACTION) * total:
        return values
    kept = {value: pixels for value, pixels in values.pixels.items() if value not in rare}
    return replace(values, pixels=Counter(kept), left_out=(len(rare), lost))


def _join_binary(values: Values) -> Values:
    halves = {0: range(128), 255: range(128, 256)}
    pixels = {at: sum(values.pixels[value] for value in half) for at, half in halves.items()}
    masks = Counter({at: values.masks[at] for at in halves})
    return replace(values, pixels=Counter(pixels), masks=masks, joined=halves)
