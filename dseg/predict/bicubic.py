"""Bicubic interpolation of scores on the CPU, any band of rows at a time."""

from __future__ import annotations

import torch
from torch import Tensor

from dseg.nn.bicubic import cubic_points, interpolate_rows
from dseg.protocol import Size


class CubicRowResizer:
    """Resizes scores bicubically; otherwise as ``resizing.RowResizer``.

    Columns, then rows, are resized by ``interpolate_rows``: several times as fast as
    ``F.interpolate``.

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
        wide = interpolate_rows(self._across, self._scores[:, first:end].flatten(1))
        wide = wide.view(self._width, end - first, -1).transpose(0, 1)
        wide = torch.unflatten(wide, 2, (images, classes)).transpose(1, 2)  # rows, N, width, K
        band = interpolate_rows((indices - first, weights), wide.flatten(1))
        return band.view(bottom - top, images, self._width, classes).permute(1, 3, 0, 2)
