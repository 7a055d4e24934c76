"""Histogram of a tensor's values, in one pass and in bounded memory."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 2048  # Migacz, "8-bit inference with TensorRT", GTC 2017
COUNTED = 1 << 18  # most values of one array that are counted
_NARROWEST = 2.0**-100  # the inverse of a width must be a float32


class Histogram:
    """Counts of values in at most ``BINS`` bins, whose width is a power of two and grows.

    Bin k holds the values from k * width up to (k + 1) * width. When a value lies outside the
    bins, the width is doubled and neighbours are merged, which is exact: the result does not
    depend on the order of the arrays. The extremes are those of all values; of an array with
    more than ``COUNTED`` values, evenly spaced ones are counted.

    Attributes:
        lowest: smallest value, at most 0.
        highest: largest value, at least 0.
        zeros: counted values that are exactly 0, which are in no bin.
        width: width of a bin, 0 while all values are 0.
        start: index k of the first bin.
        counts: counted values in each bin, (``BINS``,) int64.
    """

    def __init__(self) -> None:
        self.lowest = 0.0
        self.highest = 0.0
        self.zeros = 0
        self.width = 0.0
        self.start = 0
        self.counts: NDArray[np.int64] = np.zeros(BINS, np.int64)

    def add(self, values: NDArray[np.floating[Any]]) -> None:
        """Count the values of an array of any shape.

        Raises:
            ValueError: a value is NaN or infinite; nothing is counted.
        """
        if not values.size:
            return
        lowest, highest = float(values.min()), float(values.max())
        if not (math.isfinite(lowest) and math.isfinite(highest)):
            raise ValueError("a value is NaN or infinite")
        self._grow(min(lowest, self.lowest), max(highest, self.highest))
        self._count(values.reshape(-1)[:: _spacing(values.shape)])

    @property
    def total(self) -> int:
        """Number of counted values."""
        return self.zeros + int(self.counts.sum())

    @property
    def two_sided(self) -> bool:
        """Whether there are values of both signs."""
        return self.lowest < 0 < self.highest

    def edges(self) -> NDArray[np.float64]:
        """Return the limits of the bins in increasing order, (``BINS`` + 1,)."""
        return (self.start + np.arange(BINS + 1, dtype=np.float64)) * self.width

    def magnitudes(self) -> NDArray[np.float64]:
        """Return the counts of absolute values from k * width to (k + 1) * width, (B,).

        B is the number of bins up to the largest absolute value that was counted, at least 1.
        """
        index = self.start + np.arange(BINS)
        index = np.where(index < 0, -1 - index, index)
        folded = np.bincount(index, self.counts).astype(np.float64)
        filled = np.flatnonzero(folded)
        return folded[: filled[-1] + 1 if filled.size else 1]

    def _count(self, values: NDArray[np.floating[Any]]) -> None:
        nonzero = values[values != 0]
        self.zeros += values.size - nonzero.size
        if nonzero.size:
            index = np.floor(nonzero * nonzero.dtype.type(1 / self.width)).astype(np.int64)
            self.counts += np.bincount(index - self.start, minlength=BINS)

    def _grow(self, lowest: float, highest: float) -> None:
        """Choose width and first bin for a range, and move the counts into the new bins."""
        self.lowest, self.highest = lowest, highest
        if lowest == highest:
            return
        width = 2.0 ** math.floor(math.log2((highest - lowest) / BINS))
        width = max(width, self.width, _NARROWEST)
        while math.floor(highest / width) - math.floor(lowest / width) >= BINS:
            width *= 2
        start = math.floor(lowest / width)
        if self.width and (width, start) != (self.width, self.start):
            filled = np.flatnonzero(self.counts)
            index = (self.start + filled) >> round(math.log2(width / self.width))
            moved = np.zeros(BINS, np.int64)
            np.add.at(moved, index - start, self.counts[filled])
            self.counts = moved
        self.width, self.start = width, start


def _spacing(shape: tuple[int, ...]) -> int:
    """Return the distance of the counted values, which visits all columns and rows in turn."""
    spacing = math.ceil(math.prod(shape) / COUNTED)
    while spacing > 1 and math.gcd(spacing, math.prod(shape[-2:])) > 1:
        spacing += 1
    return spacing
