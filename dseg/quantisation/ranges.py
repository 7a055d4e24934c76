"""From a histogram to the range of values that 8 bits represent: four methods.

A narrow range has small steps and clips the values outside; a wide one has large steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dseg.quantisation.histogram import Histogram

PERCENTILE = 99.99  # Wu et al., "Integer quantization for deep learning inference", 2020
CANDIDATES = 128  # limits on each side that find_mse compares


class Range(NamedTuple):
    """The values that are represented; ``lowest`` <= 0 <= ``highest``, so that 0 is exact."""

    lowest: float
    highest: float


def find_minmax(histogram: Histogram, symmetric: bool = False) -> Range:
    """Return the range of all values."""
    return Range(histogram.lowest, histogram.highest)


def find_percentile(histogram: Histogram, symmetric: bool = False) -> Range:
    """Return the range of 99.99 % of the values (Wu et al., section 3.3), to a bin's width.

    If there are values of both signs, half of the others are below and half above it.
    """
    outside = histogram.total * (1 - PERCENTILE / 100)
    if histogram.two_sided:
        outside /= 2
    edges, counts = histogram.edges(), histogram.counts
    below, above = np.cumsum(counts), np.cumsum(counts[::-1])
    lowest = edges[np.argmax(below > outside)] if below[-1] > outside else 0.0
    highest = edges[::-1][np.argmax(above > outside)] if above[-1] > outside else 0.0
    return _clip(histogram, float(min(lowest, 0)), float(max(highest, 0)))


def find_entropy(histogram: Histogram, symmetric: bool = False) -> Range:
    """Return the range whose quantised values have the smallest KL divergence (Migacz 2017).

    This is the published search over absolute values. Candidates keep n bins, from one for each
    level up to all. The reference P has the values above in the last kept bin. Q has the mean of
    each level in those of its bins that are not empty in P. Values that are exactly 0 have no
    error and are left out.
    """
    counts = histogram.magnitudes()
    levels = 128 if symmetric or histogram.two_sided else 256
    if counts.size <= levels:
        return find_minmax(histogram)
    sizes = np.arange(levels, counts.size + 1)
    best = int(sizes[np.argmin(kl_divergences(counts, sizes, levels))])
    limit = best * histogram.width
    return _clip(histogram, -limit, limit)


def kl_divergences(
    counts: NDArray[np.float64], sizes: NDArray[np.int64], levels: int
) -> NDArray[np.float64]:
    """Return KL(P || Q) in nats for each number of kept bins, infinite if these are all empty.

    With W the sum of P over a level, S that of the kept counts and m the number of its bins that
    are not empty in P, it is sum(p log p) - sum(W log(S / m)), before P and Q are normalised:
    neither has to be built, and all candidates are computed at once. If only values above are in
    the last level, so that Q would be 0 there, S is half a value.

    Args:
        counts: histogram of absolute values, (B,), not all 0.
        sizes: numbers of bins to keep, (S,), each from ``levels`` to B.
        levels: number of levels that the kept bins are quantised to.
    """
    before = _sums(counts)  # element n: sum of the first n
    filled = _sums((counts > 0).astype(np.float64))
    total, kept, last = before[-1], before[sizes], counts[sizes - 1]
    clipped = total - kept
    entropies = _sums(_xlogx(counts))[sizes - 1] + _xlogx(last + clipped)
    edges = sizes[:, None] * np.arange(levels + 1)[None] // levels
    sums, bins = np.diff(before[edges]), np.diff(filled[edges])
    bins[:, -1] += (last == 0) & (clipped > 0)
    weights = sums.copy()
    weights[:, -1] += clipped
    means = np.where(sums > 0, sums, 0.5) / np.maximum(bins, 1)
    cross = (weights * np.log(means)).sum(1)
    divergences = (entropies - cross) / total + np.log(np.where(kept > 0, kept, 1) / total)
    return np.where(kept > 0, divergences, np.inf)


def find_mse(histogram: Histogram, symmetric: bool = False) -> Range:
    """Return the range with the smallest mean squared error of the quantised values.

    The error is that of the clipped values, taken from the histogram, and step ** 2 / 12 for each
    value (Banner et al., "Post training 4-bit quantization of convolutional networks for
    rapid-deployment", NeurIPS 2019, section 2), except for those that are exactly 0.
    """
    fractions = np.arange(1, CANDIDATES + 1) / CANDIDATES
    edges = histogram.edges()
    values, counts = (edges[:-1] + edges[1:]) / 2, histogram.counts.astype(np.float64)
    if symmetric:
        highs = max(-histogram.lowest, histogram.highest) * fractions
        errors = _clipping_errors(np.abs(values), counts, highs)
        errors += counts.sum() * (2 * highs / 254) ** 2 / 12
        limit = float(highs[np.argmin(errors)])
        return _clip(histogram, -limit, limit)
    lows, highs = histogram.lowest * fractions, histogram.highest * fractions
    errors = _clipping_errors(-values, counts, -lows)[:, None]
    errors = errors + _clipping_errors(values, counts, highs)[None]
    errors += counts.sum() * ((highs[None] - lows[:, None]) / 255) ** 2 / 12
    low, high = np.unravel_index(np.argmin(errors), errors.shape)
    return _clip(histogram, float(lows[low]), float(highs[high]))


def _clipping_errors(
    values: NDArray[np.float64], counts: NDArray[np.float64], limits: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return for each limit the sum of squared distances of the values above it."""
    errors: NDArray[np.float64] = np.maximum(values[None] - limits[:, None], 0) ** 2 @ counts
    return errors


def _sums(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.concatenate(([0.0], np.cumsum(values)))


def _xlogx(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values * np.log(np.where(values > 0, values, 1))


def _clip(histogram: Histogram, lowest: float, highest: float) -> Range:
    return Range(max(lowest, histogram.lowest), min(highest, histogram.highest))


METHODS: dict[str, Callable[[Histogram, bool], Range]] = {
    "minmax": find_minmax,
    "percentile": find_percentile,
    "entropy": find_entropy,
    "mse": find_mse,
}
