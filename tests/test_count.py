"""The confusion matrix of validation, computed as on the CPU and as on other devices."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dseg.training.validate import ConfusionCounts, count_pixels

TRUTH = np.array([[0, 1, 2], [255, 1, 0]], np.uint8)
FOUND = np.array([[0, 2, 2], [1, 1, 1]], np.uint8)
COUNTS = [[1, 1, 0], [0, 1, 1], [0, 0, 1]]


def test_pixels_are_counted_by_truth_and_prediction_without_the_ignored() -> None:
    assert count_pixels(TRUTH, FOUND, 3).tolist() == COUNTS


@pytest.mark.parametrize("size", [2, 19, 150, 255])
def test_up_to_255_classes_are_counted(size: int) -> None:
    rng = np.random.default_rng(0)
    truth, found = (rng.integers(0, size, (60, 70)).astype(np.uint8) for _ in range(2))
    truth[:5] = 255
    truth[5, :2], found[5, :2] = size - 1, size - 1
    wanted = np.zeros((size, size), np.int64)
    for row, column in zip(truth[5:].ravel(), found[5:].ravel(), strict=True):
        wanted[row, column] += 1
    assert np.array_equal(count_pixels(truth, found, size), wanted)


@pytest.mark.parametrize("elsewhere", [False, True])
def test_images_add_up(elsewhere: bool) -> None:
    counts = ConfusionCounts(3, torch.device("cpu"))
    if elsewhere:
        counts.on_cpu = False
    for _ in range(2):
        counts.add(torch.from_numpy(TRUTH), torch.from_numpy(FOUND))
    assert counts.matrix().tolist() == [[2, 2, 0], [0, 2, 2], [0, 0, 2]]
