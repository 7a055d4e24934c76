"""Exact confusion counts by bincount, and the scores that follow from them.

A class that occurs neither in the ground truth nor in the prediction has no score: it is NaN and
left out of the mean, as in the official Cityscapes script. Rows are ground truth, columns
predictions; all counts are int64.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
IdMap = NDArray[np.uint8]
Places = NDArray[np.int16]
FORBIDDEN = -1  # the place of a value that no file may hold
VALUES = 256


def join_runs(*maps: NDArray[Any]) -> tuple[tuple[NDArray[Any], ...], Counts]:
    """Shorten maps of one size to the runs in which none of them changes, in reading order.

    Label maps are made of areas, so there are about a hundred times fewer runs than pixels; what
    is counted afterwards costs next to nothing.

    Args:
        maps: (H, W) each, of any integer type.

    Returns:
        For each map its value in each run, (R,), and the (R,) lengths, which sum to H * W.
    """
    flat = [one.ravel() for one in maps]
    size = flat[0].size
    starts = np.ones(size, np.bool_)
    np.not_equal(flat[0][1:], flat[0][:-1], out=starts[1:])
    for one in flat[1:]:
        starts[1:] |= one[1:] != one[:-1]
    places = np.flatnonzero(starts)
    return tuple(one[places] for one in flat), np.diff(places, append=size)


def weighted_counts(values: NDArray[Any], lengths: Counts, minlength: int = 0) -> Counts:
    """Count the pixels of each value; exact, since below 2**53 a float64 holds every integer.

    Args:
        values: (R,) values of runs, not negative.
        lengths: (R,) pixels in each run.
        minlength: the least number of counts.

    Returns:
        int64, as long as the largest value asks for.
    """
    return np.bincount(values, lengths, minlength).astype(np.int64)


def joint_counts(truth: IdMap, prediction: IdMap, lengths: Counts) -> Counts:
    """Count how often each pair of values falls on one pixel.

    Args:
        truth: (R,) uint8, of ``join_runs``.
        prediction: (R,) uint8.
        lengths: (R,) pixels in each run.

    Returns:
        (256, 256) int64, truth by prediction; it sums to the number of pixels.
    """
    pairs = truth.astype(np.intp) * VALUES + prediction
    return weighted_counts(pairs, lengths, VALUES * VALUES).reshape(VALUES, VALUES)


def fold_counts(joint: Counts, rows: Places, columns: Places, shape: tuple[int, int]) -> Counts:
    """Gather counts of file values into counts of classes.

    Args:
        joint: (256, 256), of ``joint_counts``.
        rows: (256,) the row that each value of the ground truth belongs to.
        columns: (256,) the column of each value of the prediction. None that occurs is forbidden.
        shape: rows and columns of the result.

    Returns:
        int64 of that shape, with the same sum.
    """
    truth, prediction = np.nonzero(joint)
    folded = np.zeros(shape, np.int64)
    np.add.at(folded, (rows[truth], columns[prediction]), joint[truth, prediction])
    return folded


def class_iou(matrix: Counts) -> list[float]:
    """Return TP / (TP + FP + FN) of each class, NaN for an absent one.

    Args:
        matrix: (K, K) or wider; further columns are predictions of no class, which cost a miss.
    """
    hits = np.diagonal(matrix)
    union = matrix.sum(1) + matrix[:, : len(matrix)].sum(0) - hits
    return [ratio(int(a), int(b)) for a, b in zip(hits, union, strict=True)]


def class_accuracy(matrix: Counts) -> list[float]:
    """Return the share of each class's ground truth that is hit, NaN if it has none."""
    return [ratio(int(a), int(b)) for a, b in zip(np.diagonal(matrix), matrix.sum(1), strict=True)]


def pixel_accuracy(matrix: Counts) -> float:
    """Return the share of all scored pixels that is hit, NaN if there are none."""
    return ratio(int(np.trace(matrix)), int(matrix.sum()))


def ratio(part: float, whole: float) -> float:
    """Divide; of nothing, the share is NaN."""
    return part / whole if whole else math.nan


def mean_of_present(scores: Iterable[float]) -> float:
    """Return the mean of the scores that are not NaN; NaN if all are.

    Added one after the other: ``sum`` rounds differently from Python 3.12 on, and ``numpy.mean``
    always, so neither equals the official script to the last bit.
    """
    total, present = 0.0, 0
    for score in scores:
        if not math.isnan(score):
            total += score
            present += 1
    return ratio(total, present)
