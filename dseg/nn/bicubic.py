"""Bicubic interpolation, on the CPU by matrix products: several times as fast as PyTorch's."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from dseg.nn.precision import full_precision, to_float32

BLOCK = 32  # points that one matrix product computes: the matrix of all would be mostly zeros
STEEPNESS = -0.75  # of the cubic kernel, as in torch and OpenCV


def resize_bicubic(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize (N, C, h, w) to a height and width, as ``F.interpolate`` without aligned corners.

    On the CPU, and on CUDA if ``torch.use_deterministic_algorithms`` is on, columns and rows are
    resized by products with matrices.
    """
    exact = x.is_cuda and torch.are_deterministic_algorithms_enabled()
    if torch.compiler.is_compiling() or not (exact or x.device.type == "cpu"):
        return F.interpolate(x, size, mode="bicubic", align_corners=False)
    return resize_by_matrices(x, size)


def resize_by_matrices(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize by matrix products over columns, then over rows, in float32 at least."""
    down, across = (
        cubic_points(length, out) for length, out in zip(x.shape[2:], size, strict=True)
    )
    with full_precision(x.device.type):
        columns = to_float32(x).permute(3, 2, 0, 1)  # w, h, N, C
        shape = columns.shape[1:]
        columns = torch.unflatten(interpolate_rows(across, columns.flatten(1)), 1, shape)
        rows = columns.permute(1, 2, 0, 3)  # h, N, width, C
        shape = rows.shape[1:]
        rows = torch.unflatten(interpolate_rows(down, rows.flatten(1)), 1, shape)
    return rows.permute(1, 3, 0, 2).to(x.dtype)


def interpolate_rows(points: tuple[Tensor, Tensor], source: Tensor) -> Tensor:
    """Interpolate the rows of a matrix.

    Args:
        points: indices of four rows and their weights for each point, (4, points), in order.
        source: (length, values).

    Returns:
        (points, values).
    """
    indices, weights = points
    count = indices.shape[1]
    if source.requires_grad:
        return _matrix(indices, weights, source) @ source
    result = source.new_empty((count, source.shape[1]))
    for start in range(0, count, BLOCK):
        block = slice(start, min(start + BLOCK, count))
        first, end = int(indices[0, start]), int(indices[-1, block.stop - 1]) + 1
        some = source[first:end]
        matrix = _matrix(indices[:, block] - first, weights[:, block], some)
        torch.mm(matrix, some, out=result[block])
    return result


def cubic_points(length: int, out: int) -> tuple[Tensor, Tensor]:
    """Return the four source pixels of each of ``out`` points, and their weights.

    They are torch's, positions in float32 too (Keys, IEEE TASSP 1981, with a steepness of -0.75).
    Pixels beyond the border are those at it.

    Returns:
        Indices and weights, (4, out) each; the weights of a point add up to 1.
    """
    positions = (torch.arange(out, dtype=torch.float32) + 0.5) * (length / out) - 0.5
    before = positions.floor()
    after = positions - before  # distance from the second pixel
    weights = torch.stack([_far(after + 1), _near(after), _near(1 - after), _far(2 - after)])
    indices = before.long() + torch.arange(-1, 3)[:, None]
    return indices.clamp(0, length - 1), weights


def _near(distance: Tensor) -> Tensor:
    """Return the kernel at a distance of 0 to 1."""
    return ((STEEPNESS + 2) * distance - (STEEPNESS + 3)) * distance * distance + 1


def _far(distance: Tensor) -> Tensor:
    """Return the kernel at a distance of 1 to 2."""
    inner = (STEEPNESS * distance - 5 * STEEPNESS) * distance + 8 * STEEPNESS
    return inner * distance - 4 * STEEPNESS


def _matrix(indices: Tensor, weights: Tensor, source: Tensor) -> Tensor:
    """Return the matrix of weights (points, rows of ``source``), with its type and device."""
    matrix = torch.zeros(indices.shape[1], len(source))
    return matrix.scatter_add_(1, indices.T, weights.T).to(source)
