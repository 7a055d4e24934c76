"""Tiles for images that do not fit: where they lie, and how they are blended row by row."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from dseg.device_copy import to_device
from dseg.errors import DsegError
from dseg.protocol import Size


def tile_starts(length: int, tile: int, overlap: float, *, shift_last: bool = True) -> list[int]:
    """Return where tiles of that length start so that they cover a side; the last ends with it.

    Args:
        overlap: fraction of a tile that its neighbour covers again, at least; 0 to below 1.
        shift_last: where False, the last tile starts a step after the one before it, and may end
            beyond the side.
    """
    if not 0 <= overlap < 1:
        raise DsegError(f"An overlap of {overlap} is not a fraction.", hint="use 0 to below 1.")
    if tile >= length:
        return [0]
    step = max(1, math.ceil(round(tile * (1 - overlap), 6)))  # 24 of 36 at 1/3, not 25
    count = math.ceil((length - tile) / step) + 1
    return [min(index * step, length - tile if shift_last else length) for index in range(count)]


def ramp(length: int, overlap: float) -> Tensor:
    """Return (length,) blending weights: 1 inside, falling linearly over the overlap, above 0."""
    margin = max(1, int(length * overlap))
    position = torch.arange(1, length + 1, dtype=torch.float32)
    return (torch.minimum(position, length + 1 - position) / margin).clamp(max=1)


def blend_rows(
    size: Size,
    tile: Size,
    overlap: float,
    scores_of: Callable[[int, int, int, int], Tensor],
) -> Iterator[tuple[int, Tensor]]:
    """Blend the scores of overlapping tiles; yield each band of rows as soon as it is complete.

    Memory: one band of K x tile height x image width float32, whatever the image's height. A
    band is valid until the caller asks for the next one.

    Args:
        size: (height, width) of the image.
        tile: (height, width) of a tile.
        overlap: fraction of a tile that its neighbour covers again.
        scores_of: returns the (K, h, w) scores of the tile at (top, left, h, w).

    Yields:
        The first row of a band, and its weighted mean scores (K, rows, width).
    """
    height, width = size
    rows, columns = min(tile[0], height), min(tile[1], width)
    tops, lefts = tile_starts(height, rows, overlap), tile_starts(width, columns, overlap)
    down, across = (ramp(side, overlap) for side in (rows, columns))
    window = down[:, None] * across
    weight_across = torch.zeros(width)
    for left in lefts:
        weight_across[left : left + columns] += across
    weight_down = torch.zeros(rows)
    band: Tensor | None = None
    for top, below in zip(tops, [*tops[1:], height], strict=True):
        for left in lefts:
            scores = scores_of(top, left, rows, columns)
            if band is None:
                band = scores.new_zeros((scores.shape[0], rows, width))
                window = to_device(window, scores.device)
            band[:, :, left : left + columns] += scores * window
        assert band is not None
        weight_down += down
        final = below - top
        weights = to_device(weight_down[:final, None] * weight_across, band.device)
        yield top, band[:, :final].div_(weights)  # in place: these rows are yielded
        _move_up(band, final)
        _move_up(weight_down[None], final)


def _move_up(band: Tensor, rows: int) -> None:
    """Move (N, H, ...) up by so many rows of its second axis, in place, with zeros below."""
    kept = band.shape[1] - rows
    band[:, :kept] = band[:, rows:].clone()
    band[:, kept:] = 0
