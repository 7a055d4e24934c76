"""Histogram of a tensor's values, in one pass and in bounded memory."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

BINS = 2048  # Migacz, "8-bit inference with TensorRT", GTC 2017
CHUNK = 1 << 20  # values that are converted to indices at once


class Histogram:
    """Counts of values in at most ``BINS`` bins, whose width is a power of two and grows.

    Bin k holds the values from k * width up to (k + 1) * width. When a value lies outside, the
    width is doubled and neighbours are merged, which is exact: the result does not depend on the
    order in which the values arrive, and it is the same for one array and for its pieces.

    Attributes:
        lowest: smallest value, 0 if there is none below.
        highest: largest value, 0 if there is none above.
        zeros: number of values that are exactly 0; they are in no bin.
        width: width of a bin, 0 while all values are 0.
        start: index k of the first bin.
        counts: number of values in each bin, int64.
    """

    def __init__(self) -> None:
        self.lowest = 0.0
        self.highest = 0.0
        self.zeros = 0
        self.width = 0.0
        self.start = 0
        self.counts: NDArray[np.int64] = np.zeros(BINS, np.int64)

    def add(self, values: NDArray[np.floating]) -> None:
        """Count the values of an array of any shape.

        Raises:
            ValueError: a value is NaN or infinite.
        """
        if not values.size:
            return
        lowest, highest = float(values.min()), float(values.max())
        if not (math.isfinite(lowest) and math.isfinite(highest)):
            raise ValueError("a value is NaN or infinite")
        self._grow(min(lowest, self.lowest), max(highest, self.highest))
        flat = values.reshape(-1)
        for first in range(0, flat.size, CHUNK):
            self._count(flat[first : first + CHUNK])

    def centres(self) -> NDArray[np.float64]:
        """Return the value in the middle of each bin."""
        return (self.start + np.arange(BINS) + 0.5) * self.width

    def magnitudes(self) -> NDArray[np.int64]:
        """Return the counts of absolute values: element k is from k * width to (k + 1) * width."""
        index = self.start + np.arange(BINS)
        size = max(self.start + BINS, -self.start, 1)
        folded = np.bincount(np.where(index < 0, -1 - index, index), self.counts, size)
        last = np.flatnonzero(folded)
        return folded[: last[-1] + 1 if last.size else 1].astype(np.int64)

    def _count(self, values: NDArray[np.floating]) -> None:
        nonzero = np.count_nonzero(values)
        self.zeros += values.size - nonzero
        if nonzero < values.size:
            values = values[values != 0]
        if nonzero:
            index = np.floor(values * values.dtype.type(1 / self.width)).astype(np.int64)
            self.counts += np.bincount(index - self.start, minlength=BINS)

    def _grow(self, lowest: float, highest: float) -> None:
        """Choose width and first bin for a range, and merge the bins that are filled."""
        self.lowest, self.highest = lowest, highest
        if lowest == highest:
            return
        width = max(self.width, 2.0 ** math.floor(math.log2((highest - lowest) / BINS)))
        while math.floor(highest / width) - math.floor(lowest / width) >= BINS:
            width *= 2
        start = math.floor(lowest / width)
        if self.width and (width, start) != (self.width, self.start):
            index = np.flatnonzero(self.counts)
            values = self.counts[index]
            index = (self.start + index) >> round(math.log2(width / self.width))
            self.counts = np.bincount(index - start, values, BINS).astype(np.int64)
        self.width, self.start = width, start
