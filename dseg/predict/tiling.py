"""Tiles: their positions, blending row by row, and sliding tiles."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from dseg.device import to_device
from dseg.errors import DsegError
from dseg.protocol import Protocol, Size

MAX_EXPONENT, MAX_EXPONENT_FLOAT32 = 700.0, 80.0  # whose exponential is finite


def tile_starts(length: int, tile: int, overlap: float, *, shift_last: bool = True) -> list[int]:
    """Return the start positions of tiles that cover a side; the last tile ends with the side.

    Args:
        length: length of the side.
        tile: length of a tile.
        overlap: minimum fraction of a tile that its neighbour covers too; 0 to below 1.
        shift_last: if False, all tiles start at equal steps, and the last can end beyond the side.
    """
    if not 0 <= overlap < 1:
        raise DsegError(f"An overlap of {overlap} is not a fraction.", hint="use 0 to below 1.")
    if tile >= length:
        return [0]
    step = max(1, math.ceil(round(tile * (1 - overlap), 6)))  # 24 of 36 at 1/3, not 25
    count = math.ceil((length - tile) / step) + 1
    return [min(index * step, length - tile if shift_last else length) for index in range(count)]


def ramp(length: int, overlap: float) -> Tensor:
    """Return (length,) blending weights above 0: 1 inside, linearly falling over the overlap."""
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

    Memory: one band of K x tile height x image width float32, for any image height. A band is
    valid until the next one is requested.

    Args:
        size: (height, width) of the image.
        tile: (height, width) of a tile.
        overlap: fraction of a tile that its neighbour covers too.
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
        complete = below - top
        weights = to_device(weight_down[:complete, None] * weight_across, band.device)
        yield top, band[:, :complete].div_(weights)  # in place: these rows are yielded
        _move_up(band, complete)
        _move_up(weight_down[None], complete)


def _move_up(band: Tensor, rows: int) -> None:
    """Shift (N, H, ...) up by ``rows`` along its second axis, in place; fill with zeros."""
    kept = band.shape[1] - rows
    band[:, :kept] = band[:, rows:].clone()
    band[:, kept:] = 0


class Window(NamedTuple):
    """A view, padded to the tile size if it is smaller, and the offset of the image in it."""

    view: Tensor
    top: int
    left: int


def slide(
    view: Tensor,
    protocol: Protocol,
    scale: float,
    logits_of: Callable[[Tensor], Tensor],
    black: Tensor,
) -> Tensor:
    """Return the scores of a view, (1, K, h, w), fused over all tiles that cover a pixel.

    The releases of GALD-Net, DGCNet, CCNet, DANet, DFN, PSPNet and PSANet evaluate in this way,
    with different options of the protocol. The stride is the tile without its overlap, rounded up.
    Memory: the view's scores, K x h x w float32 (float64 where exponentials are fused).

    Args:
        view: (1, 3, h, w), resized and normalised.
        protocol: a protocol with a sliding tile.
        scale: scale of the view, one of ``scales``.
        logits_of: returns the logits (1, K, H, W) of a (1, 3, H, W) tile.
        black: (1, 3, 1, 1), a black pixel, normalised.
    """
    height, width = view.shape[-2:]
    tile = protocol.tile_at(scale)
    whole = height <= tile[0] and width <= tile[1]
    zero = protocol.fill == "mean" or (protocol.fill == "mean-if-whole" and whole)
    fill = torch.zeros_like(black) if zero else black
    window = _pad_small(view, tile, protocol, fill)
    rows, columns = (
        min(side, full) for side, full in zip(tile, window.view.shape[-2:], strict=True)
    )
    total: Tensor | None = None
    counts = view.new_zeros(window.view.shape[-2:])
    for top, left in _tile_corners(window.view, (rows, columns), protocol):
        crop = window.view[..., top : top + rows, left : left + columns]
        h, w = crop.shape[-2:]
        scores = _tile_scores(_pad_tile(crop, (rows, columns), fill), protocol, logits_of)
        if total is None:
            total = scores.new_zeros((1, scores.shape[1], *window.view.shape[-2:]))
        total[..., top : top + h, left : left + w] += scores[..., :h, :w]
        counts[top : top + h, left : left + w] += 1
    assert total is not None
    if protocol.overlaps == "mean":
        total.div_(counts)
    return total[..., window.top : window.top + height, window.left : window.left + width]


def _pad_small(view: Tensor, tile: Size, protocol: Protocol, fill: Tensor) -> Window:
    """Pad a view that is smaller than the tile, unless the protocol shrinks the tile instead."""
    height, width = view.shape[-2:]
    down, right = max(0, tile[0] - height), max(0, tile[1] - width)
    if protocol.small == "shrink" or not (down or right):
        return Window(view, 0, 0)
    top, left = (down // 2, right // 2) if protocol.small == "center" else (0, 0)
    padded = fill.expand(1, 3, height + down, width + right).clone()
    padded[..., top : top + height, left : left + width] = view
    return Window(padded, top, left)


def _tile_corners(view: Tensor, tile: Size, protocol: Protocol) -> Iterator[tuple[int, int]]:
    """Yield the upper left corner of every tile, row by row."""
    shift = protocol.last == "shift"
    tops, lefts = (
        tile_starts(full, side, protocol.overlap, shift_last=shift)
        for full, side in zip(view.shape[-2:], tile, strict=True)
    )
    return ((top, left) for top in tops for left in lefts)


def _pad_tile(crop: Tensor, tile: Size, fill: Tensor) -> Tensor:
    """Pad a tile that ends beyond its view."""
    down, right = tile[0] - crop.shape[-2], tile[1] - crop.shape[-1]
    if not (down or right):
        return crop
    return F.pad(crop - fill, (0, right, 0, down)) + fill


def _tile_scores(tile: Tensor, protocol: Protocol, logits_of: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the scores of one tile: its logits, or with ``per_tile`` scores fused over flips."""
    scores = logits_of(tile)
    if not protocol.per_tile:
        return scores
    both = [scores]
    if protocol.flip:
        both.append(logits_of(tile.flip(-1)).flip(-1))
    if protocol.fusion == "exp":
        total = torch.stack(both).sum(0)
        if total.device.type == "mps":  # MPS has no float64
            return total.clamp_(max=MAX_EXPONENT_FLOAT32).exp_()
        return total.double().clamp_(max=MAX_EXPONENT).exp_()
    if protocol.fusion == "product":
        return torch.stack([scores.log_softmax(1) for scores in both]).sum(0).exp_()
    if protocol.fusion == "prob":
        both = [scores.softmax(1) for scores in both]
    return torch.stack(both).mean(0)
