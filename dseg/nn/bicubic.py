"""Bicubic interpolation, on the CPU by matrix products: several times as fast as PyTorch's."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from dseg.nn.precision import full_precision, to_float32

STEEPNESS = -0.75  # of the cubic kernel, as in torch and OpenCV


def resize_bicubic(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize (N, C, h, w) to a height and width, as ``F.interpolate`` without aligned corners.

    On the CPU, and on CUDA if ``torch.use_deterministic_algorithms`` is on, rows and columns are
    resized by a product with a matrix each.
    """
    exact = x.is_cuda and torch.are_deterministic_algorithms_enabled()
    if torch.compiler.is_exporting() or not (exact or x.device.type == "cpu"):
        return F.interpolate(x, size, mode="bicubic", align_corners=False)
    return resize_by_matrices(x, size)


def resize_by_matrices(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize by one matrix product over rows and one over columns, in float32 at least."""
    with full_precision(x.device.type):
        rows, columns = (
            _matrix(length, out, x.device) for length, out in zip(x.shape[2:], size, strict=True)
        )
        wide = to_float32(x).permute(0, 2, 3, 1)  # N, h, w, C
        rows, columns = rows.to(wide.dtype), columns.to(wide.dtype)
        tall = torch.unflatten(rows @ wide.flatten(2), 2, wide.shape[2:])
        resized = columns @ tall
    return resized.permute(0, 3, 1, 2).to(x.dtype)


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


def _matrix(length: int, out: int, device: torch.device) -> Tensor:
    """Return the (out, length) matrix of weights."""
    indices, weights = cubic_points(length, out)
    matrix = torch.zeros(out, length).scatter_add_(1, indices.T, weights.T)
    return matrix.to(device)
