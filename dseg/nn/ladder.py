"""The ladder of SwiftNet: pooling over grids, then steps up with lateral connections.

Orsic et al., CVPR 2019, section 3.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dseg.nn.conv import norm_relu_conv
from dseg.nn.deterministic import adaptive_avg_pool2d
from dseg.nn.fuse import resize_like

ROWS = (8, 4, 2)  # rows of each pooling grid


class Ladder(nn.Module):
    """Spatial pyramid pooling of the coarsest map, then a step up to each finer one.

    Args:
        in_channels: channels of the maps, finest first.
        width: channels of the pooling and of every step.
        align_corners: ``align_corners`` of every upsampling.
    """

    def __init__(self, in_channels: Sequence[int], width: int, *, align_corners: bool = False):
        super().__init__()
        *skips, coarsest = in_channels
        self.context = SpatialPyramidPooling(coarsest, width, align_corners)
        self.steps = nn.ModuleList(
            UpsamplingStep(skip, width, align_corners) for skip in reversed(skips)
        )

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Map (N, in_channels[i], h, w) each to (N, width, h, w) of the finest."""
        *skips, coarsest = maps
        x: Tensor = self.context(coarsest)
        for step, skip in zip(self.steps, reversed(skips), strict=True):
            x = step(x, skip)
        return x


class SpatialPyramidPooling(nn.Module):
    """Concatenate the reduced map with its averages over grids of nearly square cells; reduce.

    A grid has 8, 4 or 2 rows, and columns in proportion to the map's sides. The norms' momentum is
    the release's.

    Args:
        in_channels: channels of the map.
        width: channels after each reduction; each grid has a third of them.
        align_corners: ``align_corners`` of the grids' upsampling.
    """

    def __init__(self, in_channels: int, width: int, align_corners: bool, momentum: float = 0.005):
        super().__init__()
        self.align_corners = align_corners
        branch_width = max(1, width // len(ROWS))
        self.reduce = norm_relu_conv(in_channels, width, 1, momentum=momentum)
        self.levels = nn.ModuleList(
            norm_relu_conv(width, branch_width, 1, momentum=momentum) for _ in ROWS
        )
        self.fuse = norm_relu_conv(width + len(ROWS) * branch_width, width, 1, momentum=momentum)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, h, w) to (N, width, h, w)."""
        x = self.reduce(x)
        height, width = x.shape[-2:]
        maps = [x]
        for rows, level in zip(ROWS, self.levels, strict=True):
            columns = round_quotient(rows * width, height)
            cells = level(adaptive_avg_pool2d(x, (rows, columns)))
            maps.append(resize_like(cells, x, self.align_corners))
        out: Tensor = self.fuse(torch.cat(maps, 1))
        return out


def round_quotient(dividend: int, divisor: int) -> int:
    """Return ``max(1, round(dividend / divisor))`` of positive integers, halves to even.

    Only integer operations, which can be traced for any size.
    """
    doubled, whole = 2 * dividend + divisor, 2 * divisor
    rounded = doubled // whole  # halves up
    is_half = (whole - 1 - doubled % whole) // (whole - 1)  # 1 if nothing is left, else 0
    rounded = rounded - is_half * (rounded % 2)
    return rounded + 1 // (rounded + 1)


class UpsamplingStep(nn.Module):
    """Upsample a coarse map, add the projected finer map, and blend them by a 3x3.

    Args:
        skip_channels: channels of the finer map.
        width: channels of the coarse map, the projection and the output.
        align_corners: ``align_corners`` of the upsampling.
    """

    def __init__(self, skip_channels: int, width: int, align_corners: bool):
        super().__init__()
        self.align_corners = align_corners
        self.lateral = norm_relu_conv(skip_channels, width, 1)
        self.blend = norm_relu_conv(width, width, 3)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Map (N, width, any, any) and (N, skip_channels, h, w) to (N, width, h, w)."""
        lateral = self.lateral(skip)
        out: Tensor = self.blend(lateral + resize_like(x, lateral, self.align_corners))
        return out
