"""Feature pyramid network and the semantic branch of Panoptic FPN.

Lin et al., CVPR 2017, section 3; Kirillov et al., CVPR 2019, section 3.1.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn

from dseg.nn.fuse import resize_like

GROUPS = 32  # of a group norm, the usual number (Wu & He, ECCV 2018)


class FeaturePyramid(nn.Module):
    """Top-down path: a 1x1 of each map plus the upsampled coarser sum; a 3x3 on each sum.

    Without norms and activations, and with nearest-neighbour upsampling, as in the paper.

    Args:
        in_channels: channels of the maps, finest first.
        width: channels of every level.
    """

    def __init__(self, in_channels: Sequence[int], width: int):
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(wide, width, 1) for wide in in_channels)
        self.smooth = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in in_channels)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Map (N, in_channels[i], h, w) each to (N, width, h, w) each, finest first."""
        sums: list[Tensor] = []
        for project, x in zip(reversed(self.lateral), reversed(maps), strict=True):
            level = project(x)
            sums.append(level + resize_like(sums[-1], level) if sums else level)
        return [smooth(x) for smooth, x in zip(self.smooth, reversed(sums), strict=True)]


class SemanticBranch(nn.Module):
    """Upsample all levels to the finest by steps of 3x3, group norm, ReLU and x2; add them up.

    The finest level has one 3x3, without upsampling (figure 3 of Kirillov et al.).

    Args:
        levels: number of levels.
        in_channels: channels of each.
        width: channels of the result, a multiple of 32.
    """

    def __init__(self, levels: int, in_channels: int, width: int):
        super().__init__()
        self.levels = nn.ModuleList(
            nn.ModuleList(
                _conv_group_norm_relu(width if step else in_channels, width)
                for step in range(max(1, level))
            )
            for level in range(levels)
        )

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Map (N, in_channels, h, w) each, finest first, to (N, width, h, w) of the finest."""
        total: Tensor | None = None
        for index, (steps, x) in enumerate(zip(self.levels, maps, strict=True)):
            for step, like in zip(steps.children(), reversed(maps[: max(1, index)]), strict=True):
                x = step(x)
                x = resize_like(x, like, align_corners=False) if index else x
            total = x if total is None else total + x
        assert total is not None
        return total


def _conv_group_norm_relu(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
            norm=nn.GroupNorm(GROUPS, out_channels),
            act=nn.ReLU(inplace=True),
        )
    )
