"""Exact confusion counts by bincount, and the scores that follow from them.

A class that occurs neither in the ground truth nor in the prediction has no score: it is NaN and
left out of the mean, as in the official Cityscapes script. Rows are ground truth, columns
predictions; all counts are int64.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dseg.evaluation.values import VALUES, Counts, IdMap, IndexTable, ValueTable, refuse_wrong_ids


def join_runs(*maps: NDArray[Any]) -> tuple[tuple[NDArray[Any], ...], Counts]:
    """Split maps of one size into the runs in which none of them changes, in reading order.

    Label maps consist of areas, so there are about a hundred times fewer runs than pixels, and
    counting runs takes next to no time.

    Args:
        maps: (H, W) each, of any integer type.

    Returns:
        For each map its value in each run, (R,), and the (R,) lengths, which sum to H * W.
    """
    flat = [one.ravel() for one in maps]
    size = flat[0].size
    changed = np.ones(size, np.bool_)
    np.not_equal(flat[0][1:], flat[0][:-1], out=changed[1:])
    for one in flat[1:]:
        changed[1:] |= one[1:] != one[:-1]
    starts = np.flatnonzero(changed)
    return tuple(one[starts] for one in flat), np.diff(starts, append=size)


def weighted_counts(values: NDArray[Any], lengths: Counts, minlength: int = 0) -> Counts:
    """Count the pixels of each value; exact, since below 2**53 a float64 holds every integer.

    Args:
        values: (R,) values of runs, not negative.
        lengths: (R,) pixels in each run.
        minlength: minimum length of the result.

    Returns:
        int64, one count for each value up to the largest.
    """
    return np.bincount(values, lengths, minlength).astype(np.int64)


def joint_counts(truth: IdMap, prediction: IdMap, lengths: Counts) -> Counts:
    """Count how often each pair of values falls on one pixel.

    Args:
        truth: (R,) uint8, from ``join_runs``.
        prediction: (R,) uint8.
        lengths: (R,) pixels in each run.

    Returns:
        (256, 256) int64, truth by prediction; it sums to the number of pixels.
    """
    pairs = truth.astype(np.intp) * VALUES + prediction
    return weighted_counts(pairs, lengths, VALUES * VALUES).reshape(VALUES, VALUES)


def fold_counts(
    joint: Counts, rows: IndexTable, columns: IndexTable, shape: tuple[int, int]
) -> Counts:
    """Gather counts of file values into counts of classes.

    Args:
        joint: (256, 256), from ``joint_counts``.
        rows: (256,) the row that each value of the ground truth belongs to.
        columns: (256,) the column of each value of the prediction. No value that occurs may be
            ``FORBIDDEN`` in either table.
        shape: rows and columns of the result.

    Returns:
        int64 of that shape, with the same sum.
    """
    truth, prediction = np.nonzero(joint)
    folded = np.zeros(shape, np.int64)
    np.add.at(folded, (rows[truth], columns[prediction]), joint[truth, prediction])
    return folded


def checked_counts(
    joint: Counts,
    truth: tuple[Path, ValueTable],
    prediction: tuple[Path, ValueTable],
    shape: tuple[int, int],
    *,
    columns: IndexTable | None = None,
) -> Counts:
    """Check the values of a pair, and gather their counts into counts of classes.

    Args:
        joint: (256, 256), from ``joint_counts``.
        truth: the ground-truth file, for messages, and its values.
        prediction: the prediction file and its values.
        shape: rows and columns of the result.
        columns: (256,) the column of each value of the prediction, by default that of its table.

    Returns:
        int64 of that shape.

    Raises:
        DsegError: one of the two holds a wrong id.
    """
    refuse_wrong_ids(truth[0], joint.sum(1), truth[1])
    refuse_wrong_ids(prediction[0], joint.sum(0), prediction[1])
    columns = prediction[1].indices if columns is None else columns
    return fold_counts(joint, truth[1].indices, columns, shape)


def class_iou(matrix: Counts) -> list[float]:
    """Return TP / (TP + FP + FN) of each class, NaN for an absent one.

    Args:
        matrix: (K, K) or wider; further columns are predictions of no class, which count as
            false negatives only.
    """
    hits = np.diagonal(matrix)
    union = matrix.sum(1) + matrix[:, : len(matrix)].sum(0) - hits
    return [ratio(int(a), int(b)) for a, b in zip(hits, union, strict=True)]


def class_accuracy(matrix: Counts) -> list[float]:
    """Return the fraction of each class's ground truth that is correct, NaN if it has none."""
    return [ratio(int(a), int(b)) for a, b in zip(np.diagonal(matrix), matrix.sum(1), strict=True)]


def pixel_accuracy(matrix: Counts) -> float:
    """Return the fraction of all scored pixels that is correct, NaN if there are none."""
    return ratio(int(np.trace(matrix)), int(matrix.sum()))


def ratio(numerator: float, denominator: float) -> float:
    """Divide; return NaN for a denominator of 0."""
    return numerator / denominator if denominator else math.nan


def mean_of_present(scores: Iterable[float]) -> float:
    """Return the mean of the scores that are not NaN; NaN if all are.

    The scores are added one after the other: ``sum`` rounds differently from Python 3.12 on, and
    ``numpy.mean`` always, so neither equals the official script to the last bit.
    """
    total, present = 0.0, 0
    for score in scores:
        if not math.isnan(score):
            total += score
            present += 1
    return ratio(total, present)
