"""Operations without a deterministic backward pass on CUDA in PyTorch, and their substitutes.

A substitute is slower; it is used if ``torch.use_deterministic_algorithms`` is on. That of adaptive
pooling is also used where a network is traced, since ONNX has no adaptive pooling: its cells would
become constants of the traced size; and on MPS, which pools to cells of equal size only.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from dseg.nn.precision import full_precision

EVEN_CELLS = ("mps",)  # devices that pool adaptively to cells of equal size only


def adaptive_avg_pool2d(x: Tensor, size: int | tuple[int, int]) -> Tensor:
    """Average over a grid of cells, as ``F.adaptive_avg_pool2d``.

    Args:
        x: (N, C, H, W).
        size: rows and columns of the grid.
    """
    rows, columns = (size, size) if isinstance(size, int) else size
    uneven = x.device.type in EVEN_CELLS and bool(x.shape[2] % rows or x.shape[3] % columns)
    if _needs_substitute(x) or torch.compiler.is_exporting() or uneven:
        return pool_by_matrices(x, (rows, columns))
    return F.adaptive_avg_pool2d(x, size)


def grid_sample(x: Tensor, grid: Tensor, align_corners: bool = False) -> Tensor:
    """Sample bilinearly, zero beyond the border, as ``F.grid_sample``.

    Args:
        x: (N, C, h, w).
        grid: (N, H, W, 2), column and row in -1..1.
        align_corners: whether -1 and 1 are the centres of the outermost pixels, not their borders.

    Returns:
        (N, C, H, W).
    """
    if _needs_substitute(x):
        return sample_by_gather(x, grid, align_corners)
    return F.grid_sample(x, grid, align_corners=align_corners)


def _needs_substitute(x: Tensor) -> bool:
    return x.is_cuda and torch.are_deterministic_algorithms_enabled()


def pool_by_matrices(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Pool by one matrix product over rows and one over columns, in float32 at least."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    with full_precision(x.device.type):
        rows = _averages(x.shape[2], size[0], dtype, x.device)
        columns = _averages(x.shape[3], size[1], dtype, x.device)
        return (rows @ x.to(dtype) @ columns.T).to(x.dtype)


def _averages(length: int, cells: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return a (cells, length) matrix that averages over each cell; cells can overlap."""
    cell = torch.arange(cells, device=device)[:, None]
    place = torch.arange(length, device=device)
    first, beyond = cell * length // cells, ((cell + 1) * length + cells - 1) // cells
    inside = ((place >= first) & (place < beyond)).to(dtype)
    return inside / inside.sum(1, keepdim=True)


def sample_by_gather(x: Tensor, grid: Tensor, align_corners: bool = False) -> Tensor:
    """Sample by gathering the four neighbours of each position."""
    height, width = x.shape[-2:]
    if align_corners:
        column, row = (grid[..., 0] + 1) * (width - 1) / 2, (grid[..., 1] + 1) * (height - 1) / 2
    else:
        column, row = ((grid[..., 0] + 1) * width - 1) / 2, ((grid[..., 1] + 1) * height - 1) / 2
    left, top = column.floor(), row.floor()
    flat = x.flatten(2)
    out = torch.zeros_like(flat[:, :, :1])
    for down in (0, 1):
        for right in (0, 1):
            at_row, at_column = top + down, left + right
            inside = (at_row >= 0) & (at_row < height) & (at_column >= 0) & (at_column < width)
            weight = (1 - (row - at_row).abs()) * (1 - (column - at_column).abs()) * inside
            index = at_row.clamp(0, height - 1) * width + at_column.clamp(0, width - 1)
            index = index.nan_to_num(0).long()  # a NaN index would abort the CUDA context
            index = index.flatten(1)[:, None].expand(-1, x.shape[1], -1)
            out = out + flat.gather(2, index) * weight.flatten(1)[:, None]
    return out.view(*out.shape[:2], *grid.shape[1:3])
