"""Bicubic interpolation of scores on the CPU, any band of rows at a time."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dseg.protocol import Size

STEEPNESS = -0.75  # of the cubic kernel, as in torch and OpenCV
BLOCK = 32  # outputs along a side that one matrix product computes
Indices = NDArray[np.int64]


def cubic_points(length: int, out: int) -> tuple[Indices, NDArray[np.float32]]:
    """Return the four source pixels of each of ``out`` points, and their weights.

    They are torch's for bicubic interpolation without aligned corners, positions in float32 too
    (Keys, IEEE TASSP 1981, with a steepness of -0.75). Pixels beyond the border are those at it.

    Returns:
        Indices and weights, (4, out) each; each point's weights add up to 1.
    """
    half = np.float32(0.5)
    scale = np.float32(length) / np.float32(out)
    positions = scale * (np.arange(out, dtype=np.float32) + half) - half
    before = np.floor(positions)
    after = positions - before  # distance from the second pixel
    weights = [_far(after + 1), _near(after), _near(1 - after), _far(2 - after)]
    indices = before.astype(np.int64) + np.arange(-1, 3)[:, None]
    return indices.clip(0, length - 1), np.stack(weights).astype(np.float32)


def _near(distance: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the kernel at a distance of 0 to 1."""
    return ((STEEPNESS + 2) * distance - (STEEPNESS + 3)) * distance * distance + 1


def _far(distance: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the kernel at a distance of 1 to 2."""
    inner = (STEEPNESS * distance - 5 * STEEPNESS) * distance + 8 * STEEPNESS
    return inner * distance - 4 * STEEPNESS


class CubicRowResizer:
    """Resizes scores bicubically; otherwise as ``resizing.RowResizer``.

    Columns, then rows, are resized by products with matrices of weights, one for a few neighbouring
    outputs each: several times as fast as ``F.interpolate``.

    Args:
        scores: (N, K, h, w).
        out: (height, width) of all rows together.
    """

    def __init__(self, scores: Tensor, out: Size):
        self._shape, self._width = scores.shape, out[1]
        self._scores = scores.permute(3, 2, 0, 1).contiguous()  # w, h, N, K
        self._down = cubic_points(scores.shape[2], out[0])
        self._across = cubic_points(scores.shape[3], out[1])

    def rows(self, top: int, bottom: int) -> Tensor:
        """Return the rows from ``top`` to before ``bottom``, (N, K, rows, out width)."""
        images, classes = self._shape[:2]
        indices, weights = (points[:, top:bottom] for points in self._down)
        first, end = int(indices[0, 0]), int(indices[-1, -1]) + 1
        wide = _multiply(self._across, self._scores[:, first:end].flatten(1))
        wide = wide.view(self._width, end - first, -1).transpose(0, 1)
        wide = wide.unflatten(2, (images, classes)).transpose(1, 2)  # rows, N, width, K
        band = _multiply((indices - first, weights), wide.flatten(1))
        return band.view(bottom - top, images, self._width, classes).permute(1, 3, 0, 2)


def _multiply(points: tuple[Indices, NDArray[np.float32]], source: Tensor) -> Tensor:
    """Interpolate the rows of a matrix at points, in order.

    Args:
        points: indices and weights, (4, points) each.
        source: (length, values).

    Returns:
        (points, values).
    """
    indices, weights = points
    count = indices.shape[1]
    result = source.new_empty((count, source.shape[1]))
    for start in range(0, count, BLOCK):
        block = slice(start, min(start + BLOCK, count))
        first, end = int(indices[0, start]), int(indices[-1, block.stop - 1]) + 1
        matrix = np.zeros((block.stop - start, end - first), np.float32)
        for index, weight in zip(indices[:, block] - first, weights[:, block], strict=True):
            matrix[np.arange(len(matrix)), index] += weight
        torch.mm(torch.from_numpy(matrix), source[first:end], out=result[block])
    return result
