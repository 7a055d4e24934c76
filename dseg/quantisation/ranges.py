"""From a histogram to the range of values that 8 bits cover: four methods.

A narrow range has fine steps and clips the values outside; a wide one has coarse steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dseg.quantisation.histogram import BINS, Histogram

PERCENTILE = 99.99  # Wu et al., "Integer quantization for deep learning inference", 2020
CANDIDATES = 128  # limits tried on each side by the mean squared error


class Range(NamedTuple):
    """The values that are represented; ``lowest`` <= 0 <= ``highest``, so that 0 is exact."""

    lowest: float
    highest: float


def find_minmax(histogram: Histogram, levels: int = 256) -> Range:
    """Return the range of all values."""
    return Range(histogram.lowest, histogram.highest)


def find_percentile(histogram: Histogram, levels: int = 256) -> Range:
    """Return the range of all but 0.01 % of the values, half of these on each side (Wu et al.).

    If no value has one of the two signs, they are all on the other side.
    """
    counts = histogram.counts
    total = int(counts.sum()) + histogram.zeros
    outside = total * (1 - PERCENTILE / 100)
    if histogram.lowest < 0 < histogram.highest:
        outside /= 2
    edges = (histogram.start + np.arange(BINS + 1)) * histogram.width
    below = np.cumsum(counts)  # values up to the end of a bin, without zeros
    above = np.cumsum(counts[::-1])[::-1]
    lowest = edges[np.argmax(below > outside)] if below[-1] > outside else 0.0
    highest = edges[BINS - np.argmax(above[::-1] > outside)] if above[0] > outside else 0.0
    return _within(histogram, float(lowest), float(highest))


def find_entropy(histogram: Histogram, levels: int = 256) -> Range:
    """Return the range whose quantised values have the smallest KL divergence (Migacz 2017).

    As published, for the distribution of absolute values: candidates of n bins, from as many as
    there are levels up to all; outliers are added to the last bin of the reference P; Q has the
    mean of each level in the bins of it that are not empty in P. Values that are exactly 0, which
    are represented without an error, count for neither.
    """
    counts = histogram.magnitudes().astype(np.float64)
    one_sided = not histogram.lowest < 0 < histogram.highest
    levels = levels // 2 if not one_sided or levels < 256 else levels
    if counts.size <= levels:
        return find_minmax(histogram)
    sizes = np.arange(levels, counts.size + 1)
    best = sizes[np.argmin(kl_divergences(counts, sizes, levels))]
    limit = float(best * histogram.width)
    return _within(histogram, -limit, limit)


def kl_divergences(
    counts: NDArray[np.float64], sizes: NDArray[np.int64], levels: int
) -> NDArray[np.float64]:
    """Return KL(P || Q) in nats for each number of leading bins that is kept.

    Args:
        counts: histogram of absolute values, (B,); its last bin is not empty.
        sizes: candidates, (S,), each from ``levels`` to B.
        levels: number of values that the kept bins are quantised to.

    With W the sum of P over a level, S that of the counts in it and m the number of its bins that
    are not empty, the divergence is sum(p log p) - sum(W log(S / m)): neither P nor Q is built.
    """
    before = np.concatenate(([0.0], np.cumsum(counts)))  # before[n]: sum of the first n
    filled = np.concatenate(([0.0], np.cumsum(counts > 0)))
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.concatenate(([0.0], np.cumsum(np.where(counts > 0, counts * np.log(counts), 0))))
        total = before[-1]
        kept = before[sizes]
        last = counts[sizes - 1]
        clipped = last + total - kept  # the last bin of P
        entropy = logs[sizes - 1] + np.where(clipped > 0, clipped * np.log(clipped), 0)
        edges = sizes[:, None] * np.arange(levels + 1)[None] // levels
        sums = np.diff(before[edges])
        bins = np.diff(filled[edges])
        bins[:, -1] += (last == 0) & (clipped > 0)
        weights = sums.copy()
        weights[:, -1] += total - kept
        cross = np.where(weights > 0, weights * np.log(sums / bins), 0).sum(1)
        divergence = (entropy - cross) / total + np.log(kept / total)
    return np.where(np.isfinite(divergence), divergence, np.inf)


def find_mse(histogram: Histogram, levels: int = 256) -> Range:
    """Return the range with the smallest mean squared error of the values.

    The error is that of the clipped values, from the histogram, and a step squared / 12 for the
    rest (Banner et al., "Post-training 4-bit quantization of convolution networks", 2019).
    """
    parts = np.arange(1, CANDIDATES + 1) / CANDIDATES
    lows, highs = histogram.lowest * parts, histogram.highest * parts
    values, counts = histogram.centres(), histogram.counts
    low_errors = _clipping(-values, counts, -lows)
    high_errors = _clipping(values, counts, highs)
    if levels < 256:  # symmetric: both limits are the larger one
        limits = max(-histogram.lowest, histogram.highest) * parts
        errors = _clipping(np.abs(values), counts, limits)
        errors += counts.sum() * (2 * limits / (levels - 1)) ** 2 / 12
        best = float(limits[np.argmin(errors)])
        return _within(histogram, -best, best)
    steps = (highs[None, :] - lows[:, None]) / (levels - 1)
    errors = low_errors[:, None] + high_errors[None, :] + counts.sum() * steps**2 / 12
    low, high = np.unravel_index(np.argmin(errors), errors.shape)
    return _within(histogram, float(lows[low]), float(highs[high]))


def _clipping(
    values: NDArray[np.float64], counts: NDArray[np.int64], limits: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the sum of the squared distances of the values above each limit from it."""
    excess = np.maximum(values[None, :] - limits[:, None], 0)
    return (excess**2) @ counts.astype(np.float64)


def _within(histogram: Histogram, lowest: float, highest: float) -> Range:
    return Range(max(lowest, histogram.lowest), min(highest, histogram.highest))


METHODS: dict[str, Callable[[Histogram, int], Range]] = {
    "minmax": find_minmax,
    "percentile": find_percentile,
    "entropy": find_entropy,
    "mse": find_mse,
}
