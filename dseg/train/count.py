"""The confusion counts of many images, kept where the labels are."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dseg.labels import IGNORE

Counts = NDArray[np.int64]


class ConfusionCounts:
    """Counts of ground truth by prediction, exact, on the device of the predictions.

    Args:
        size: number of classes K, 255 at most.
        device: where predictions are; counting on a GPU does not wait for it.

    Attributes:
        on_cpu: count by the processor's way.
    """

    def __init__(self, size: int, device: torch.device):
        self._size, self.on_cpu = size, device.type == "cpu"
        self._counts = torch.zeros(size * size + 1, dtype=torch.int64, device=device)

    def add(self, truth: Tensor, prediction: Tensor) -> None:
        """Count an image.

        Args:
            truth: (H, W) uint8 train ids on the device, ``IGNORE`` for pixels that do not count.
            prediction: (H, W) uint8 train ids below K.
        """
        if self.on_cpu:
            found = count_pixels(truth.numpy(), prediction.numpy(), self._size)
            self._counts[:-1] += torch.from_numpy(found.ravel())
            return
        places = truth.long() * self._size + prediction
        places = torch.where(truth == IGNORE, self._size**2, places).flatten()
        self._counts.scatter_add_(0, places, torch.ones_like(places))

    def matrix(self) -> Counts:
        """Return the (K, K) counts."""
        counts = self._counts[:-1].view(self._size, self._size)
        matrix: Counts = counts.cpu().numpy().copy()
        return matrix


def count_pixels(truth: NDArray[np.uint8], prediction: NDArray[np.uint8], size: int) -> Counts:
    """Return the (K, K) confusion of an image's scored pixels."""
    places = truth.astype(np.uint16) * np.uint16(size) + prediction
    places[truth == IGNORE] = size * size
    counts = np.bincount(places.ravel(), minlength=size * size + 1)[:-1]
    return counts.reshape(size, size).astype(np.int64)
